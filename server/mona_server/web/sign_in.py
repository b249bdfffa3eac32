"""Sign in, sign out, one-time links: ``/sign-in``, ``/login?link=`` and ``/activate?link=``.

A link does nothing when it is opened, only when its button is pressed: programs that look at the addresses in mails and chats
would use it up. Forms are same-site only: the session cookie is ``SameSite=Lax``, and a foreign ``Origin`` is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from mona_server.api.cookies import clear_session, client_address, set_session
from mona_server.api.edge import Edge, edge_of
from mona_server.api.guard import COOKIE
from mona_server.api.identity import sessions, users
from mona_server.errors import Forbidden, MonaError, NotAuthenticated
from mona_server.web.pages import PageRoute, render_open

router = APIRouter(route_class=PageRoute, include_in_schema=False)

Field = Annotated[str, Form()]
Optional = Annotated[str, Form(max_length=2000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInPage:
    """Everything that ``sign_in.html`` shows."""

    purpose: Literal["sign_in", "login", "activate"]
    action: str
    problem: str = ""
    link: str = ""
    next: str = ""
    """Where to go afterwards: a path of this server."""
    email: str = ""
    code_needed: bool = False


def safe_next(address: str) -> str:
    """A path of this server, or the start page: a link must not send people elsewhere after they signed in.

    >>> [safe_next(a) for a in ("/insights?class=A", "//evil.example", "https://evil.example", "/\\\\evil.example", "")]
    ['/insights?class=A', '/', '/', '/', '/']
    """
    parts = urlsplit(address)
    local = address.startswith("/") and not address.startswith("//") and "\\" not in address
    return address if local and not parts.scheme and not parts.netloc and address.isprintable() else "/"


@router.get("/sign-in")
def sign_in_form(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    return render_open(request, "sign_in.html", SignInPage(purpose="sign_in", action="/sign-in", next=safe_next(next)))


@router.post("/sign-in")
def sign_in(
    request: Request,
    email: Field,
    password: Field,
    code: Optional = "",
    next: Optional = "/",  # noqa: A002
) -> Response:
    edge = _same_site(request)
    now_ms, ip = edge.clock(), client_address(request)
    try:
        edge.failures.check(f"sign-in {ip}", now_ms=now_ms)
        user = users.sign_in(edge.meta, edge.sealer, email, password, code or None, now_ms=now_ms, ip=ip)
    except MonaError as error:
        needed = isinstance(error, users.CodeNeeded)
        if isinstance(error, NotAuthenticated) and not needed:
            edge.failures.failed(f"sign-in {ip}", now_ms=now_ms)
        page = SignInPage(
            purpose="sign_in",
            action="/sign-in",
            problem="" if needed else _capital(error.message),
            next=safe_next(next),
            email=email,
            code_needed=needed or bool(code),
        )
        return render_open(request, "sign_in.html", page, status=200 if needed else error.status)
    return _enter(request, edge, user, safe_next(next))


@router.get("/login")
def login_form(request: Request, link: str = "") -> Response:
    return render_open(request, "sign_in.html", SignInPage(purpose="login", action="/login", link=link))


@router.post("/login")
def login(request: Request, link: Field) -> Response:
    edge = _same_site(request)
    try:
        user = users.use_link(edge.meta, link, ("login",), now_ms=edge.clock())
    except NotAuthenticated as error:
        page = SignInPage(purpose="sign_in", action="/sign-in", problem=_capital(f"{error.message}; {error.hint}"))
        return render_open(request, "sign_in.html", page, status=401)
    user = users.signed_in(edge.meta, user.id, now_ms=edge.clock(), ip=client_address(request))
    return _enter(request, edge, user, "/")


@router.get("/activate")
def activate_form(request: Request, link: str = "") -> Response:
    return render_open(request, "sign_in.html", SignInPage(purpose="activate", action="/activate", link=link))


@router.post("/activate")
def activate(request: Request, link: Field, password: Field, name: Optional = "") -> Response:
    edge = _same_site(request)
    try:
        user = users.set_password(edge.meta, link, password, now_ms=edge.clock(), name=name.strip() or None)
    except MonaError as error:
        text = f"{error.message}; {error.hint}" if error.hint else error.message
        page = SignInPage(purpose="activate", action="/activate", link=link, problem=_capital(text))
        return render_open(request, "sign_in.html", page, status=error.status)
    user = users.signed_in(edge.meta, user.id, now_ms=edge.clock(), ip=client_address(request))
    return _enter(request, edge, user, "/")


@router.post("/sign-out")
def sign_out(request: Request, csrf: Optional = "") -> Response:
    edge = _same_site(request)
    cookie = request.cookies.get(COOKIE)
    session = sessions.find(edge.meta, cookie, now_ms=edge.clock()) if cookie else None
    if cookie and session is not None:
        if not session.csrf_is(csrf):
            raise Forbidden("this page is too old", hint="load it again, then sign out")
        sessions.end(edge.meta, cookie)
    return clear_session(RedirectResponse("/sign-in", 303))


def _enter(request: Request, edge: Edge, user: users.User, address: str) -> Response:
    cookie, _ = sessions.start(edge.meta, user, now_ms=edge.clock(), ip=client_address(request))
    return set_session(edge, RedirectResponse(address, 303), cookie)


def _same_site(request: Request) -> Edge:
    """Refuse forms that another site sends. Browsers name the origin of every POST."""
    origin = request.headers.get("origin")
    if origin not in (None, "null") and urlsplit(str(origin)).netloc != request.headers.get("host"):
        raise Forbidden("the form was sent from another site")
    if request.headers.get("sec-fetch-site") not in (None, "same-origin", "none"):
        raise Forbidden("the form was sent from another site")
    return edge_of(request)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
