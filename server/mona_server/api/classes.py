"""Context classes as the API shows them: what has data joined with what is configured."""

from __future__ import annotations

from typing import Any

from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity.roles import Permission
from mona_server.config import revisions
from mona_server.config.model import ContextClass
from mona_server.errors import NotFound
from mona_server.store import ClassInfo, contexts

_DAY_S = 86_400


def listed(edge: Edge, caller: Caller) -> list[dict[str, Any]]:
    """All classes that the caller may look into, by name."""
    data = {info.name: info for info in edge.store.classes(caller.tenant)}
    revision = revisions.active(edge.meta, caller.tenant)
    configured = dict(revision.classes) if revision is not None else {}
    return [
        _shown(name, data.get(name), configured.get(name))
        for name in sorted(data.keys() | configured.keys())
        if caller.may(Permission.INVESTIGATE, name)
    ]


def get(edge: Edge, caller: Caller, name: str) -> dict[str, Any]:
    """One class. Raises :class:`NotFound`."""
    for shown in listed(edge, caller):
        if shown["name"] == name:
            return shown
    raise NotFound(f"Unknown context class: {name}")


def configured(edge: Edge, tenant: str, name: str) -> ContextClass:
    """The configuration of a class; an empty one where there is data only. Raises :class:`NotFound`."""
    revision = revisions.active(edge.meta, tenant)
    found = revision.classes.get(name) if revision is not None else None
    if found is not None:
        return found
    if any(info.name == name for info in edge.store.classes(tenant)):
        return ContextClass(name=name)
    raise NotFound(f"Unknown context class: {name}")


def _shown(name: str, data: ClassInfo | None, config: ContextClass | None) -> dict[str, Any]:
    first = data.first_day if data else None
    last = data.last_day if data else None
    return {
        "name": name,
        "configured": config is not None,
        "contexts": data.contexts if data else 0,
        "first": None if first is None else first * _DAY_S,
        "last": None if last is None else (last + 1) * _DAY_S,
        "fields": len(config.saved_fields) if config else 0,
        "verses": len(config.verses) if config else 0,
        "parent": name.rpartition(".")[0] or None,
    }


def context(edge: Edge, caller: Caller, name: str, context_id: str) -> dict[str, Any]:
    """One context with its history. Raises :class:`NotFound`."""
    record = contexts.read_context(edge.store, caller.tenant, name, context_id)
    with edge.reader.engine.connection() as duck:
        history = contexts.message_history(edge.store, duck, caller.tenant, name, context_id)
    return {
        "contextId": record.context_id,
        "arcClass": record.context_class,
        "timestamp": record.time_ms / 1000,
        "first_arrival": record.arrival_ms / 1000,
        "last_update": record.updated_ms / 1000,
        "fields": record.fields,
        "message": record.variables,
        "history": [
            {
                "arrival": message.arrival_ms / 1000,
                "action": message.action,
                "exportTimestamp": None if message.export_ms is None else message.export_ms / 1000,
                "message": message.values,
            }
            for message in history
        ],
    }
