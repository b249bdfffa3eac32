"""Context classes as the API shows them: what has data joined with what is configured."""

from __future__ import annotations

from typing import Any

from mona_server.api import queries
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity.roles import Permission
from mona_server.config import revisions
from mona_server.config.model import ContextClass
from mona_server.errors import NotFound
from mona_server.insights import listing
from mona_server.query import service
from mona_server.store import ClassInfo

_DAY_S = 86_400


def listed(edge: Edge, caller: Caller) -> list[dict[str, Any]]:
    """All classes that the caller may look into, by name."""
    data = {info.name: info for info in edge.store.classes(caller.tenant)}
    revision = revisions.active(edge.meta, caller.tenant)
    configured = dict(revision.classes) if revision is not None else {}
    opened = listing.open_counts(edge.store, caller.tenant)
    return [
        _shown(name, data.get(name), configured.get(name)) | {"open_insights": opened.get(name, {}).get("open", 0)}
        for name in sorted(data.keys() | configured.keys())
        if caller.may(Permission.INVESTIGATE, name)
    ]


def get(edge: Edge, caller: Caller, name: str) -> dict[str, Any]:
    """One class. Raises :class:`NotFound`."""
    shown = next((one for one in listed(edge, caller) if one["name"] == name), None)
    if shown is None:
        raise NotFound(f"Unknown context class: {name}")
    if not shown["contexts"]:
        return shown
    exact = service.overview(queries.dataset(edge, caller, name))
    first, last = (None if ms is None else ms / 1000 for ms in (exact.first_ms, exact.last_ms))
    return shown | {"contexts": exact.contexts, "first": first, "last": last}


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
    return service.get_context(edge.reader, caller.tenant, name, context_id)


def fields(edge: Edge, caller: Caller, name: str) -> list[dict[str, Any]]:
    """A profile of each field of a class."""
    return service.field_profiles(queries.dataset(edge, caller, name))
