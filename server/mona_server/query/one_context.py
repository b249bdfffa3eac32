"""One context: what is known of it now, and the messages that made it."""

from __future__ import annotations

from typing import Any

from mona_server.errors import NotFound
from mona_server.query.facts import Column
from mona_server.query.ingested import seconds, shown
from mona_server.query.reader import Reader
from mona_server.store.contexts import message_history, read_context


def get_context(reader: Reader, tenant: str, context_class: str, context_id: str) -> dict[str, Any]:
    """The object "context" of rest.md 4, without its insights. Raises NotFound.

    A context that was deleted, or whose messages wait for the fold, is not found.
    """
    record = read_context(reader.store, tenant, context_class, context_id)
    columns = _columns(reader, tenant, context_class)
    with reader.engine.connection() as duck:
        messages = message_history(reader.store, duck, tenant, context_class, context_id)
    return {
        "contextId": record.context_id,
        "arcClass": record.context_class,
        "timestamp": seconds(record.time_ms),
        "first_arrival": seconds(record.arrival_ms),
        "last_update": seconds(record.updated_ms),
        "fields": {
            name: shown(columns[name], value) if name in columns else value for name, value in record.fields.items()
        },
        "message": record.variables,
        "history": [
            {
                "arrival": seconds(one.arrival_ms),
                "action": one.action,
                "exportTimestamp": None if one.export_ms is None else seconds(one.export_ms),
                "message": one.values,
                "request_id": f"{one.number}.{one.index}",
            }
            for one in messages
        ],
    }


def _columns(reader: Reader, tenant: str, context_class: str) -> dict[str, Column]:
    try:
        return dict(reader.dataset(tenant, context_class).columns)
    except NotFound:
        return {}
