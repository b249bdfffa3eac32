"""Every page by its address. A further page is a module with a context, a template, and a route here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from mona_server.web import sign_in, static_files
from mona_server.web.getting_started import getting_started_page
from mona_server.web.pages import PageRoute, Visit, render, visit
from mona_server.web.reading import Reading

pages = APIRouter(route_class=PageRoute, include_in_schema=False)

Visitor = Annotated[Visit, Depends(visit)]


@pages.get("/")
def start(visitor: Visitor) -> Response:
    """The insights once there is data, else how to send some."""
    return RedirectResponse("/insights" if Reading(visitor).contexts() else "/getting-started", 303)


@pages.get("/getting-started")
def getting_started(visitor: Visitor) -> Response:
    reading = Reading(visitor)
    page = getting_started_page(
        address=visitor.edge.address,
        data_dir=visitor.edge.settings.data_dir.name,
        context_class=visitor.context_class,
        contexts=reading.contexts(),
        configured=reading.configuration() is not None,
        insights=0,
    )
    return render(visitor, "getting_started.html", page)


router = APIRouter()
for part in (static_files.router, sign_in.router, pages):
    router.include_router(part)
