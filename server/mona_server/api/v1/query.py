"""Questions about data, without an envelope; every one takes ``as_of`` to ask what was known then."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mona_server.api import queries
from mona_server.api.answers import JSON
from mona_server.api.edge import edge_of
from mona_server.api.service_schemas import SERVICES
from mona_server.api.shapes import Investigator
from mona_server.api.v1 import models as m
from mona_server.api.wire_names import Ask
from mona_server.query import service

router = APIRouter(tags=["queries"])


def _body(path: str) -> dict[str, Any]:
    """The request body of an original service, as OpenAPI describes it."""
    described = SERVICES[path]
    media = {"schema": described.request, "example": described.example}
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


@router.post("/query/histogram", response_model=m.SegmentAnswer, openapi_extra=_body("/get_segment"))
def histogram(request: Request, caller: Investigator, ask: Ask) -> Response:
    """The distribution of each metric in each segment: `/query/segment` with `with_histogram`."""
    asked = {**ask, "with_histogram": True}
    return JSON(queries.ask(edge_of(request), caller, asked, service.SegmentRequest, service.get_segment))


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
