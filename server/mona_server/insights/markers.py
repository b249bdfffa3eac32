"""Markers: deploys, holidays and other events that people and programs post, for charts and explanations."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, insert, or_, select

from mona_server.errors import BadRequest, NotFound
from mona_server.insights.explain import Marker
from mona_server.insights.repository import new_id
from mona_server.segment import Segment, SegmentError
from mona_server.store.tables_insights import markers

KINDS = ("deploy", "holiday", "config", "other")


def add(
    db: Connection,
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
    """Post a marker. Raises BadRequest for an unknown kind, a bad segment, or an end before the beginning."""
    if kind not in KINDS:
        raise BadRequest(f"kind: {kind!r} is no kind of event", hint=f"known are {', '.join(KINDS)}")
    if end_s is not None and end_s < time_s:
        raise BadRequest("end: before time")
    if not title.strip():
        raise BadRequest("title: an event needs one")
    try:
        where = Segment.parse(segment).text
    except SegmentError as error:
        raise BadRequest(f"segment: {error}") from None
    row = {
        "id": new_id("ev"),
        "tenant": tenant,
        "context_class": context_class,
        "time_s": time_s,
        "end_s": end_s,
        "title": title.strip()[:500],
        "kind": kind,
        "segment": where,
        "url": url,
    }
    db.execute(insert(markers).values(**row))
    return to_json(row)


def listed(
    db: Connection,
    tenant: str,
    *,
    from_s: float | None = None,
    to_s: float | None = None,
    context_class: str | None = None,
    after: tuple[float, str] | None = None,
) -> list[dict[str, Any]]:
    """Markers that touch ``[from_s, to_s)``, newest first; ``context_class``: of this class or of every class.

    ``after``: only those that follow the one with this time and id.
    """
    c = markers.c
    wanted = select(markers).where(c.tenant == tenant)
    if from_s is not None:
        wanted = wanted.where(or_(c.time_s >= from_s, c.end_s >= from_s))
    if to_s is not None:
        wanted = wanted.where(c.time_s < to_s)
    if context_class is not None:
        wanted = wanted.where(or_(c.context_class == context_class, c.context_class.is_(None)))
    if after is not None:
        wanted = wanted.where(or_(c.time_s < after[0], and_(c.time_s == after[0], c.id > after[1])))
    return [to_json(row) for row in db.execute(wanted.order_by(c.time_s.desc(), c.id)).mappings()]


def remove(db: Connection, tenant: str, marker_id: str) -> str | None:
    """Delete a marker and tell its class, so that a caller who may not do so can roll back. Raises NotFound."""
    gone = delete(markers).where(markers.c.tenant == tenant, markers.c.id == marker_id)
    row = db.execute(gone.returning(markers.c.context_class)).first()
    if row is None:
        raise NotFound(f"no such event: {marker_id}")
    context_class: str | None = row.context_class
    return context_class


def for_class(meta: Engine, tenant: str, context_class: str, from_s: float, to_s: float) -> list[Marker]:
    """Markers as explanations and charts use them, by time."""
    with meta.connect() as db:
        found = listed(db, tenant, from_s=from_s, to_s=to_s, context_class=context_class)
    return [Marker(one["time"], one["title"], one["kind"], one["end"]) for one in reversed(found)]


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
