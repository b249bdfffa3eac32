"""The one place that decides about a request: ``Depends(allow(Permission.X))`` on every route.

The context class is looked for where requests name it (path, query, JSON body), so that roles that count per
class hold on every path alike. A test lists all routes and fails for one without a guard.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from mona_server.api.caller import Caller, check_tenant
from mona_server.api.edge import edge_of
from mona_server.api.identity import sessions
from mona_server.api.identity.roles import Permission
from mona_server.errors import BadRequest, Forbidden, NotAuthenticated

CLASS_KEYS = ("context_class", "contextClass", "arcClass", "arc_class")
TENANT_KEYS = ("user_id", "userId")
COOKIE = "mona_session"


class Guard:
    """A dependency that gives the caller, or refuses. ``permission`` None: any caller that is known."""

    def __init__(self, permission: Permission | None) -> None:
        self.permission = permission

    async def __call__(self, request: Request) -> Caller:
        body = await json_object(request)
        caller = await find_caller(request, body)
        if self.permission is not None:
            caller.require(self.permission, _named_class(request, body))
        return caller


def allow(permission: Permission) -> Guard:
    """The guard of a route: ``caller: Annotated[Caller, Depends(allow(Permission.CONFIG_READ))]``."""
    return Guard(permission)


async def find_caller(request: Request, body: dict[str, Any]) -> Caller:
    """The caller by token, else by session cookie (with its CSRF token on writes), else nobody if that is allowed."""
    edge = edge_of(request)
    authorization = request.headers.get("authorization")
    cookie = request.cookies.get(COOKIE)
    named = next((body[key] for key in TENANT_KEYS if body.get(key) is not None), None)
    caller = edge.access.known(authorization, now_ms=edge.clock()) if authorization else None
    if caller is None:
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
        if request.method not in {"GET", "HEAD", "OPTIONS"} and not session.csrf_is(
            request.headers.get("x-csrf-token") or ""
        ):
            raise Forbidden("the CSRF token is missing or wrong", hint="send it in the header X-CSRF-Token")
        return sessions.caller(session, ip=ip, tenant=request.headers.get("x-mona-tenant"))
    return edge.access.nobody(named, now_ms=now_ms, ip=ip)


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object of the body; ``{}`` for an empty one. Raises :class:`BadRequest`."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return {}
    kept = getattr(request.state, "json_object", None)
    if kept is not None:
        return dict(kept)
    raw = await edge_of(request).read_service_body(request)
    try:
        body = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    request.state.json_object = body
    return body


def _named_class(request: Request, body: dict[str, Any]) -> str | None:
    for place in (request.path_params, request.query_params, body):
        for key in CLASS_KEYS:
            value = place.get(key)
            if isinstance(value, str) and value:
                return value
    return None


Body = Annotated[dict[str, Any], Depends(json_object)]
