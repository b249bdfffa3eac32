"""Context classes as the API shows them: what has data joined with what is configured."""

from __future__ import annotations

from collections import Counter
from typing import Any

import structlog

from mona_server.api import queries
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity.roles import Permission
from mona_server.config import revisions
from mona_server.config.model import ContextClass
from mona_server.detect.source import AxisRequest
from mona_server.detect.verses import Verse
from mona_server.errors import MonaError, NotFound
from mona_server.ingest import report
from mona_server.insights import listing
from mona_server.insights.membership import insights_of
from mona_server.query import service
from mona_server.segment import Segment
from mona_server.store import ClassInfo

log = structlog.get_logger("mona.http")
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
    """One context with its history, and the insights that it belongs to. Raises :class:`NotFound`."""
    found = service.get_context(edge.reader, caller.tenant, name, context_id)
    insights: list[str] = []
    if caller.may(Permission.INSIGHTS_READ, name):
        try:
            insights = insights_of(
                edge.store, queries.dataset(edge, caller, name), context_id, round(found["timestamp"] * 1000)
            )
        except MonaError as error:  # the data changed its shape meanwhile, or took too long; the context itself is here
            log.warning("insights_of_context_failed", error=type(error).__name__)
    return found | {"insights": insights}


def fields(edge: Edge, caller: Caller, name: str) -> list[dict[str, Any]]:
    """A profile of each field of a class, with the verses, fields and KPIs that use it."""
    dataset = queries.dataset(edge, caller, name)
    config = dataset.config or ContextClass(name=name)
    return [one | {"used_by": used_by(config, one["name"])} for one in service.field_profiles(dataset)]


def used_by(config: ContextClass, field: str) -> list[dict[str, str]]:
    """What of a class needs a field: ``{"kind": "verse" | "field" | "kpi", "name"}``."""
    found = [("verse", verse.name) for verse in config.verses if field in _fields_of(verse)]
    found += [
        ("field", other.name)
        for other in config.fields.values()
        if other.name != field and any(field in source.names for source in other.sources)
    ]
    found += [("kpi", kpi.name) for kpi in config.kpis if kpi.field == field or field in kpi.segment.fields]
    return [{"kind": kind, "name": name} for kind, name in found]


def _fields_of(verse: Verse) -> set[str]:
    """Metrics, segmented fields, and fields of segments among a verse's parameters."""
    found = set(verse.metrics)
    for value in verse.values.values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, AxisRequest):
                found.add(one.field)
            elif isinstance(one, Segment):
                found.update(one.fields)
    return found


def ingestion(edge: Edge, caller: Caller, name: str, from_ms: int, to_ms: int) -> dict[str, Any]:
    """What arrived for a class in ``[from_ms, to_ms)``: the object "ingestion", oldest hour first.

    Hours in which nothing arrived are left out. ``duplicates`` are messages of repeated requests, of all classes of the
    tenant: those are answered without being read.
    """
    found = report.ingestion(edge.store, caller.tenant, name, from_ms, to_ms)
    refused: Counter[str] = Counter()
    errors: dict[tuple[str, str], dict[str, Any]] = {}
    frames = []
    for hour in reversed(found["hours"]):
        refused.update(hour["refused"])
        for error in hour["build_errors"]:
            known = errors.setdefault((error["field"], error["reason"]), error | {"count": 0})
            known["count"] += error["count"]
        frames.append(
            {
                "from": hour["hour_ms"] / 1000,
                "messages": sum(hour["messages"].values()),
                "refused": sum(hour["refused"].values()),
                "new_contexts": hour["contexts"].get("new", 0),
                "updates": hour["contexts"].get("updated", 0),
            }
        )
    return {
        "from": from_ms / 1000,
        "to": to_ms / 1000,
        "resolution": "1h",
        "frames": frames,
        "refused_by_reason": [{"reason": reason, "count": count} for reason, count in refused.most_common()],
        "build_errors": sorted(errors.values(), key=lambda one: -int(one["count"])),
        "unknown_variables": sorted({name for hour in found["hours"] for name in hour["unknown_variables"] if name}),
        "update_age_seconds": {at: found["late_updates"][f"{at}_s"] for at in ("p50", "p95")},
        "cut_texts": sum(hour["cut_texts"] for hour in found["hours"]),
        "duplicates": sum(replay["messages"] for replay in found["replays"]),
    }
