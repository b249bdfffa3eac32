"""Flush: pending facts and messages → one Parquet file per class and kind, then one transaction.

Exactly once: the transaction that lists the files removes the pending rows. A crash before it leaves unlisted
files and all rows pending; a crash after it leaves nothing to do.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import duckdb

from mona_server.store import catalog, lake, state
from mona_server.store.faults import point
from mona_server.store.rows import MESSAGE_COLUMNS, column_types, fact_columns, message_columns
from mona_server.store.store import Store

ORDER = {"facts": "MONA_DAY, MONA_TIMESTAMP, MONA_ID", "messages": "MONA_DAY, MONA_ID, MONA_NUMBER, MONA_INDEX"}
"""Facts are read by day, messages by context."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is not in a file yet."""

    rows: int
    oldest_ms: int | None
    """When the oldest of it was folded."""


@dataclass(frozen=True, slots=True)
class Flushed:
    """One flush that was committed."""

    rows: int
    files: int
    bytes: int


def waiting(store: Store) -> Waiting:
    """How much a flush would find."""
    row = store.state.connection.execute(
        "SELECT rows, (SELECT at_ms FROM revisions WHERE revisions.revision >= oldest ORDER BY revision LIMIT 1)"
        " FROM (SELECT coalesce(sum(rows), 0) AS rows, min(revision) AS oldest FROM pending)"
    ).fetchone()
    return Waiting(row[0], row[1])


def flush(store: Store, duck: duckdb.DuckDBPyConnection, now_ms: int, *, max_rows: int = 250_000) -> Flushed | None:
    """Write the oldest pending rows, at least one chunk and at most about ``max_rows``; None when there are none."""
    with store.state.reading() as connection:
        taken: list[int] = []
        groups: dict[tuple[str, int], list[tuple[int, bytes]]] = defaultdict(list)
        rows = 0
        for chunk_id, kind, class_id, revision, count in connection.execute(
            "SELECT chunk_id, kind, class_id, revision, rows FROM pending ORDER BY chunk_id"
        ).fetchall():
            if taken and rows + count > max_rows:
                break
            body = connection.execute("SELECT body FROM pending WHERE chunk_id = ?", (chunk_id,)).fetchone()[0]
            groups[kind, class_id].append((revision, body))
            taken.append(chunk_id)
            rows += count
        if not taken:
            return None
        columns = {class_id: catalog.read_columns(connection, class_id) for _, class_id in groups}
        layouts = {class_id: catalog.read_layouts(connection, class_id) for _, class_id in groups}
    files = []
    for (kind, class_id), chunks in groups.items():
        if kind == "facts":
            data = fact_columns(chunks, layouts[class_id], columns[class_id])
            types = column_types(columns[class_id])
        else:
            data, types = message_columns(chunks), MESSAGE_COLUMNS
        files.append(lake.write_columns(duck, store.lake, kind, class_id, data, types, order=ORDER[kind]))
        point("flush: file written")
    with store.state.writing() as connection:
        lake.add(connection, files, now_ms)
        point("flush: files listed")
        state.remove_pending(connection, taken)
        point("flush: before commit")
    point("flush: committed")
    return Flushed(rows, len(files), sum(file.bytes for file in files))
