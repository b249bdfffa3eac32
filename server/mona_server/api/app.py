"""The HTTP application: one list of routers, one stack of middleware, one place for errors."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from mona_server import __version__
from mona_server.api import health, metrics, openapi, sending, services, sso_routes, token_routes
from mona_server.api.answers import InvalidRequest, error_answer
from mona_server.api.body import Gone
from mona_server.api.edge import Clock, open_edge, system_clock
from mona_server.api.metrics import HttpMetrics
from mona_server.api.middleware import BoundedBodies, Surround
from mona_server.api.shapes import FAILURES
from mona_server.api.v1 import (
    admin,
    classes,
    config,
    contexts,
    events,
    imports,
    insights,
    jobs,
    meta,
    operations,
    query,
    session,
    sources,
    views,
)
from mona_server.errors import BadRequest, MonaError
from mona_server.segment import SegmentError
from mona_server.settings import Settings
from mona_server.store import Store

log = structlog.get_logger("mona.http")

ROUTERS = (token_routes.router, services.router, health.router, metrics.router, sso_routes.visits)
"""In the order in which paths are tried; the sending paths come before all of them."""
V1_ROUTERS = tuple(
    part.router
    for part in (
        openapi,
        health,
        meta,
        session,
        classes,
        contexts,
        config,
        query,
        insights,
        events,
        views,
        imports,
        sources,
        jobs,
        operations,
        admin,
        sso_routes,
    )
)


def create_app(settings: Settings, store: Store, *, clock: Clock = system_clock) -> FastAPI:
    """The application over an open :class:`mona_server.store.Store`.

    ``clock`` gives Unix milliseconds. Pages are added with ``app.include_router(router)``.
    """
    tls = settings.server.tls_cert is not None or (settings.server.public_url or "").startswith("https:")
    edge = open_edge(settings, store, clock=clock)
    http_metrics = HttpMetrics()
    app = FastAPI(
        title="Mona",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(Surround, tls=tls, observe=http_metrics.observe),
            Middleware(BoundedBodies, limits=settings.limits, budget=edge.budget),
        ],
    )
    app.state.edge = edge
    app.state.http_metrics = http_metrics
    app.router.routes.extend(sending.routes(edge))
    for router in ROUTERS:
        app.include_router(router)
    for router in V1_ROUTERS:
        app.include_router(router, prefix="/api/v1", responses=FAILURES)
    app.add_exception_handler(MonaError, _known)
    app.add_exception_handler(SegmentError, _bad_segment)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Gone, _gone)
    return app


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, MonaError)
    if error.status >= 500:
        log.error("request failed", path=request.url.path, error=type(error).__name__, reason=error.message)
    return error_answer(request, error, method=request.method)


async def _bad_segment(request: Request, error: Exception) -> Response:
    return error_answer(request, BadRequest(f"segment: {error}"), method=request.method)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_answer(request, InvalidRequest.of(error), method=request.method)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = MonaError(str(error.detail))
    known.status = error.status_code
    answer = error_answer(request, known, method=request.method)
    answer.headers.update(error.headers or {})
    return answer


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # the client has left; nobody reads it
