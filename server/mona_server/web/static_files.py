"""Static files: our few, and Plotly's script out of its own wheel. Nothing is loaded from another host."""

from __future__ import annotations

import gzip
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from mona_server.errors import NotFound

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PLOTLY = "plotly.min.js"

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """One file by its plain name, compressed where the browser takes it, to be kept for a year."""
    if not _exists(name):
        raise NotFound("no such file")
    body = read(name)
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "v" not in request.query_params:
        headers["Cache-Control"] = "no-cache"  # reached without a hash, from inside of a style sheet
    if len(body) > 1024 and "gzip" in request.headers.get("accept-encoding", ""):
        body = _compressed(name)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=TYPES[Path(name).suffix], headers=headers)


@router.get("/favicon.ico")
def favicon() -> Response:
    return Response(read("icon.svg"), media_type=TYPES[".svg"], headers={"Cache-Control": "public, max-age=86400"})


def _exists(name: str) -> bool:
    return name == PLOTLY or (name in {path.name for path in FOLDER.iterdir()} and Path(name).suffix in TYPES)


@cache
def read(name: str) -> bytes:
    """The bytes of a static file."""
    if name != PLOTLY:
        return (FOLDER / name).read_bytes()
    # Found without importing the package, which takes half a second.
    spec = find_spec("plotly")
    assert spec is not None
    assert spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / "package_data" / PLOTLY).read_bytes()


@cache
def plotly_style_ids() -> tuple[str, ...]:
    """Ids of the style elements that Plotly's script adds unless an element of that id is there already.

    The content policy refuses such styles with an error in the console. They dress maps and a toolbar that our charts
    do not have, so pages put empty elements of these ids in their place; what charts need is in ``chart.css``.
    """
    found = re.findall(rb'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', read(PLOTLY))
    return tuple(sorted({name.decode() for name in found}))


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(read(name), 6, mtime=0)
