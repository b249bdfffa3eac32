"""Markers on charts and in explanations: deploys, holidays, whatever happened."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from mona_server.api.answers import JSON
from mona_server.api.caller import Caller
from mona_server.api.configs import require_everywhere
from mona_server.api.edge import edge_of
from mona_server.api.identity import audit
from mona_server.api.identity.roles import Permission
from mona_server.api.shapes import Cursor, DataManager, Input, InsightReader, Limit, page, read_position
from mona_server.api.v1.models import insights as m
from mona_server.api.v1.models.base import Page
from mona_server.insights import markers

router = APIRouter(tags=["events"])


class NewEvent(Input):
    """Something that happened."""

    time: float = Field(description="Unix seconds.", ge=0, le=1e11, allow_inf_nan=False, examples=[1700000000])
    end: float | None = Field(None, ge=0, le=1e11, allow_inf_nan=False)
    title: str = Field(min_length=1, max_length=500, examples=["deploy 1.2"])
    kind: Literal["deploy", "holiday", "config", "other"] = "other"
    contextClass: str | None = Field(None, max_length=128, description="Only this class; null = all.")  # noqa: N815
    segment: dict[str, Any] = Field(default={}, description="Only these contexts.")
    url: str | None = Field(None, max_length=2_000, pattern=r"^https?://")


@router.post("/events", status_code=201, response_model=m.Event)
def add_event(request: Request, caller: DataManager, new: NewEvent) -> Response:
    """Add a marker."""
    edge = edge_of(request)
    if new.contextClass is None:
        require_everywhere(caller, Permission.DATA_MANAGE)
    with edge.meta.begin() as db:
        event = markers.add(
            db,
            caller.tenant,
            time_s=new.time,
            end_s=new.end,
            title=new.title,
            kind=new.kind,
            context_class=new.contextClass,
            segment=new.segment,
            url=new.url,
        )
        audit.note(db, caller.actor, "event.create", event["id"], now_ms=edge.clock(), after={"title": event["title"]})
    return JSON(event, 201)


@router.get("/events", response_model=Page[m.Event] | list[dict[str, Any]])
def list_events(
    request: Request,
    caller: InsightReader,
    limit: Limit = 200,
    cursor: Cursor = None,
    from_: Annotated[float | None, Query(alias="from", description="Unix seconds.")] = None,
    to: Annotated[float | None, Query(description="Unix seconds, excluded.")] = None,
    context_class: Annotated[str | None, Query(description="Events of this class, and of all classes.")] = None,
    format: Annotated[Literal["json", "annotations"], Query(description="`annotations` as Grafana reads.")] = "json",  # noqa: A002
) -> Response:
    """Markers, newest first."""
    with edge_of(request).meta.connect() as db:
        after = read_position(cursor)
        known = markers.listed(db, caller.tenant, from_s=from_, to_s=to, context_class=context_class, after=after)
    seen = [event for event in known if _may_see(caller, event["contextClass"])]
    found = seen[:limit]
    if format == "annotations":
        return JSON([_annotation(event) for event in found])
    return page(found, (found[-1]["time"], found[-1]["id"]) if len(seen) > limit else None)


@router.delete("/events/{event_id}", status_code=204)
def remove_event(request: Request, caller: DataManager, event_id: str) -> Response:
    """Remove a marker."""
    edge = edge_of(request)
    with edge.meta.begin() as db:
        caller.require(Permission.DATA_MANAGE, markers.remove(db, caller.tenant, event_id))
        audit.note(db, caller.actor, "event.remove", event_id, now_ms=edge.clock())
    return Response(status_code=204)


def _may_see(caller: Caller, context_class: str | None) -> bool:
    return context_class is None or caller.may(Permission.INSIGHTS_READ, context_class)


def _annotation(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": event["time"] * 1000,
        "timeEnd": (event["end"] or event["time"]) * 1000,
        "title": event["title"],
        "text": event["url"] or "",
        "tags": [event["kind"]],
    }
