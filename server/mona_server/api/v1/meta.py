"""About the server: version, limits, and the tables from which forms and validation are built."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from mona_server import __version__
from mona_server.api.answers import JSON
from mona_server.api.edge import edge_of
from mona_server.api.shapes import Anyone, single
from mona_server.api.v1.models import work as m
from mona_server.api.v1.models.base import Items
from mona_server.config.functions import FUNCTIONS
from mona_server.detect.verses import VERSES

router = APIRouter(tags=["meta"])


@router.get("/version", response_model=m.Version)
def version() -> Response:
    """The version of the server and of its protocol. Needs no token."""
    return JSON({"version": __version__, "protocol": 2})


@router.get("/limits", response_model=dict[str, float])
def limits(request: Request, _caller: Anyone) -> Response:
    """The bounds of the sending path."""
    return single(request, edge_of(request).settings.limits.model_dump())


@router.get("/build_functions", response_model=Items)
def build_functions(request: Request, _caller: Anyone) -> Response:
    """Every build function: sources, arguments, result, null rule, example."""
    return single(request, {"items": [function.to_json() for function in FUNCTIONS.values()]})


@router.get("/verse_types", response_model=Items)
def verse_types(request: Request, _caller: Anyone) -> Response:
    """Every verse type with its parameters, kinds, defaults and groups."""
    return single(request, {"items": [verse_type.to_json() for verse_type in VERSES.values()]})
