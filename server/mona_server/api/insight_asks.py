"""Questions about insights: both families' spellings become one :class:`InsightQuery`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from mona_server.api import classes, queries
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity.roles import Permission
from mona_server.errors import BadRequest, MonaError, NotFound
from mona_server.insights import listing
from mona_server.insights.distribution import distribution as spread
from mona_server.insights.listing import DEFAULT_LIMIT, InsightQuery
from mona_server.query import requests
from mona_server.query.requests import Reading
from mona_server.segment import ALL

log = structlog.get_logger("mona.http")

_NAMES = {"segments": "segment", "exclude_segments": "exclude_segments"}


def find(edge: Edge, caller: Caller, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answer of ``POST /insights``. Raises ``InvalidRequest`` with every problem, :class:`NotFound`."""
    reading = Reading(body, _NAMES)
    name = reading.take("context_class", requests.text, "", required=True)
    size = reading.take("min_segment_size", requests.number, 0.0, required=True)
    limit = reading.take("limit", requests.whole(1, DEFAULT_LIMIT), DEFAULT_LIMIT)
    query = _read(reading, name, size, sort=reading.take("sort", requests.text, "score"))
    classes.configured(edge, caller.tenant, name)
    query = query if query.first_discovered_s else query.last_days(edge.clock() / 1000)
    return listing.find(edge.store, caller.tenant, query, limit=limit, public_url=edge.public_url)


def page(
    edge: Edge, caller: Caller, asked: Mapping[str, Any], *, cursor: str | None, limit: int, sort: str
) -> listing.Page:
    """One page of ``GET /api/v1/insights``; without a class those of all classes that the caller may read."""
    reading = Reading({key: value for key, value in asked.items() if value is not None}, _NAMES)
    name = reading.take("context_class", requests.text, None)
    query = _read(
        reading, name or only_class(caller), reading.take("min_segment_size", requests.number, 0.0), sort=sort
    )
    return listing.page(edge.store, caller.tenant, query, cursor=cursor, limit=limit, public_url=edge.public_url)


def count(edge: Edge, caller: Caller, asked: Mapping[str, Any]) -> int:
    """How many insights :func:`page` would go through."""
    reading = Reading({key: value for key, value in asked.items() if value is not None}, _NAMES)
    name = reading.take("context_class", requests.text, None)
    query = _read(
        reading, name or only_class(caller), reading.take("min_segment_size", requests.number, 0.0), sort="score"
    )
    return listing.count(edge.store, caller.tenant, query)


def only_class(caller: Caller) -> str | None:
    """For a role of one class that class, for a role of all None. Raises :class:`BadRequest` for several."""
    held = caller.classes(Permission.INSIGHTS_READ)
    if held is None:
        return None
    if len(held) != 1:
        raise BadRequest("context_class: is required", hint=f"one of {', '.join(sorted(held))}")
    return next(iter(held))


def check_insight(edge: Edge, caller: Caller, insight_id: str, permission: Permission) -> None:
    """Raises :class:`NotFound`, also for an insight of a class that the caller may not read, and ``Forbidden``."""
    row, _ = listing.load(edge.store, caller.tenant, insight_id)
    if not caller.may(Permission.INSIGHTS_READ, row.context_class):
        raise NotFound(f"there is no insight {insight_id}")
    caller.require(permission, row.context_class)


def distribution(edge: Edge, caller: Caller, insight: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the metric of an insight is spread now; None without a metric, and where the data cannot be asked any more."""
    try:
        dataset = queries.dataset(edge, caller, insight["arc_class"])
        return spread(dataset, insight["main_signal"], insight["stanza_name"])
    except MonaError as error:  # a class, field or verse type that is gone, or a query that took too long
        log.warning("distribution_failed", insight=insight["insight_id"], error=type(error).__name__)
        return None


def _read(reading: Reading, name: str | None, size: float, *, sort: str) -> InsightQuery:
    def range_s(given: Any) -> tuple[float, float]:
        found = requests.window(given)
        return found.from_ms / 1000, found.to_ms / 1000

    nothing: tuple[str, ...] = ()
    shown: bool | str = False
    archived = reading.take("archived", _either, shown)
    fields: dict[str, Any] = {
        "context_class": name,
        "min_segment_size": size,
        "insight_types": reading.take("insight_types", requests.texts, nothing),
        "metric_name": reading.take("metric_name", requests.text, None),
        "min_insight_score": reading.take("min_insight_score", requests.number, None),
        "time_range_s": reading.take("time_range_seconds", range_s, None),
        "first_discovered_s": reading.take("first_discovered_on_range_seconds", range_s, None),
        "states": reading.take("states", requests.texts, nothing),
        "urgency": reading.take("urgency", requests.text, None),
        "archived": None if archived == "any" else archived,
        "include_suppressed": reading.take("include_suppressed", requests.boolean, False),
        "stanza_names": reading.take("stanza_names", requests.texts, nothing),
        "verse_names": reading.take("verse_names", requests.texts, nothing),
        "segment": reading.take("segment", requests.segment, ALL),
        "timestamp_field_name": reading.take("timestamp_field_name", requests.text, None),
        "text": reading.take("text", requests.text, ""),
        "sort": sort,
    }
    reading.done()
    return InsightQuery(**fields)


def _either(given: Any) -> bool | str:
    return "any" if given == "any" else requests.boolean(given)
