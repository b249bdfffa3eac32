"""Sign-in through a provider: the two addresses that a browser visits, and the settings of a tenant."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from mona_server.api.answers import JSON
from mona_server.api.cookies import client_address, set_session
from mona_server.api.edge import Edge, edge_of
from mona_server.api.identity import sessions, sso, tenants
from mona_server.api.shapes import Input, UserManager
from mona_server.api.v1.models import people as m
from mona_server.errors import NotFound

visits = APIRouter(include_in_schema=False)
router = APIRouter(tags=["admin"])

STATE_COOKIE = "mona_sso"


class NewProvider(Input):
    """An OpenID Connect provider."""

    issuer: str = Field(max_length=500, examples=["https://login.example"])
    client_id: str = Field(max_length=500, examples=["mona"])
    client_secret: str | None = Field(None, max_length=2_000, description="Never shown again; absent = the stored one.")
    scopes: str = "openid email profile"
    email_claim: str = "email"
    name_claim: str = "name"
    groups_claim: str = "groups"
    allowed_groups: list[str] = Field(default=[], description="Empty: everybody whom the provider knows.")
    group_roles: dict[str, list[str | dict[str, str | None]]] = Field(default={}, examples=[{"admins": ["Admin"]}])
    default_role: str = "Viewer"
    password_login: bool = Field(True, description="False: passwords work for super admins only.")
    tenant_claim: str | None = Field(
        None, description="Accept the provider's access tokens; this claim names the tenant."
    )
    token_roles: list[str] = Field(default=["Exporter"])


@visits.get("/sso/login")
def login(request: Request, tenant: Annotated[str, Query(max_length=128)] = tenants.DEFAULT) -> Response:
    """Send the browser to the tenant's provider."""
    edge = edge_of(request)
    address, state = edge.federation.begin(tenant, _back(edge), now_ms=edge.clock())
    answer = RedirectResponse(address, 303)
    secure = edge.address.startswith("https:")
    answer.set_cookie(STATE_COOKIE, state, max_age=600, path="/sso", httponly=True, samesite="lax", secure=secure)
    return answer


@visits.get("/sso/callback")
def callback(request: Request) -> Response:
    """Where the provider sends the browser back to: a session begins."""
    edge = edge_of(request)
    user = edge.federation.finish(
        request.cookies.get(STATE_COOKIE),
        dict(request.query_params),
        _back(edge),
        now_ms=edge.clock(),
        ip=client_address(request),
    )
    cookie, _ = sessions.start(edge.meta, user, now_ms=edge.clock(), ip=client_address(request))
    answer = set_session(edge, RedirectResponse("/", 303), cookie)
    answer.delete_cookie(STATE_COOKIE, path="/sso")
    return answer


@router.get("/sso", response_model=m.Provider)
def get_provider(request: Request, caller: UserManager) -> Response:
    """The tenant's sign-in provider, without its secret."""
    provider = sso.load(edge_of(request).meta, caller.tenant)
    if provider is None:
        raise NotFound("no sign-in provider is set up")
    return JSON(provider.to_json())


@router.put("/sso", response_model=m.Provider)
def set_provider(request: Request, caller: UserManager, new: NewProvider) -> Response:
    """Set the tenant's sign-in provider. Its redirect address is `/sso/callback` of this server."""
    edge = edge_of(request)
    given: dict[str, Any] = new.model_dump()
    provider = sso.save(edge.meta, edge.sealer, caller.tenant, given, now_ms=edge.clock(), actor=caller.actor)
    return JSON(provider.to_json())


@router.delete("/sso", status_code=204)
def remove_provider(request: Request, caller: UserManager) -> Response:
    """Remove the tenant's sign-in provider."""
    edge = edge_of(request)
    sso.remove(edge.meta, caller.tenant, now_ms=edge.clock(), actor=caller.actor)
    return Response(status_code=204)


def _back(edge: Edge) -> str:
    return f"{edge.address}/sso/callback"
