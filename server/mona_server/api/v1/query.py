"""Questions about data, without an envelope; every one takes ``as_of`` to ask what was known then."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mona_server.api import queries
from mona_server.api.answers import JSON
from mona_server.api.edge import edge_of
from mona_server.api.service_schemas import COMPARE, CORRELATIONS, HISTOGRAM, SERVICES, Schema
from mona_server.api.shapes import Investigator
from mona_server.api.v1.models import data as m
from mona_server.api.wire_names import Ask
from mona_server.query import service

router = APIRouter(tags=["queries"])


def _body(path: str) -> dict[str, Any]:
    """The request body of an original service, as OpenAPI describes it."""
    described = SERVICES[path]
    return _asked((described.request, described.example))


def _asked(described: tuple[Schema, Any]) -> dict[str, Any]:
    media = {"schema": described[0], "example": described[1]}
    return {"requestBody": {"required": True, "content": {"application/json": media}}}


@router.post("/query/segment", response_model=m.SegmentAnswer | m.Table, openapi_extra=_body("/get_segment"))
def segment(
    request: Request,
    caller: Investigator,
    ask: Ask,
    format: Annotated[Literal["json", "table"], Query(description="`table`: one row per frame.")] = "json",  # noqa: A002
) -> Response:
    """Sizes, statistics, histograms and series of segments."""
    found = queries.ask(edge_of(request), caller, ask, service.SegmentRequest, service.get_segment)
    return JSON(queries.segment_table(found) if format == "table" else found)


@router.post("/query/histogram", response_model=m.Answer, openapi_extra=_asked(HISTOGRAM))
def histogram(request: Request, caller: Investigator, ask: Ask) -> Response:
    """How one field is spread, in whole or over time."""
    return JSON(queries.ask(edge_of(request), caller, ask, service.HistogramRequest, service.get_histogram))


@router.post("/query/compare", response_model=m.Answer, openapi_extra=_asked(COMPARE))
def compare(request: Request, caller: Investigator, ask: Ask) -> Response:
    """Two windows or two segments: per field statistics of both, histograms on common bins, distance, q-value."""
    return JSON(queries.ask(edge_of(request), caller, ask, service.CompareRequest, service.compare))


@router.post("/query/correlations", response_model=m.Answer, openapi_extra=_asked(CORRELATIONS))
def correlations(request: Request, caller: Investigator, ask: Ask) -> Response:
    """Correlations of the numeric fields in a window and segment."""
    return JSON(queries.ask(edge_of(request), caller, ask, service.CorrelationsRequest, service.correlations))


@router.post(
    "/query/segments", response_model=m.DimensionsAnswer | m.Table, openapi_extra=_body("/get_segments_for_dimensions")
)
def segments(
    request: Request,
    caller: Investigator,
    ask: Ask,
    format: Annotated[Literal["json", "table"], Query(description="`table`: one row per segment.")] = "json",  # noqa: A002
) -> Response:
    """The segments of a field (or of up to three), two windows side by side."""
    answer = service.get_segments_for_dimensions
    found = queries.ask(edge_of(request), caller, ask, service.DimensionsRequest, answer)
    return JSON(queries.dimensions_table(found) if format == "table" else found)
