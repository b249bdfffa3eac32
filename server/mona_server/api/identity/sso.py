"""Sign-in through an OpenID Connect provider, one per tenant; and access tokens that such a provider issued.

Authorization code with PKCE. What the provider says is believed when signature, issuer, audience, nonce and time fit; users
are made at their first sign-in, and their roles follow their groups. All requests go through
:mod:`mona_server.outbound`, so a provider's address cannot lead into a private network unless that is allowed.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import Engine, insert, select, update

from mona_server import outbound
from mona_server.api.identity import audit, users
from mona_server.api.identity.hashing import new_id
from mona_server.api.identity.roles import parse_grants
from mona_server.errors import BadRequest, Forbidden, NotAuthenticated, NotFound
from mona_server.sealing import Sealer
from mona_server.store.tables_identity import tenants
from mona_server.store.tables_identity import users as user_table

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
"""Signatures with public keys only: a shared secret would let every client forge."""
LOGIN_MS = 600_000
_KEYS_MS = 3_600_000
_AGAIN_MS = 60_000
_LEEWAY_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """How a tenant's people sign in elsewhere."""

    issuer: str
    client_id: str
    sealed_secret: str
    scopes: str = "openid email profile"
    email_claim: str = "email"
    name_claim: str = "name"
    groups_claim: str = "groups"
    allowed_groups: tuple[str, ...] = ()
    """Only members of one of them may enter; none: everybody whom the provider knows."""
    group_roles: Mapping[str, list[Any]] = field(default_factory=dict)
    """Group → roles; a member of none gets ``default_role``."""
    default_role: str = "Viewer"
    password_login: bool = True
    """False: passwords work for super admins only."""
    tenant_claim: str | None = None
    """Claim of the provider's access tokens that names the tenant; None: its access tokens are not accepted."""
    token_roles: tuple[str, ...] = ("Exporter",)
    """Roles of programs that come with such a token."""

    def to_json(self) -> dict[str, Any]:
        """As the API shows it: everything but the secret."""
        shown = asdict(self) | {"group_roles": dict(self.group_roles)}
        del shown["sealed_secret"]
        return shown


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider vouches for."""

    subject: str
    email: str
    name: str
    groups: tuple[str, ...]


def save(
    meta: Engine, sealer: Sealer, tenant: str, given: Mapping[str, Any], *, now_ms: int, actor: audit.Actor
) -> Provider:
    """Set a tenant's provider. Without ``client_secret`` the one that is stored stays. Raises :class:`BadRequest`."""
    old = load(meta, tenant)
    values = {key: value for key, value in given.items() if key != "client_secret"}
    secret = given.get("client_secret")
    if secret is None and (old is None or old.issuer != given.get("issuer")):
        raise BadRequest("client_secret: is required", hint="a stored secret is never sent to another issuer")
    sealed = sealer.seal(secret) if secret is not None else old.sealed_secret if old else ""
    provider = Provider(**values, sealed_secret=sealed)
    if urlsplit(provider.issuer).scheme not in ("https", "http"):
        raise BadRequest("issuer: must be an https address")
    for roles in (*provider.group_roles.values(), [provider.default_role], provider.token_roles):
        parse_grants(roles)
    with meta.begin() as db:
        db.execute(update(tenants).where(tenants.c.id == tenant).values(sso=asdict(provider)))
        before = None if old is None else old.to_json()
        audit.note(db, actor, "sso.change", tenant, now_ms=now_ms, before=before, after=provider.to_json())
    return provider


def remove(meta: Engine, tenant: str, *, now_ms: int, actor: audit.Actor) -> None:
    """No provider any more; its users stay and need a password."""
    with meta.begin() as db:
        db.execute(update(tenants).where(tenants.c.id == tenant).values(sso=None))
        audit.note(db, actor, "sso.remove", tenant, now_ms=now_ms)


def load(meta: Engine, tenant: str) -> Provider | None:
    """The tenant's provider."""
    with meta.connect() as db:
        stored = db.execute(select(tenants.c.sso).where(tenants.c.id == tenant)).scalar()
    return _provider(stored) if stored else None


class Federation:
    """Talks with providers; keeps their addresses and keys for an hour."""

    def __init__(self, meta: Engine, sealer: Sealer, *, allow_private: bool) -> None:
        self._meta = meta
        self._sealer = sealer
        self._allow_private = allow_private
        self._known: dict[str, tuple[int, dict[str, Any], KeySet]] = {}

    def begin(self, tenant: str, redirect_uri: str, *, now_ms: int) -> tuple[str, str]:
        """(address to send the browser to, sealed state for its cookie). Raises :class:`NotFound`."""
        provider = self._provider(tenant)
        metadata, _ = self._metadata(provider.issuer, now_ms=now_ms)
        state = {
            "tenant": tenant,
            "state": secrets.token_urlsafe(24),
            "nonce": secrets.token_urlsafe(24),
            "verifier": secrets.token_urlsafe(48),
            "ends_ms": now_ms + LOGIN_MS,
        }
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": provider.scopes,
            "state": state["state"],
            "nonce": state["nonce"],
            "code_challenge": create_s256_code_challenge(state["verifier"]),
            "code_challenge_method": "S256",
        }
        address = str(metadata["authorization_endpoint"])
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}", self._sealer.seal(json.dumps(state))

    def finish(
        self, sealed_state: str | None, answer: Mapping[str, str], redirect_uri: str, *, now_ms: int, ip: str | None
    ) -> users.User:
        """The user of a provider's answer, made when new. Raises :class:`NotAuthenticated`, ``Forbidden``."""
        state = self._state(sealed_state, answer, now_ms=now_ms)
        provider = self._provider(state["tenant"])
        metadata, keys = self._metadata(provider.issuer, now_ms=now_ms)
        form = {
            "grant_type": "authorization_code",
            "code": answer.get("code", ""),
            "redirect_uri": redirect_uri,
            "client_id": provider.client_id,
            "client_secret": self._sealer.open(provider.sealed_secret),
            "code_verifier": state["verifier"],
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        told = outbound.post(
            str(metadata["token_endpoint"]),
            urlencode(form).encode(),
            headers=headers,
            allow_private=self._allow_private,
        )
        id_token = _json(told).get("id_token") if told.status == 200 else None
        if not isinstance(id_token, str):
            raise NotAuthenticated("the sign-in provider did not accept the code")
        claims = self._verify(provider.issuer, id_token, keys, now_ms=now_ms)
        _check_audience(claims, provider.client_id)
        if claims.get("nonce") != state["nonce"]:
            raise NotAuthenticated("the answer of the sign-in provider belongs to another sign-in")
        return self._enter(state["tenant"], provider, _person(provider, claims), now_ms=now_ms, ip=ip)

    def program(self, access_token: str, *, now_ms: int) -> tuple[str, Provider] | None:
        """(tenant, provider) of an access token that a tenant's provider issued; None where none of them did.

        Raises :class:`NotAuthenticated` for one that names a known issuer and is not good.
        """
        issuer = _unverified(access_token).get("iss")
        with self._meta.connect() as db:
            rows = db.execute(select(tenants.c.id, tenants.c.sso).where(tenants.c.sso.is_not(None))).all()
        for row in rows:
            provider = _provider(row.sso) if row.sso else None
            if provider is None or provider.tenant_claim is None or provider.issuer != issuer:
                continue
            _, keys = self._metadata(provider.issuer, now_ms=now_ms)
            claims = self._verify(provider.issuer, access_token, keys, now_ms=now_ms)
            _check_audience(claims, provider.client_id)
            if claims.get(provider.tenant_claim) == row.id:
                return row.id, provider
        if any(row.sso and row.sso["issuer"] == issuer for row in rows):
            raise NotAuthenticated("the token of the sign-in provider names no tenant of this server")
        return None

    def _provider(self, tenant: str) -> Provider:
        provider = load(self._meta, tenant)
        if provider is None:
            raise NotFound("no sign-in provider is set up", hint="sign in with a password")
        return provider

    def _state(self, sealed: str | None, answer: Mapping[str, str], *, now_ms: int) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._sealer.open(sealed or ""))
        except Exception:  # noqa: BLE001 - whatever a browser sends as its cookie
            raise NotAuthenticated("the sign-in was not begun in this browser", hint="begin again") from None
        if not secrets.compare_digest(str(state["state"]), answer.get("state", "")) or state["ends_ms"] <= now_ms:
            raise NotAuthenticated("the sign-in has ended or belongs to another browser", hint="begin again")
        if "error" in answer:
            raise NotAuthenticated("the sign-in provider refused")
        return state

    def _metadata(self, issuer: str, *, now_ms: int, fresh: bool = False) -> tuple[dict[str, Any], KeySet]:
        known = self._known.get(issuer)
        if known is not None and now_ms - known[0] < (_AGAIN_MS if fresh else _KEYS_MS):
            return known[1], known[2]
        metadata = self._get(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if metadata.get("issuer") != issuer:
            raise NotAuthenticated("the sign-in provider names another issuer than the one that is set")
        keys = KeySet.import_key_set(self._get(str(metadata["jwks_uri"])))  # type: ignore[arg-type]
        self._known[issuer] = (now_ms, metadata, keys)
        return metadata, keys

    def _get(self, url: str) -> dict[str, Any]:
        answer = outbound.get(url, allow_private=self._allow_private)
        if answer.status != 200:
            raise NotAuthenticated("the sign-in provider does not answer as one")
        return _json(answer)

    def _verify(self, issuer: str, token: str, keys: KeySet, *, now_ms: int) -> dict[str, Any]:
        try:
            try:
                claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            except (JoseError, ValueError):
                # The provider may have a new key; looked up at most once a minute.
                _, keys = self._metadata(issuer, now_ms=now_ms, fresh=True)
                claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError):
            raise NotAuthenticated("the token of the sign-in provider is not valid") from None
        ends = claims.get("exp")
        if claims.get("iss") != issuer or not isinstance(ends, int | float) or ends + _LEEWAY_S <= now_ms / 1000:
            raise NotAuthenticated("the token of the sign-in provider has ended or is another one's")
        return claims

    def _enter(self, tenant: str, provider: Provider, person: Person, *, now_ms: int, ip: str | None) -> users.User:
        if provider.allowed_groups and not set(person.groups) & set(provider.allowed_groups):
            raise Forbidden("your groups may not use this server", hint="ask its Admin")
        named = [roles for group, roles in provider.group_roles.items() if group in person.groups]
        grants = [
            grant.to_json() for grant in parse_grants([r for roles in named for r in roles] or [provider.default_role])
        ]
        subject = f"{provider.issuer} {person.subject}"
        with self._meta.begin() as db:
            mine = (user_table.c.tenant == tenant) & (user_table.c.sso_subject == subject)
            row = db.execute(select(user_table).where(mine)).first()
            if row is None:
                taken = db.execute(select(user_table).where(user_table.c.email == person.email)).first()
                if taken is not None and (taken.tenant != tenant or taken.state != "invited" or taken.sso_subject):
                    # An address at a provider must not open an account that somebody else's password protects.
                    raise Forbidden("there is another account with this address", hint="ask the Admin to remove it")
                user_id = taken.id if taken is not None else new_id("user")
                values = {"name": person.name, "state": "active", "roles": grants, "sso_subject": subject}
                if taken is not None:
                    db.execute(update(user_table).where(user_table.c.id == user_id).values(**values))
                else:
                    made = {"id": user_id, "tenant": tenant, "email": person.email, "created_ms": now_ms}
                    db.execute(insert(user_table).values(**made, **values))
                actor = audit.Actor(tenant=tenant, user_id=user_id, ip=ip)
                audit.note(db, actor, "user.first_sso", user_id, now_ms=now_ms, after={"roles": grants})
            else:
                user_id = row.id
                if row.state != "active":
                    raise Forbidden("the account is disabled")
                if provider.group_roles:
                    db.execute(update(user_table).where(user_table.c.id == user_id).values(roles=grants))
        return users.signed_in(self._meta, user_id, now_ms=now_ms, ip=ip)


def _provider(stored: Mapping[str, Any]) -> Provider:
    provider = Provider(**stored)
    return replace(provider, allowed_groups=tuple(provider.allowed_groups), token_roles=tuple(provider.token_roles))


def _person(provider: Provider, claims: Mapping[str, Any]) -> Person:
    email, subject = claims.get(provider.email_claim), claims.get("sub")
    if not isinstance(email, str) or not isinstance(subject, str) or claims.get("email_verified") is False:
        raise NotAuthenticated("the sign-in provider names no verified address")
    groups = claims.get(provider.groups_claim) or []
    known = tuple(str(group) for group in groups) if isinstance(groups, list) else (str(groups),)
    return Person(subject, users.check_email(email), str(claims.get(provider.name_claim) or ""), known)


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    if client_id not in (audience if isinstance(audience, list) else [audience]):
        raise NotAuthenticated("the token of the sign-in provider is meant for another program")


def _unverified(token: str) -> dict[str, Any]:
    """Claims of a token before anything is known of it: only to find out whose keys to try."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _json(answer: outbound.Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotAuthenticated("the sign-in provider does not answer as one")
    return found
