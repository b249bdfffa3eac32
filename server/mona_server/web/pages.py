"""What all pages share: the template environment, the shell around a page, and what happens when one fails.

A page is: one typed question → one frozen dataclass → one template. A route builds the dataclass and calls :func:`render`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import heroicons.jinja
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from mona_server import words
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge, edge_of
from mona_server.api.guard import COOKIE, find_caller
from mona_server.api.identity import sessions
from mona_server.api.identity.roles import Permission
from mona_server.config import revisions
from mona_server.errors import MonaError, NotAuthenticated, NotFound
from mona_server.web import static_files

HERE = Path(__file__).parent
STATIC = HERE / "static"
CLASS_COOKIE, THEME_COOKIE = "mona_class", "mona_theme"


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the side navigation. Further pages add a line to :data:`PLACES`."""

    name: str
    path: str
    icon: str
    permission: Permission


PLACES = (
    Place("Insights", "/insights", "bolt", Permission.INSIGHTS_READ),
    Place("Getting started", "/getting-started", "rocket-launch", Permission.INSIGHTS_READ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """What surrounds a page: who looks, at which class, and where else they may go."""

    path: str
    places: tuple[Place, ...]
    classes: tuple[str, ...]
    """The classes that this person may see, by name."""
    current: str | None
    """The class that the page is about: from the address, else the one of the last visit, else the first."""
    person: str
    """Name or address of the person; empty where nobody signs in."""
    csrf: str
    """For forms that change something; empty where nobody signs in."""
    theme: str
    """``light`` or ``dark`` when chosen, empty to follow the system."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of a page by somebody who may see it."""

    request: Request
    caller: Caller
    edge: Edge
    shell: Shell

    @property
    def context_class(self) -> str | None:
        return self.shell.current

    def at(self, context_class: str) -> Visit:
        """The same visit, with the shell showing the class of what is looked at."""
        return replace(self, shell=replace(self.shell, current=context_class))


async def visit(request: Request) -> Visit:
    """The dependency of every page behind the sign-in. Raises :class:`NotAuthenticated`, :class:`Forbidden`."""
    caller = await find_caller(request, {})
    caller.require(Permission.INSIGHTS_READ)
    return await run_in_threadpool(_visit, request, caller)


def _visit(request: Request, caller: Caller) -> Visit:
    edge = edge_of(request)
    revision = revisions.active(edge.meta, caller.tenant)
    names = {info.name for info in edge.store.classes(caller.tenant)} | set(revision.raw if revision else ())
    allowed = caller.classes(Permission.INSIGHTS_READ)
    visible = tuple(sorted(name for name in names if allowed is None or name in allowed))
    wanted = request.query_params.get("class") or request.cookies.get(CLASS_COOKIE)
    cookie = request.cookies.get(COOKIE)
    session = sessions.find(edge.meta, cookie, now_ms=edge.clock()) if cookie else None
    shell = Shell(
        path=request.url.path,
        places=tuple(place for place in PLACES if caller.may(place.permission)),
        classes=visible,
        current=wanted if wanted in visible else next(iter(visible), None),
        person=(session.user.name or session.user.email) if session else "",
        csrf=session.csrf if session else "",
        theme=_theme(request),
    )
    return Visit(request, caller, edge, shell)


def _theme(request: Request) -> str:
    theme = request.cookies.get(THEME_COOKIE, "")
    return theme if theme in ("light", "dark") else ""


class PageRoute(APIRoute):
    """Whoever is not signed in is asked to; every other failure of a page is a page, with the same words as elsewhere."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except NotAuthenticated as error:
                if request.cookies.get(COOKIE) is None or request.method == "GET":
                    where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                    return RedirectResponse(f"/sign-in?{urlencode({'next': where})}", 303)
                return failure(request, error)
            except MonaError as error:
                return failure(request, error)

        return handler


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePage:
    """A page that could not be shown: what happened, and what to do."""

    title: str
    message: str
    hint: str
    request_id: str
    theme: str
    retry: bool


def failure(request: Request, error: MonaError) -> HTMLResponse:
    """The error as a page with the error's status."""
    page = FailurePage(
        title="Not found" if isinstance(error, NotFound) else "This page cannot be shown",
        message=error.message,
        hint=error.hint,
        request_id=str(request.scope.get("state", {}).get("request_id", "")),
        theme=_theme(request),
        retry=error.status >= 500 or error.status == 429,
    )
    return HTMLResponse(environment().get_template("failure.html").render(page=page), error.status)


def render(visited: Visit, template: str, page: Any, *, status: int = 200) -> HTMLResponse:
    """The template filled with ``page`` (a frozen dataclass) and ``shell``."""
    text = environment().get_template(template).render(page=page, shell=visited.shell)
    response = HTMLResponse(text, status)
    current = visited.shell.current
    if current and visited.request.cookies.get(CLASS_COOKIE) != current:
        response.set_cookie(CLASS_COOKIE, current, max_age=31_536_000, samesite="lax", httponly=True)
    return response


def render_open(request: Request, template: str, page: Any, *, status: int = 200) -> HTMLResponse:
    """A page that needs no sign-in, without the shell."""
    text = environment().get_template(template).render(page=page, theme=_theme(request))
    return HTMLResponse(text, status)


@cache
def environment() -> Environment:
    """The one Jinja environment. Filters only wrap tested functions."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": words.number, "count": words.count, "share": words.share, "exact": words.exact,
        "moment": words.moment, "day": words.day,
    }  # fmt: skip
    made.globals |= {
        "icon": heroicons.jinja.heroicon_micro,
        "static": static_address,
        "plotly_style_ids": static_files.plotly_style_ids,
        "plural": words.plural,
        "age": words.age,
        "change": words.change,
        "short_day": words.short_day,
        "span": words.span,
    }
    return made


def static_address(name: str) -> str:
    """Address of a static file, with its content's hash, so that browsers may keep it for a year.

    >>> static_address("mona.css").startswith("/static/mona.css?v=")
    True
    """
    return f"/static/{name}?v={_version(name)}"


@cache
def _version(name: str) -> str:
    return hashlib.sha256(static_files.read(name)).hexdigest()[:12]
