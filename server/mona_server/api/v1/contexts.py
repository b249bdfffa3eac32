"""Contexts of a class: lists, one with its history, and whole exports as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from mona_server.api import classes, queries
from mona_server.api.answers import JSON
from mona_server.api.edge import edge_of
from mona_server.api.shapes import Cursor, Investigator, Limit, file_of, single
from mona_server.api.v1.models import data as m
from mona_server.api.v1.models.base import Page
from mona_server.query import service

router = APIRouter(tags=["contexts"])

Seconds = Annotated[float | None, Query(ge=-1e11, le=1e11, allow_inf_nan=False, description="Unix seconds.")]
_PIECE = 2**20
_MEDIA = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv", "jsonl": "application/x-ndjson"}


@router.get("/classes/{context_class}/contexts", response_model=Page[m.Context])
def list_contexts(
    request: Request,
    caller: Investigator,
    context_class: str,
    limit: Limit = 50,
    cursor: Cursor = None,
    search: Annotated[str | None, Query(description="Only ids that begin so.", max_length=512)] = None,
    segment: Annotated[str | None, Query(description="Segment JSON.")] = None,
    from_: Annotated[float | None, Query(alias="from", ge=-1e11, le=1e11, allow_inf_nan=False)] = None,
    to: Seconds = None,
) -> Response:
    """Contexts, newest first."""
    asked = {
        "context_class": context_class,
        "limit": limit,
        "cursor": cursor,
        "search": search,
        "segment": segment,
        "timestamp_from": from_,
        "timestamp_to": to,
    }
    return JSON(queries.ask(edge_of(request), caller, asked, service.ContextsRequest, service.list_contexts))


@router.get("/classes/{context_class}/contexts/{context_id}", response_model=m.ContextWithHistory)
def get_context(request: Request, caller: Investigator, context_class: str, context_id: str) -> Response:
    """One context: fields, merged message, and every message that made it."""
    return single(request, classes.context(edge_of(request), caller, context_class, context_id))


@router.get(
    "/classes/{context_class}/contexts.{format}", response_class=StreamingResponse, responses=file_of(*_MEDIA.values())
)
def export_contexts(
    request: Request,
    caller: Investigator,
    context_class: str,
    format: Literal["parquet", "csv", "jsonl"],  # noqa: A002
    segment: Annotated[str | None, Query(description="Segment JSON.")] = None,
    from_: Annotated[float | None, Query(alias="from", ge=-1e11, le=1e11, allow_inf_nan=False)] = None,
    to: Seconds = None,
) -> Response:
    """All contexts of a segment and time range, as a file."""
    edge = edge_of(request)
    folder = edge.settings.data_dir / "tmp"
    folder.mkdir(exist_ok=True)
    asked: dict[str, Any] = {
        "context_class": context_class,
        "start_time": -1e10 if from_ is None else from_,
        "end_time": 9e10 if to is None else to,
        "segment": segment,
    }

    def export(dataset: service.Dataset, wanted: service.IngestedRequest) -> Path:
        return service.export_contexts(dataset, wanted, format, folder)

    file = queries.ask(edge, caller, asked, service.IngestedRequest, export)
    return StreamingResponse(
        _pieces(file),
        media_type=_MEDIA[format],
        headers={"Content-Disposition": f'attachment; filename="contexts.{format}"'},
    )


def _pieces(file: Path) -> Iterator[bytes]:
    # Opened and unlinked at once, so that it goes whether or not the caller stays to the end.
    with file.open("rb") as stream:
        file.unlink()
        while piece := stream.read(_PIECE):
            yield piece
