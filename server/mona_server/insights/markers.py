"""Markers: deploys, holidays and other events that people and programs post, for charts and explanations."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, delete, insert, or_, select

from mona_server.errors import BadRequest, NotFound
from mona_server.insights.explain import Marker
from mona_server.insights.repository import new_id
from mona_server.segment import Segment
from mona_server.store.tables_insights import markers

KINDS = ("deploy", "holiday", "config", "other")


def add(
    meta: Engine,
    tenant: str,
    *,
    time_s: float,
    title: str,
    kind: str = "other",
    end_s: float | None = None,
    context_class: str | None = None,
    segment: Any = None,
    url: str | None = None,
) -> dict[str, Any]:
    """Post a marker. Raises BadRequest for an unknown kind or an end before the beginning."""
    if kind not in KINDS:
        raise BadRequest(f"{kind!r} is no kind of event", hint=f"known are {', '.join(KINDS)}")
    if end_s is not None and end_s < time_s:
        raise BadRequest("the event ends before it begins")
    if not title.strip():
        raise BadRequest("an event needs a title")
    row = {
        "id": new_id("ev"),
        "tenant": tenant,
        "context_class": context_class,
        "time_s": time_s,
        "end_s": end_s,
        "title": title.strip()[:500],
        "kind": kind,
        "segment": Segment.parse(segment).text,
        "url": url,
    }
    with meta.begin() as connection:
        connection.execute(insert(markers).values(**row))
    return to_json(row)


def between(
    meta: Engine, tenant: str, from_s: float, to_s: float, context_class: str | None = None
) -> list[dict[str, Any]]:
    """Markers that touch a time range, by time; ``context_class``: of this class or of every class."""
    c = markers.c
    wanted = select(markers).where(
        c.tenant == tenant, c.time_s < to_s, or_(c.end_s >= from_s, c.end_s.is_(None) & (c.time_s >= from_s))
    )
    if context_class is not None:
        wanted = wanted.where(or_(c.context_class == context_class, c.context_class.is_(None)))
    with meta.connect() as connection:
        return [to_json(row) for row in connection.execute(wanted.order_by(c.time_s, c.id)).mappings()]


def remove(meta: Engine, tenant: str, marker_id: str) -> None:
    """Delete a marker. Raises NotFound."""
    with meta.begin() as connection:
        done = connection.execute(delete(markers).where(markers.c.tenant == tenant, markers.c.id == marker_id))
    if not done.rowcount:
        raise NotFound(f"there is no event {marker_id}")


def for_class(meta: Engine, tenant: str, context_class: str, from_s: float, to_s: float) -> list[Marker]:
    """Markers as explanations use them."""
    return [
        Marker(one["time"], one["title"], one["kind"], one["end"])
        for one in between(meta, tenant, from_s, to_s, context_class)
    ]


def to_json(row: Any) -> dict[str, Any]:
    """The event object of the specification."""
    return {
        "id": row["id"],
        "time": row["time_s"],
        "end": row["end_s"],
        "title": row["title"],
        "kind": row["kind"],
        "contextClass": row["context_class"],
        "segment": Segment.parse(row["segment"]).to_json(),
        "url": row["url"],
    }
