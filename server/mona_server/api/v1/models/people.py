"""Who may do what: users, tokens, roles, tenants, sessions, and what they did."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mona_server.api.v1.models.base import Json, Model


class Grant(Model):
    role: str = Field(examples=["Context Class Viewer"])
    arc_class: str | None = Field(examples=["LOAN"])


class User(Model):
    id: str = Field(examples=["user_5f0c"])
    email: str = Field(examples=["ann@example.com"])
    name: str = Field(examples=["Ann"])
    state: str = Field(description="invited, active, disabled", examples=["active"])
    roles: list[Grant]
    second_factor: bool = Field(examples=[False])
    last_login: float | None = Field(examples=[1700000000])


class Handed(Model):
    mailed: bool = Field(description="The mail server took the link; then it is not shown.")
    mail_error: str | None = Field(description="Why the mail did not go, where a mail server is set.", examples=[None])


class InvitedUser(User, Handed):
    activation_link: str | None = Field(description="Shown only here, and only when no mail went.")


class Link(Handed):
    link: str | None = Field(description="Null when it was mailed.")
    expires: float


class Token(Model):
    id: str = Field(examples=["tok_5f0c"])
    client_id: str = Field(description="The api key.", examples=["mona_x"])
    description: str = Field(examples=["training pipeline"])
    roles: list[Grant]
    created: float = Field(examples=[1700000000])
    expires: float | None = Field(examples=[None])
    last_used: float | None = Field(examples=[1700000000])


class MadeToken(Token):
    secret: str = Field(description="Shown only here.")
    user_id: str = Field(description="The tenant.", examples=["default"])


class Role(Model):
    name: str = Field(examples=["Viewer"])
    permissions: list[str] = Field(examples=[["mona.config.read"]])
    per_class: bool
    assignable: bool


class Tenant(Model):
    id: str = Field(examples=["acme"])
    name: str = Field(examples=["Acme"])


class AuditEntry(Model):
    id: int
    time: float = Field(examples=[1700000000])
    user: str | None
    token: str | None
    ip: str | None
    action: str = Field(examples=["config.upload"])
    target: str
    before: Any
    after: Any


class Session(Model):
    user: User
    csrf: str = Field(description="For the header X-CSRF-Token of every write.")


class Seed(Model):
    seed: str
    uri: str = Field(description="For a QR code.")


class Me(Model):
    tenant: str = Field(examples=["default"])
    user: User | None
    client_id: str | None
    roles: list[Grant]
    permissions: list[str]


class Provider(Model):
    issuer: str = Field(examples=["https://login.example"])
    client_id: str
    scopes: str
    allowed_groups: list[str]
    group_roles: Json
    default_role: str
    password_login: bool
    tenant_claim: str | None
    token_roles: list[str]
