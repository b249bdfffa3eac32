"""Insights: lists, one in full, what people do with them; and the runs that find them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from mona_server.api import insight_asks
from mona_server.api.answers import JSON
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge, edge_of
from mona_server.api.identity import audit
from mona_server.api.identity.roles import Permission
from mona_server.api.shapes import (
    Cursor,
    DataManager,
    FeedbackGiver,
    Input,
    InsightReader,
    Limit,
    check_unchanged,
    page,
    read_position,
    single,
)
from mona_server.api.v1.models import insights as m
from mona_server.api.v1.models.base import JobId, Page
from mona_server.errors import NotFound
from mona_server.insights import export, listing, people, run_records

router = APIRouter(tags=["insights"])


class Filters(Input):
    """Filters of the list, as query keys."""

    context_class: str | None = Field(None, max_length=128)
    min_segment_size: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Below 1: share of the baseline."
    )
    insight_types: list[str] | None = Field(None, description="Verse types or signal types.")
    metric_name: str | None = None
    min_insight_score: float | None = Field(None, allow_inf_nan=False)
    time_range_seconds: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Last discovery: from, to (two values)."
    )
    first_discovered_on_range_seconds: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    states: list[str] | None = None
    urgency: Literal["normal", "high"] | None = None
    archived: Literal["true", "false", "any"] | None = None
    include_suppressed: bool | None = None
    stanza_names: list[str] | None = None
    verse_names: list[str] | None = None
    segment: str | None = Field(None, description="Segment JSON: the main segment lies inside of it.")
    text: str | None = Field(None, max_length=500, description="Part of the title.")
    sort: Literal["score", "time", "size", "level"] = "score"
    count: bool = Field(False, description="Also tell the total.")
    limit: Limit = 50
    cursor: Cursor = None


class Change(Input):
    """What changes of an insight; absent keys stay, null takes away."""

    archived: bool | None = None
    snoozed_until: float | None = Field(None, ge=0, le=1e11, allow_inf_nan=False, description="Unix seconds.")
    feedback: Literal["useful", "expected", "false_alarm"] | None = None
    feedback_note: str | None = Field(None, max_length=10_000)
    exclude_window: bool | None = Field(
        None,
        description="With feedback expected or false_alarm: leave the insight's window out of later benchmarks of its "
        "segment and metric.",
    )
    assignee: str | None = Field(None, max_length=254)


class NewComment(Input):
    """A comment."""

    text: str = Field(min_length=1, max_length=10_000, examples=["The new carrier started that day."])


class RunsAsked(Input):
    """Which verses are run, and for when."""

    context_class: str = Field(min_length=1, max_length=128, examples=["LOAN"])
    verses: list[str] | None = Field(None, description="Names; null = all of the class.")
    timestamp: float | None = Field(None, ge=0, le=1e11, allow_inf_nan=False, description="T; null = now.")


@router.get("/insights", response_model=Page[m.Insight])
def list_insights(request: Request, caller: InsightReader, filters: Annotated[Filters, Query()]) -> Response:
    """Insights, highest score first unless another order is asked for."""
    edge = edge_of(request)
    asked = filters.model_dump(exclude={"sort", "count", "limit", "cursor"}, exclude_none=True)
    found = insight_asks.page(edge, caller, asked, cursor=filters.cursor, limit=filters.limit, sort=filters.sort)
    body: dict[str, Any] = {"items": list(found.items), "next_cursor": found.next_cursor}
    if filters.count:
        body["total"] = insight_asks.count(edge, caller, asked)
    return JSON(body)


@router.get("/insights/{insight_id}", response_model=m.InsightInFull)
def get_insight(request: Request, caller: InsightReader, insight_id: str) -> Response:
    """One insight with its series, the distribution of its metric, the runs that found it, and its comments."""
    edge = edge_of(request)
    insight_asks.check_insight(edge, caller, insight_id, Permission.INSIGHTS_READ)
    insight = _get(edge, caller, insight_id)
    return single(request, insight, lambda: {"distribution": insight_asks.distribution(edge, caller, insight)})


@router.patch("/insights/{insight_id}", response_model=m.Insight)
def change_insight(request: Request, caller: InsightReader, insight_id: str, change: Change) -> Response:
    """Archive (Admin), snooze, give feedback, assign (Admin and Viewer). `If-Match` guards against another's change."""
    edge = edge_of(request)
    changes = change.model_dump(exclude_unset=True)
    if "archived" in changes:
        insight_asks.check_insight(edge, caller, insight_id, Permission.INSIGHTS_ARCHIVE)
    if set(changes) != {"archived"}:
        insight_asks.check_insight(edge, caller, insight_id, Permission.INSIGHTS_FEEDBACK)
    check_unchanged(request, _get(edge, caller, insight_id))
    people.change(edge.store, caller.tenant, insight_id, changes, _now(edge), by=caller.author)
    told = {key: value for key, value in changes.items() if key != "feedback_note"}
    audit.record(edge.meta, caller.actor, "insight.change", insight_id, now_ms=edge.clock(), after=told)
    return single(request, _get(edge, caller, insight_id))


@router.post("/insights/{insight_id}/comments", status_code=201, response_model=m.Comment)
def comment(request: Request, caller: FeedbackGiver, insight_id: str, new: NewComment) -> Response:
    """Add a comment."""
    edge = edge_of(request)
    insight_asks.check_insight(edge, caller, insight_id, Permission.INSIGHTS_FEEDBACK)
    return JSON(people.comment(edge.store, caller.tenant, insight_id, caller.author, new.text, _now(edge)), 201)


@router.get("/insights/{insight_id}/export")
def export_insight(request: Request, caller: InsightReader, insight_id: str) -> Response:
    """One self-contained file: query, sums and comments, from which the insight can be computed again."""
    edge = edge_of(request)
    insight_asks.check_insight(edge, caller, insight_id, Permission.INSIGHTS_READ)
    file = export.export(edge.store, caller.tenant, insight_id, public_url=edge.public_url)
    return JSON(file, headers={"Content-Disposition": f'attachment; filename="{insight_id}.json"'})


@router.post("/runs", status_code=202, response_model=JobId)
def start_runs(request: Request, caller: DataManager, ask: RunsAsked) -> Response:
    """Run verses on demand. A job; its result names the runs and insights."""
    from mona_server.insights import work  # brings the search with it, which this process needs only here

    edge = edge_of(request)
    job_id = work.ask(
        edge.store,
        caller.tenant,
        ask.context_class,
        now=_now(edge),
        verses=ask.verses,
        timestamp_s=ask.timestamp,
        author=caller.author,
    )
    audit.record(edge.meta, caller.actor, "runs.start", job_id, now_ms=edge.clock(), after=ask.model_dump())
    return JSON({"job_id": job_id}, 202)


@router.get("/runs", response_model=Page[m.Run])
def list_runs(
    request: Request,
    caller: InsightReader,
    context_class: Annotated[str | None, Query(max_length=128)] = None,
    verse: Annotated[str | None, Query(description="Only runs of this verse.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The newest runs first."""
    name = context_class or insight_asks.only_class(caller)
    after = read_position(cursor)
    store = edge_of(request).store
    found = run_records.list_runs(store, caller.tenant, context_class=name, verse_name=verse, limit=limit, after=after)
    last = (round(found[-1]["started"] * 1000), found[-1]["id"]) if len(found) == limit else None
    return page(found, last)


@router.get("/runs/{run_id}", response_model=m.Run)
def get_run(request: Request, caller: InsightReader, run_id: str) -> Response:
    """One run: candidates, tests, what passed, time, insights."""
    found = run_records.get_run(edge_of(request).store, caller.tenant, run_id)
    if not caller.may(Permission.INSIGHTS_READ, found["arc_class"]):
        raise NotFound(f"there is no run {run_id}")
    return single(request, found)


def _get(edge: Edge, caller: Caller, insight_id: str) -> dict[str, Any]:
    return listing.get(edge.store, caller.tenant, insight_id, public_url=edge.public_url)


def _now(edge: Edge) -> datetime:
    return datetime.fromtimestamp(edge.clock() / 1000, UTC)
