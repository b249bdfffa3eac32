"""``GET /health`` and ``GET /ready``: can this server accept, and can it answer questions?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import text
from starlette.responses import Response

from mona_server import __version__
from mona_server.api.answers import JSON
from mona_server.api.edge import Edge, edge_of

router = APIRouter(tags=["health"])


@router.get("/health")
async def health(request: Request) -> Response:
    """200 when the server can accept messages and query; 503 with what fails otherwise."""
    failures = await run_in_threadpool(_failures, edge_of(request))
    body = {"status": "failing" if failures else "ok", "version": __version__, "failures": failures}
    return JSON(body, 503 if failures else 200)


@router.get("/ready")
async def ready(request: Request) -> Response:
    """The same as /health; for load balancers that ask under this name."""
    return await health(request)


def _failures(edge: Edge) -> list[str]:
    checks: dict[str, Callable[[], object]] = {
        "accept": edge.store.inbox.check,
        "identity": partial(_select_one, edge),
        "query": lambda: edge.reader.engine.rows("SELECT 1"),
        "state": edge.store.newest_revision,
    }
    failures = []
    for name, check in checks.items():
        try:
            check()
        except Exception as error:  # noqa: BLE001 - a health check reports whatever is wrong
            failures.append(f"{name}: {type(error).__name__}")
    return failures


def _select_one(edge: Edge) -> None:
    with edge.meta.connect() as db:
        db.execute(text("SELECT 1"))
