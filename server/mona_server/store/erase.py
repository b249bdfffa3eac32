"""Erasure: rows of deleted contexts leave all files, the past included.

The fold has already removed the documents and cancelled their facts, so the sums of today do not change here;
what changes is that the rows are gone, from reads as of an earlier time too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from mona_server.store import compact, lake
from mona_server.store.faults import point
from mona_server.store.flush import flush
from mona_server.store.store import Store

_FLUSH_ROWS = 250_000


@dataclass(frozen=True, slots=True)
class Request:
    """Rows of some contexts up to a revision must leave the lake."""

    erasure_id: int
    revision: int
    ids: tuple[str, ...] | None
    """None = all of the class."""


def outstanding(store: Store) -> list[int]:
    """Classes with contexts that are still to be erased."""
    rows = store.state.connection.execute("SELECT DISTINCT class_id FROM erasures ORDER BY class_id")
    return [row[0] for row in rows]


def waiting(connection: sqlite3.Connection, class_id: int) -> list[Request]:
    """What is still to be erased of a class, oldest first."""
    rows = connection.execute(
        "SELECT erasure_id, revision, ids FROM erasures WHERE class_id = ? ORDER BY erasure_id", (class_id,)
    )
    return [Request(id_, revision, None if ids is None else tuple(json.loads(ids))) for id_, revision, ids in rows]


def load(duck: duckdb.DuckDBPyConnection, requests: Sequence[Request]) -> None:
    """The requests as table ``erased`` of DuckDB, for :func:`kept`; a row without an id is for the whole class."""
    ids: list[str | None] = []
    revisions: list[int] = []
    for request in requests:
        given: Sequence[str | None] = (None,) if request.ids is None else request.ids
        ids += given
        revisions += [request.revision] * len(given)
    names = np.empty(len(ids), object)
    names[:] = ids
    duck.register("erased_ids", {"MONA_ID": names, "up_to": np.array(revisions, np.int64)})
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE erased AS"
        " SELECT CAST(MONA_ID AS VARCHAR) AS MONA_ID, max(up_to) AS up_to FROM erased_ids GROUP BY 1"
    )
    duck.unregister("erased_ids")


def kept(query: str) -> str:
    """SQL for the rows of a query (with ``MONA_ID`` and ``MONA_REVISION``) that table ``erased`` does not name."""
    everything = "(SELECT coalesce(max(up_to), -1) FROM erased WHERE MONA_ID IS NULL)"
    return (
        f"SELECT source.* FROM ({query}) AS source LEFT JOIN erased USING (MONA_ID)"
        f" WHERE MONA_REVISION > greatest(coalesce(up_to, -1), {everything})"
    )


def erase(store: Store, duck: duckdb.DuckDBPyConnection, class_id: int, now_ms: int) -> int:
    """Rewrite the files of a class without what is to be erased; returns how many rows went.

    Pending rows are flushed first, so that files are all there is. Each file is replaced on its own; the
    requests are forgotten when all are done, and doing it twice is harmless. Raises DataDamaged.
    """
    with store.state.reading() as connection:
        requests = waiting(connection, class_id)
    if not requests:
        return 0
    last_revision = max(request.revision for request in requests)
    while _oldest_pending(store) <= last_revision and flush(store, duck, now_ms, max_rows=_FLUSH_ROWS):
        pass
    load(duck, requests)
    removed = 0
    for kind in ("facts", "messages"):
        with store.state.reading() as connection:
            files = lake.live(connection, store.lake, kind, class_id)
        for file in files:
            if file.min_revision > last_revision:
                continue
            lake.check_content([file])
            query = kept(compact.rows_of(duck, [file]))
            left = duck.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0]
            if left == file.rows:
                continue
            new = (
                compact.write_by_day(store, duck, kind, class_id, query, level=file.level, settled=file.settled)
                if left
                else []
            )
            compact.swap(store, [file], new, now_ms)
            removed += file.rows - left
    duck.execute("DROP TABLE erased")
    point("erase: files replaced")
    with store.state.writing() as connection:
        connection.executemany("DELETE FROM erasures WHERE erasure_id = ?", [(r.erasure_id,) for r in requests])
    return removed


def _oldest_pending(store: Store) -> int:
    row = store.state.connection.execute("SELECT min(revision) FROM pending").fetchone()
    return row[0] if row[0] is not None else 2**62
