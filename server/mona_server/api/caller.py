"""The caller of a request: found once from its token or session, then asked for its rights."""

from __future__ import annotations

import email.utils
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from mona_server.api.identity import audit, hashing, tenants, tokens
from mona_server.api.identity.jwt import Signer
from mona_server.api.identity.roles import ANYBODY, Grant, Permission, classes, parse_grants, permissions
from mona_server.api.identity.sso import Federation
from mona_server.errors import Forbidden, NotAuthenticated
from mona_server.settings import Auth

_FRESH_MS = 30_000
"""How long a verified token is trusted without another look at the database; a revoked one ends within a minute."""
_MAX_CACHED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, for which tenant, with which rights."""

    tenant: str
    grants: tuple[Grant, ...]
    user_id: str | None = None
    token_id: str | None = None
    client_id: str | None = None
    ip: str | None = None

    def classes(self, permission: Permission) -> frozenset[str] | None:
        """The context classes in which the right holds; None = everywhere, empty = nowhere."""
        return classes(self.grants, permission)

    def may(self, permission: Permission, context_class: str | None = None) -> bool:
        """Without a class: is the right held anywhere?"""
        held = self.classes(permission)
        return held is None or (bool(held) if context_class is None else context_class in held)

    def require(self, permission: Permission, context_class: str | None = None) -> None:
        """Raises :class:`Forbidden` that names the missing permission."""
        if not self.may(permission, context_class):
            where = f" for the context class {context_class}" if context_class is not None else ""
            raise Forbidden(f"missing permission {permission}{where}")

    @property
    def actor(self) -> audit.Actor:
        """This caller, as the audit log names it."""
        return audit.Actor(tenant=self.tenant, user_id=self.user_id, token_id=self.token_id, ip=self.ip)

    @property
    def author(self) -> str:
        """A name for what the caller makes: its user, else its api key."""
        return self.user_id or self.client_id or "anonymous"


class Access:
    """Turns tokens into callers, and issues tokens."""

    def __init__(self, meta: Engine, signer: Signer, settings: Auth, federation: Federation) -> None:
        self._federation = federation
        self._meta = meta
        self._signer = signer
        self._settings = settings
        self._known: OrderedDict[str, tuple[int, Caller]] = OrderedDict()

    def known(self, authorization: str, *, now_ms: int) -> Caller | None:
        """The caller of a header that was good within the last 30 s: no database, no signature."""
        known = self._known.get(authorization)
        return known[1] if known is not None and known[0] > now_ms else None

    def bearer(self, authorization: str, *, now_ms: int, ip: str | None) -> Caller:
        """The caller of an ``Authorization`` header. Raises :class:`NotAuthenticated`."""
        scheme, _, access = authorization.partition(" ")
        access = access.strip()
        if scheme.lower() != "bearer" or not access:
            raise NotAuthenticated("Authorization must be: Bearer <token>")
        if not self._signer.issued(access):
            program = self._federation.program(access, now_ms=now_ms)
            if program is not None:
                grants = parse_grants(program[1].token_roles)
                return Caller(tenant=program[0], grants=grants, client_id=program[1].issuer, ip=ip)
        claims = self._signer.verify(access, now_ms=now_ms)
        token = tokens.find(self._meta, str(claims.get("sub")), now_ms=now_ms)
        # An access token says which tenant it was made for; one that does not fit its key is no token of ours.
        if token is None or claims.get("tenantId") != token.tenant or claims.get("type") != "access":
            raise NotAuthenticated("The token has been revoked")
        caller = Caller(tenant=token.tenant, grants=token.grants, token_id=token.id, client_id=token.client_id, ip=ip)
        tokens.note_use(self._meta, token.id, now_ms=now_ms, ip=ip)
        self._known[authorization] = (min(now_ms + _FRESH_MS, int(claims["exp"] * 1000)), caller)
        if len(self._known) > _MAX_CACHED:
            self._known.popitem(last=False)
        return caller

    def nobody(self, named: object, *, now_ms: int, ip: str | None) -> Caller:
        """The caller without a token, for the tenant that the body names. Raises :class:`NotAuthenticated`
        unless ``auth.allow_no_auth`` is on."""
        if not self._settings.allow_no_auth:
            raise NotAuthenticated("A token is needed")
        tenant = named if isinstance(named, str) and named else tenants.DEFAULT
        tenants.ensure(self._meta, tenant, now_ms=now_ms)
        return Caller(tenant=tenant, grants=(Grant(ANYBODY.name),), ip=ip)

    def issue(self, token: tokens.Token, *, now_ms: int) -> Mapping[str, Any]:
        """A new pair of access and refresh token, in the shape that clients of every generation read."""
        life_s = int(self._settings.token_hours * 3600)
        expires_s = now_ms // 1000 + life_s
        access = self._signer.issue(
            {
                "sub": token.client_id,
                "tenantId": token.tenant,
                "roles": sorted({grant.role for grant in token.grants}),
                "permissions": permissions(token.grants),
                "iat": now_ms // 1000,
                "exp": expires_s,
                "jti": hashing.new_secret()[:22],
                "type": "access",
            }
        )
        return {
            "expires": email.utils.formatdate(expires_s, usegmt=True),
            "expiresIn": life_s,
            "accessToken": access,
            "refreshToken": tokens.new_refresh_token(self._meta, token, now_ms=now_ms),
        }


def check_tenant(caller: Caller, named: object) -> None:
    """A body that names a tenant must name the caller's. Raises :class:`Forbidden`."""
    if named is not None and named != "" and named != caller.tenant:
        raise Forbidden("the user id in the body is not the one of the token")
