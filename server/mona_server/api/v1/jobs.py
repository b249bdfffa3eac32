"""Background work: backfill, and the state of every job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from mona_server.api import backfills
from mona_server.api.answers import JSON
from mona_server.api.caller import Caller
from mona_server.api.edge import edge_of
from mona_server.api.identity import audit
from mona_server.api.identity.roles import Permission
from mona_server.api.shapes import Cursor, DataManager, Input, Limit, page, read_position, single
from mona_server.api.v1.models import work as m
from mona_server.api.v1.models.base import Page
from mona_server.store import jobs

router = APIRouter(tags=["jobs"])


class Backfill(Input):
    """What is rebuilt of the past."""

    context_class: str = Field(min_length=1, max_length=128, examples=["LOAN"])
    from_: float | None = Field(
        None, alias="from", ge=-1e11, le=1e11, allow_inf_nan=False, description="Unix seconds of the context time."
    )
    to: float | None = Field(None, ge=-1e11, le=1e11, allow_inf_nan=False, description="Excluded.")
    what: list[Literal["fields", "insights"]] = Field(default=["fields"], min_length=1, max_length=2)
    verses: list[str] | None = Field(None, description="Only these verses; for insights.")


@router.post("/backfill", status_code=202, response_model=m.BackfillJobs)
def backfill(request: Request, caller: DataManager, ask: Backfill) -> Response:
    """Rebuild fields of old contexts with the active configuration (default: the last 8 weeks of data), or run verses
    for every T of a range; backfilled insights notify nobody."""
    edge = edge_of(request)
    from_ms, to_ms = _ms(ask.from_), _ms(ask.to)
    made = {}
    if "fields" in ask.what:
        made["fields"] = backfills.fields(edge, caller, ask.context_class, from_ms=from_ms, to_ms=to_ms)
    if "insights" in ask.what:
        made["insights"] = backfills.insights(edge, caller, ask.context_class, ask.from_, ask.to, ask.verses)
    return JSON({"job_id": next(iter(made.values())), "jobs": made}, 202)


@router.get("/jobs", response_model=Page[m.Job])
def list_jobs(
    request: Request,
    caller: DataManager,
    limit: Limit = 50,
    cursor: Cursor = None,
    kind: Annotated[str | None, Query(description="Only this kind, e.g. `backfill`.")] = None,
) -> Response:
    """The newest jobs first."""
    meta = edge_of(request).meta
    found = jobs.recent(meta, caller.tenant, kind=kind, limit=limit, after=read_position(cursor))
    last = (found[-1].created_ms, found[-1].id) if len(found) == limit else None
    return page([_shown(job) for job in found if _may_see(caller, job)], last)


@router.get("/jobs/{job_id}", response_model=m.Job)
def get_job(request: Request, caller: DataManager, job_id: str) -> Response:
    """State, progress, result and error of a job."""
    job = jobs.get(edge_of(request).meta, caller.tenant, job_id)
    caller.require(Permission.DATA_MANAGE, job.parameters.get("context_class"))
    return single(request, _shown(job))


@router.delete("/jobs/{job_id}", response_model=m.Job)
def cancel_job(request: Request, caller: DataManager, job_id: str) -> Response:
    """Stop a job that waits or runs; what it did so far stays."""
    edge = edge_of(request)
    job = jobs.get(edge.meta, caller.tenant, job_id)
    caller.require(Permission.DATA_MANAGE, job.parameters.get("context_class"))
    job = jobs.cancel(edge.meta, caller.tenant, job_id, now_ms=edge.clock())
    audit.record(edge.meta, caller.actor, "job.cancel", job_id, now_ms=edge.clock())
    return JSON(_shown(job))


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _shown(job: jobs.Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "progress": job.progress,
        "created": job.created_ms / 1000,
        "updated": job.updated_ms / 1000,
        "parameters": job.parameters,
        "result": job.result,
        "error": job.error,
    }


def _may_see(caller: Caller, job: jobs.Job) -> bool:
    return caller.may(Permission.DATA_MANAGE, job.parameters.get("context_class"))
