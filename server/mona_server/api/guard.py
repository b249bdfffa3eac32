"""The one place that decides about a request: ``Depends(allow(Permission.X))`` on every route.

The context class is looked for where requests name it (path, query, JSON body), so that roles that count per
class hold on every path alike. A test lists all routes and fails for one without a guard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from mona_server.api.answers import UPLOAD_PATH
from mona_server.api.caller import Caller, check_tenant
from mona_server.api.edge import Edge, edge_of
from mona_server.api.identity import sessions
from mona_server.api.identity.roles import Permission
from mona_server.errors import BadRequest, Forbidden, NotAuthenticated
from mona_server.outbound import is_loopback

COOKIE = "mona_session"
_OLD = {"arc_class": "context_class", "negative_segments": "excluded_segments"}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Guard:
    """A dependency that gives the caller, or refuses. ``permission`` None: any caller that is known."""

    def __init__(self, permission: Permission | None) -> None:
        self.permission = permission

    async def __call__(self, request: Request) -> Caller:
        body = await json_object(request)
        caller = await find_caller(request, body)
        if self.permission is not None:
            caller.require(self.permission)
            for context_class in _named_classes(request, body):
                caller.require(self.permission, context_class)
        return caller


def allow(permission: Permission) -> Guard:
    """The guard of a route: ``caller: Annotated[Caller, Depends(allow(Permission.CONFIG_READ))]``."""
    return Guard(permission)


async def find_caller(request: Request, body: dict[str, Any]) -> Caller:
    """The caller by token, else by session cookie (with its CSRF token on writes), else nobody if that is allowed."""
    edge = edge_of(request)
    authorization = request.headers.get("authorization")
    cookie = request.cookies.get(COOKIE)
    named = next((body[key] for key in body if plain_name(key) == "user_id" and body[key] is not None), None)
    caller = edge.access.known(authorization, now_ms=edge.clock()) if authorization else None
    if caller is not None:
        caller = replace(caller, ip=request.client.host if request.client else None)
    else:
        # It reads and at times writes meta.db, which another process may hold: never on the event loop.
        caller = await run_in_threadpool(_find_caller, request, authorization, cookie, named)
    check_tenant(caller, named)
    return caller


def _find_caller(request: Request, authorization: str | None, cookie: str | None, named: object) -> Caller:
    edge = edge_of(request)
    now_ms = edge.clock()
    ip = request.client.host if request.client else None
    if authorization:
        return edge.access.bearer(authorization, now_ms=now_ms, ip=ip)
    if cookie:
        session = sessions.find(edge.meta, cookie, now_ms=now_ms)
        if session is None:
            raise NotAuthenticated("The session has ended", hint="sign in again")
        check_csrf(request, session)
        return sessions.caller(session, ip=ip, tenant=request.headers.get("x-mona-tenant"))
    refuse_foreign_page(request, edge)
    return edge.access.nobody(named, now_ms=now_ms, ip=ip)


def refuse_foreign_page(request: Request, edge: Edge) -> None:
    """Without tokens, a page of another site could use the visitor's browser to reach a server that trusts everybody
    near it. Such a request names its page in ``Origin``, or (a name that was rebound to this address) in ``Host``.

    Raises :class:`Forbidden`. Programs send no ``Origin``, and call the server by its name.
    """
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise Forbidden("pages of other sites may not call this server without a token")
    known = {urlsplit(edge.address).hostname, edge.settings.server.host}
    name = urlsplit(f"//{host}").hostname or ""
    if is_loopback(edge.settings.server.host) and not is_loopback(name) and name not in known:
        raise Forbidden(f"this server is not called {name}", hint="set server.public_url, or send a token")


def check_csrf(request: Request, session: sessions.Session) -> None:
    """A write by cookie must carry the token of its session, which no other site can read. Raises :class:`Forbidden`."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    if not session.csrf_is(request.headers.get("x-csrf-token") or ""):
        raise Forbidden("the CSRF token is missing or wrong", hint="send it in the header X-CSRF-Token")


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object of the body; ``{}`` for an empty one. Raises :class:`BadRequest`."""
    if request.method in {"GET", "HEAD", "OPTIONS"} or request.url.path == UPLOAD_PATH:
        return {}
    kept = getattr(request.state, "json_object", None)
    if kept is not None:
        return dict(kept)
    raw = await request.body()  # bounded and decompressed by the middleware
    try:
        body = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    request.state.json_object = body
    return body


def plain_name(key: str) -> str:
    """A key of a request in today's spelling.

    >>> [plain_name(key) for key in ("contextClass", "arcClass", "ARC_CLASS", "userId", "timestampFrom")]
    ['context_class', 'context_class', 'context_class', 'user_id', 'timestamp_from']
    """
    name = _HUMP.sub("_", key).lower()
    return _OLD.get(name, name)


def _named_classes(request: Request, body: dict[str, Any]) -> set[str]:
    """Every context class that the request names anywhere: the right is needed for each of them, so that a second
    spelling cannot ask for more than the first one was checked for."""
    places: tuple[Mapping[str, Any], ...] = (request.path_params, dict(request.query_params.multi_items()), body)
    given = [value for place in places for key, value in place.items() if plain_name(key) == "context_class"]
    given += [value for key, value in request.query_params.multi_items() if plain_name(key) == "context_class"]
    return {value for value in given if isinstance(value, str) and value}


Body = Annotated[dict[str, Any], Depends(json_object)]
