"""Signing in and out, and who one is. The pages use these as well."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from mona_server.api.answers import JSON
from mona_server.api.cookies import clear_session, client_address, set_session, signed_in_user
from mona_server.api.edge import edge_of
from mona_server.api.guard import COOKIE
from mona_server.api.identity import sessions, users
from mona_server.api.identity.roles import permissions
from mona_server.api.shapes import Anyone, Input
from mona_server.api.v1.models import people as m
from mona_server.errors import NotAuthenticated

router = APIRouter(tags=["session"])


class SignIn(Input):
    """What a person types."""

    email: str = Field(max_length=254, examples=["ann@example.com"])
    password: str = Field(max_length=256, examples=["violet harbour stapler 9"])
    code: str | None = Field(None, max_length=10, description="Of the second factor, where one is set.")


class NewPassword(Input):
    """The first or a new password, with the secret of the link that was sent."""

    link: str = Field(max_length=200)
    password: str = Field(max_length=300, examples=["violet harbour stapler 9"])
    name: str | None = Field(None, max_length=200)


class SecondFactor(Input):
    """A code of the authenticator app; `seed` from `GET /session/second_factor` switches on, null switches off."""

    code: str = Field(max_length=10, examples=["123456"])
    seed: str | None = Field(None, max_length=64, pattern="^[0-9a-f]+$")


@router.post("/session", response_model=m.Session)
def sign_in(request: Request, given: SignIn) -> Response:
    """Sign in with address and password. Gives a cookie, and the CSRF token that writes must carry."""
    edge = edge_of(request)
    now_ms = edge.clock()
    address = f"sign-in {client_address(request)}"
    edge.failures.check(address, now_ms=now_ms)
    try:
        user = users.sign_in(
            edge.meta,
            edge.sealer,
            given.email,
            given.password,
            given.code,
            now_ms=now_ms,
            ip=client_address(request),
        )
    except users.CodeNeeded:
        raise
    except NotAuthenticated:
        edge.failures.failed(address, now_ms=now_ms)
        raise
    cookie, session = sessions.start(edge.meta, user, now_ms=now_ms, ip=client_address(request))
    answer = JSON({"user": user.to_json(), "csrf": session.csrf}, headers={"Cache-Control": "no-store"})
    return set_session(edge, answer, cookie)


@router.delete("/session", status_code=204)
def sign_out(request: Request, _caller: Anyone) -> Response:
    """End the session."""
    cookie = request.cookies.get(COOKIE)
    if cookie:
        sessions.end(edge_of(request).meta, cookie)
    return clear_session(Response(status_code=204))


@router.post("/session/password", response_model=m.User)
def set_password(request: Request, given: NewPassword) -> Response:
    """Set a password by the link of an invitation or of a forgotten password."""
    edge = edge_of(request)
    return JSON(
        users.set_password(edge.meta, given.link, given.password, now_ms=edge.clock(), name=given.name).to_json()
    )


@router.get("/session/second_factor", response_model=m.Seed)
def new_second_factor(session: Annotated[sessions.Session, Depends(signed_in_user)]) -> Response:
    """A fresh seed for an authenticator app; nothing changes until it is confirmed with a code."""
    seed, uri = users.new_second_factor(session.user.email)
    return JSON({"seed": seed, "uri": uri}, headers={"Cache-Control": "no-store"})


@router.post("/session/second_factor", status_code=204)
def set_second_factor(
    request: Request, session: Annotated[sessions.Session, Depends(signed_in_user)], given: SecondFactor
) -> Response:
    """Switch the second factor on or off."""
    edge = edge_of(request)
    actor = sessions.caller(session, ip=client_address(request)).actor
    users.set_second_factor(
        edge.meta, edge.sealer, session.user, given.seed, given.code, now_ms=edge.clock(), actor=actor
    )
    return Response(status_code=204)


@router.get("/me", response_model=m.Me)
def me(request: Request, caller: Anyone) -> Response:
    """Who calls, for which tenant, with which rights."""
    user = users.find(edge_of(request).meta, caller.user_id) if caller.user_id else None
    return JSON(
        {
            "tenant": caller.tenant,
            "user": user.to_json() if user else None,
            "client_id": caller.client_id,
            "roles": [grant.to_json() for grant in caller.grants],
            "permissions": permissions(caller.grants),
        }
    )
