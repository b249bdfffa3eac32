"""The session cookie, and the person behind it: what pages depend on."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from mona_server.api.edge import Edge, edge_of
from mona_server.api.guard import COOKIE, check_csrf
from mona_server.api.identity import sessions
from mona_server.api.identity.users import User
from mona_server.errors import NotAuthenticated


def signed_in_user(request: Request) -> sessions.Session:
    """A dependency: the session of the cookie, with its CSRF token checked on writes.

    Raises :class:`NotAuthenticated`, which a page turns into a redirect to its sign-in form.
    """
    edge = edge_of(request)
    cookie = request.cookies.get(COOKIE)
    session = sessions.find(edge.meta, cookie, now_ms=edge.clock()) if cookie else None
    if session is None:
        raise NotAuthenticated("Nobody is signed in")
    check_csrf(request, session)
    return session


def current_user(request: Request) -> User:
    """A dependency: the user who is signed in. Raises :class:`NotAuthenticated`."""
    return signed_in_user(request).user


def set_session(edge: Edge, answer: Response, cookie: str) -> Response:
    """Put the cookie of a new session on an answer."""
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=sessions.LIFE_MS // 1000,
        httponly=True,
        samesite="lax",
        secure=edge.address.startswith("https:"),
    )
    return answer


def clear_session(answer: Response) -> Response:
    """Take the cookie away."""
    answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return answer


def client_address(request: Request) -> str:
    """The address of the caller, as logs and limits name it."""
    return request.client.host if request.client else "unknown"
