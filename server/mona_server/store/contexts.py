"""One context: what is known of it now, and every message that made it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import duckdb
import msgspec
import numpy as np

from mona_server.errors import NotFound
from mona_server.store import catalog, documents, lake, state
from mona_server.store.lake import quote
from mona_server.store.rows import decode_fact, message_columns
from mona_server.store.store import Store


@dataclass(frozen=True, slots=True)
class ContextRecord:
    """A context as it is now. Times are Unix ms."""

    context_class: str
    context_id: str
    time_ms: int
    explicit_time: bool
    """The time was named by a message; else it is the first arrival."""
    arrival_ms: int
    updated_ms: int
    variables: dict[str, Any] = field(repr=False)
    """Merged messages, before fields are built."""
    fields: dict[str, Any] = field(repr=False)
    """Built fields that have a value."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as it was sent. Times are Unix ms."""

    number: int
    """Inbox number of its request; ``index`` is its place in it."""
    index: int
    arrival_ms: int
    export_ms: int | None
    action: str
    values: dict[str, Any] = field(repr=False)


def read_context(store: Store, tenant: str, context_class: str, context_id: str) -> ContextRecord:
    """What is known of a context. Raises NotFound."""
    with store.state.reading() as connection:
        class_id = catalog.find_class(connection, tenant, context_class)
        document = (
            None if class_id is None else documents.find(connection, class_id, [context_id]).get((class_id, context_id))
        )
        if document is None or class_id is None:
            raise NotFound(f"context class {context_class} has no such context")
        layouts = catalog.read_layouts(connection, class_id)
        names = {column.physical: column.field for column in catalog.read_columns(connection, class_id)}
    fields = {}
    if document.fact is not None:
        layout, _, _, _, values = decode_fact(document.fact)
        fields = {
            names[physical]: value for physical, value in zip(layouts[layout], values, strict=True) if value is not None
        }
    return ContextRecord(
        context_class,
        context_id,
        document.time_ms,
        bool(document.explicit),
        document.arrival_ms,
        document.updated_ms,
        msgspec.json.decode(document.variables),
        fields,
    )


def message_history(
    store: Store, duck: duckdb.DuckDBPyConnection, tenant: str, context_class: str, context_id: str
) -> list[StoredMessage]:
    """Every message of a context in the order in which they counted, those before a NEW included; what was before a
    DELETE is gone.

    Files are sorted by id, so of each only a few row groups are read. An unknown context has no messages.
    Raises DataDamaged where a file is missing, or one of those with its messages is not as it was written.
    """
    with store.state.reading() as connection:
        class_id = catalog.find_class(connection, tenant, context_class)
        if class_id is None:
            return []
        erased = state.erased_up_to(connection, class_id, context_id)
        files = lake.live(connection, store.lake, "messages", class_id)
        chunks = connection.execute(
            "SELECT revision, body FROM pending WHERE kind = 'messages' AND class_id = ? AND revision > ?",
            (class_id, erased),
        ).fetchall()
    found = []
    if files:
        lake.check_presence(files)
        paths = ", ".join(quote(str(file.path)) for file in files)
        rows = duck.execute(
            "SELECT MONA_NUMBER, MONA_INDEX, MONA_ARRIVAL_TIMESTAMP, MONA_EXPORT_TIMESTAMP, MONA_ACTION, MESSAGE, filename"
            f" FROM read_parquet([{paths}], union_by_name = true, filename = true)"
            " WHERE MONA_ID = ? AND MONA_REVISION > ?",
            (context_id, erased),
        ).fetchall()
        read = {row[-1] for row in rows}
        store.check(file for file in files if str(file.path) in read)
        found = [row[:-1] for row in rows]
    pending = message_columns(chunks, context_id)
    for i in range(len(pending["MONA_ID"])):
        export_ms = pending["MONA_EXPORT_TIMESTAMP"][i]
        found.append(
            (
                int(pending["MONA_NUMBER"][i]),
                int(pending["MONA_INDEX"][i]),
                int(pending["MONA_ARRIVAL_TIMESTAMP"][i]),
                None if export_ms is np.ma.masked else int(export_ms),
                pending["MONA_ACTION"][i],
                pending["MESSAGE"][i],
            )
        )
    return [
        StoredMessage(number, index, arrival_ms, export_ms, action, json.loads(text))
        for number, index, arrival_ms, export_ms, action, text in sorted(found, key=lambda row: row[:2])
    ]


def latest_contexts(store: Store, tenant: str, context_class: str, limit: int) -> list[tuple[str, dict[str, Any], int]]:
    """(context id, merged variables, context time in Unix ms) of the contexts that were created last, newest first.

    Looks at the last million documents of all classes, so that a rare class costs no full scan.
    """
    with store.state.reading() as connection:
        class_id = catalog.find_class(connection, tenant, context_class)
        if class_id is None:
            return []
        rows = connection.execute(
            "SELECT context_id, time_ms, variables FROM documents"
            " WHERE class_id = ? AND document_id > (SELECT max(document_id) - 1000000 FROM documents)"
            " ORDER BY document_id DESC LIMIT ?",
            (class_id, limit),
        ).fetchall()
    return [(context_id, msgspec.json.decode(variables), time_ms) for context_id, time_ms, variables in rows]
