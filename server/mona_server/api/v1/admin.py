"""Users, tokens, roles, tenants and the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from mona_server.api import link_mails
from mona_server.api.answers import JSON
from mona_server.api.edge import Edge, edge_of
from mona_server.api.identity import audit, roles, tenants, tokens, users
from mona_server.api.shapes import Anyone, Cursor, Input, Limit, UserManager, file_of, page, read_cursor, single
from mona_server.api.v1.models import people as m
from mona_server.api.v1.models.base import Page
from mona_server.errors import BadRequest, Forbidden

router = APIRouter(tags=["admin"])

_PORTION = 1_000
_NO_STORE = {"Cache-Control": "no-store"}
"""For answers that show a secret."""

Roles = Annotated[
    list[str | dict[str, str | None]],
    Field(
        min_length=1,
        description="Names, or objects with a context class for roles that count per class.",
        examples=[["Viewer"], [{"role": "Context Class Viewer", "arc_class": "LOAN"}]],
    ),
]


class NewUser(Input):
    """Who is invited."""

    email: str = Field(max_length=254, examples=["ann@example.com"])
    name: str = Field("", max_length=200, examples=["Ann"])
    roles: Roles = Field(default=["Viewer"])


class UserChange(Input):
    """What changes of a user; absent keys stay."""

    name: str | None = Field(None, max_length=200)
    roles: Roles | None = None
    state: str | None = Field(None, description="active or disabled", examples=["disabled"])


class NewToken(Input):
    """A token for a program."""

    description: str = Field("", max_length=500, examples=["training pipeline"])
    roles: Roles = Field(default=["Exporter"])
    expires: float | None = Field(None, description="Unix seconds; null = never.", allow_inf_nan=False, examples=[None])


class NewTenant(Input):
    """A customer account of its own."""

    id: str = Field(max_length=128, examples=["acme"])
    name: str = Field("", max_length=200, examples=["Acme"])


@router.get("/users", response_model=Page[m.User])
def list_users(request: Request, caller: UserManager) -> Response:
    """All users of the tenant, by address."""
    return page([user.to_json() for user in users.listed(edge_of(request).meta, caller.tenant)])


@router.post("/users", status_code=201, response_model=m.InvitedUser)
def invite_user(request: Request, caller: UserManager, new: NewUser) -> Response:
    """Invite a user. The link, good for 72 hours, is mailed; it is shown only here, and only when no mail could go."""
    edge = edge_of(request)
    now_ms = edge.clock()
    user, secret = users.invite(
        edge.meta, new.email, new.roles, now_ms=now_ms, tenant=caller.tenant, name=new.name, actor=caller.actor
    )
    handed = link_mails.hand_over(edge.settings, user, "activate", secret, now_ms=now_ms)
    told = {"activation_link": handed.link, "mailed": handed.mailed, "mail_error": handed.mail_error}
    return JSON(user.to_json() | told, 201, _NO_STORE)


@router.get("/users/{user_id}", response_model=m.User)
def get_user(request: Request, caller: UserManager, user_id: str) -> Response:
    """One user."""
    return single(request, users.get(edge_of(request).meta, caller.tenant, user_id).to_json())


@router.patch("/users/{user_id}", response_model=m.User)
def change_user(request: Request, caller: UserManager, user_id: str, change: UserChange) -> Response:
    """Change name, roles or state."""
    edge = edge_of(request)
    given = change.model_dump(exclude_none=True)
    return JSON(
        users.change(edge.meta, caller.tenant, user_id, now_ms=edge.clock(), actor=caller.actor, **given).to_json()
    )


@router.delete("/users/{user_id}", status_code=204)
def remove_user(request: Request, caller: UserManager, user_id: str) -> Response:
    """Remove a user; the last active Admin stays."""
    edge = edge_of(request)
    users.remove(edge.meta, caller.tenant, user_id, now_ms=edge.clock(), actor=caller.actor)
    return Response(status_code=204)


@router.post("/users/{user_id}/link", response_model=m.Link)
def new_user_link(request: Request, caller: UserManager, user_id: str) -> Response:
    """A fresh activation link (for a user who was invited) or password link (for an active one), mailed or shown."""
    edge = edge_of(request)
    now_ms = edge.clock()
    user = users.get(edge.meta, caller.tenant, user_id)
    purpose = "activate" if user.state == "invited" else "reset"
    secret = users.new_link(edge.meta, caller.tenant, user_id, purpose, now_ms=now_ms)
    audit.record(edge.meta, caller.actor, "user.link", user_id, now_ms=now_ms)
    handed = link_mails.hand_over(edge.settings, user, purpose, secret, now_ms=now_ms)
    told = {"link": handed.link, "mailed": handed.mailed, "mail_error": handed.mail_error}
    return JSON(told | {"expires": (now_ms + users.LINK_MS[purpose]) / 1000}, headers=_NO_STORE)


@router.get("/tokens", response_model=Page[m.Token])
def list_tokens(request: Request, caller: UserManager) -> Response:
    """All API tokens that were not revoked, newest first, without secrets."""
    return page(tokens.listed(edge_of(request).meta, caller.tenant))


@router.post("/tokens", status_code=201, response_model=m.MadeToken)
def create_token(request: Request, caller: UserManager, new: NewToken) -> Response:
    """Make an API token. `secret` is shown only in this answer."""
    edge = edge_of(request)
    now_ms = edge.clock()
    expires_ms = None if new.expires is None else int(new.expires * 1000)
    if expires_ms is not None and expires_ms <= now_ms:
        raise BadRequest("expires: the time is over")
    made = tokens.create_token(
        edge.meta,
        new.roles,
        now_ms=now_ms,
        tenant=caller.tenant,
        description=new.description,
        expires_ms=expires_ms,
        actor=caller.actor,
    )
    shown = next(token for token in tokens.listed(edge.meta, caller.tenant) if token["id"] == made.id)
    return JSON(shown | {"secret": made.secret, "user_id": made.tenant}, 201, _NO_STORE)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(request: Request, caller: UserManager, token_id: str) -> Response:
    """Revoke a token: it gives no more access tokens, and those it gave end within a minute."""
    edge = edge_of(request)
    tokens.revoke(edge.meta, caller.tenant, token_id, now_ms=edge.clock(), actor=caller.actor)
    return Response(status_code=204)


@router.get("/roles", response_model=Page[m.Role])
def list_roles(_caller: Anyone) -> Response:
    """The role table: each role with its permissions, and whether it counts per context class."""
    return page(
        [
            {
                "name": role.name,
                "permissions": sorted(role.permissions),
                "per_class": role.per_class,
                "assignable": role.assignable,
            }
            for role in roles.ROLES.values()
        ]
    )


@router.get("/tenants", response_model=Page[m.Tenant])
def list_tenants(request: Request, caller: UserManager) -> Response:
    """All tenants, for a super admin; for others their own."""
    edge = edge_of(request)
    everybody = tenants.listed(edge.meta)
    return page(everybody if _is_super(request, caller) else [t for t in everybody if t["id"] == caller.tenant])


@router.post("/tenants", status_code=201, response_model=m.Tenant)
def create_tenant(request: Request, caller: UserManager, new: NewTenant) -> Response:
    """Make a tenant. Only a super admin may."""
    edge = edge_of(request)
    if not _is_super(request, caller):
        raise Forbidden("only a super admin may make tenants")
    tenants.create(edge.meta, new.id, now_ms=edge.clock(), name=new.name)
    audit.record(edge.meta, caller.actor, "tenant.create", new.id, now_ms=edge.clock())
    return JSON({"id": new.id, "name": new.name or new.id}, 201)


@router.get("/audit", response_model=Page[m.AuditEntry])
def list_audit(
    request: Request,
    caller: UserManager,
    limit: Limit = 50,
    cursor: Cursor = None,
    action: Annotated[str | None, Query(description="Only this action, e.g. `token.create`.")] = None,
) -> Response:
    """Who did what, newest first."""
    position = read_cursor(cursor)
    if position is not None and not isinstance(position, int):
        raise BadRequest("the cursor is not one of ours", hint="start again without a cursor")
    entries: list[dict[str, Any]] = audit.page(
        edge_of(request).meta, caller.tenant, limit=limit, before_id=position, action=action
    )
    return page(entries, entries[-1]["id"] if len(entries) == limit else None)


@router.get("/audit/export", response_class=StreamingResponse, responses=file_of("application/x-ndjson"))
def export_audit(request: Request, caller: UserManager) -> Response:
    """The whole audit log that is kept, newest first: one JSON object a line."""
    lines = _audit_lines(edge_of(request), caller.tenant)
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


def _audit_lines(edge: Edge, tenant: str) -> Iterator[bytes]:
    before: int | None = None
    while entries := audit.page(edge.meta, tenant, limit=_PORTION, before_id=before):
        yield b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        before = entries[-1]["id"]


def _is_super(request: Request, caller: Any) -> bool:
    if caller.user_id is None:
        return False
    user = users.find(edge_of(request).meta, caller.user_id)
    return user is not None and user.super_admin
