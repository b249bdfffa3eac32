"""Context classes: which there are, what arrives in them, and the removal of their data."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mona_server.api import classes
from mona_server.api.answers import JSON
from mona_server.api.edge import edge_of
from mona_server.api.identity import audit
from mona_server.api.shapes import DataManager, Investigator, page, single
from mona_server.api.v1.models import data as m
from mona_server.api.v1.models.base import JobId, Page
from mona_server.errors import BadRequest
from mona_server.store import jobs

router = APIRouter(tags=["classes"])

Seconds = Annotated[float | None, Query(ge=-1e11, le=1e11, allow_inf_nan=False, description="Unix seconds.")]
_DAY_MS = 86_400_000


@router.get("/classes", response_model=Page[m.ContextClass])
def list_classes(request: Request, caller: Investigator) -> Response:
    """The context classes that have data or a configuration, by name."""
    return page(classes.listed(edge_of(request), caller))


@router.get("/classes/{context_class}", response_model=m.ContextClass)
def get_class(request: Request, caller: Investigator, context_class: str) -> Response:
    """One context class."""
    return single(request, classes.get(edge_of(request), caller, context_class))


@router.get("/classes/{context_class}/fields", response_model=m.Fields)
def fields(request: Request, caller: Investigator, context_class: str) -> Response:
    """A profile of each field: type, count, missing share, distinct values, quantiles, largest values."""
    return JSON({"items": classes.fields(edge_of(request), caller, context_class)})


@router.get("/classes/{context_class}/ingestion", response_model=m.Ingestion)
def ingestion(
    request: Request,
    caller: Investigator,
    context_class: str,
    from_: Annotated[float | None, Query(alias="from", ge=-1e11, le=1e11, allow_inf_nan=False)] = None,
    to: Seconds = None,
) -> Response:
    """What arrived, by hour: messages, refusals, build errors, unknown variables, late updates. Default: 7 days."""
    edge = edge_of(request)
    to_ms = edge.clock() if to is None else round(to * 1000)
    from_ms = to_ms - 7 * _DAY_MS if from_ is None else round(from_ * 1000)
    if not from_ms < to_ms:
        raise BadRequest("to: must be after from")
    return JSON(classes.ingestion(edge, caller, context_class, from_ms, to_ms))


@router.delete("/classes/{context_class}/contexts/{context_id}", status_code=202, response_model=JobId)
def delete_context(request: Request, caller: DataManager, context_class: str, context_id: str) -> Response:
    """Delete one context for good, its past included. A job."""
    return _job(request, caller, "delete_context", {"context_class": context_class, "context_id": context_id})


@router.delete("/classes/{context_class}/data", status_code=202, response_model=JobId)
def delete_data(
    request: Request,
    caller: DataManager,
    context_class: str,
    from_: Annotated[float | None, Query(alias="from", ge=-1e11, le=1e11, allow_inf_nan=False)] = None,
    to: Seconds = None,
) -> Response:
    """Delete the contexts of a time range for good; without bounds all of the class. A job."""
    bounds = {name: None if at is None else round(at * 1000) for name, at in (("from_ms", from_), ("to_ms", to))}
    return _job(request, caller, "delete_range", {"context_class": context_class, **bounds})


def _job(request: Request, caller: DataManager, kind: str, parameters: dict[str, Any]) -> Response:
    edge = edge_of(request)
    job_id = jobs.create(edge.meta, caller.tenant, kind, parameters, edge.clock(), author=caller.author)
    audit.record(edge.meta, caller.actor, f"data.{kind}", job_id, now_ms=edge.clock(), after=parameters)
    return JSON({"job_id": job_id}, 202)
