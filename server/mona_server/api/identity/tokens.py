"""API tokens: client id and secret of a program, and the access tokens they are exchanged for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, delete, insert, or_, select, update

from mona_server.api.identity import audit, hashing, tenants
from mona_server.api.identity.roles import Grant, parse_grants
from mona_server.errors import NotAuthenticated, NotFound
from mona_server.store.tables_identity import api_tokens, refresh_tokens

REFRESH_MS = 30 * 86_400_000
GRACE_MS = 60_000
"""A refresh token that was used stays good so long: two processes may refresh at once."""
_NOBODY = hashing.digest(hashing.new_secret())


@dataclass(frozen=True, slots=True)
class NewToken:
    """The only sight of a secret."""

    id: str
    client_id: str
    secret: str
    tenant: str

    def __repr__(self) -> str:
        return f"NewToken(id={self.id!r}, client_id={self.client_id!r})"


@dataclass(frozen=True, slots=True)
class Token:
    """A usable API token, as a caller is made from it."""

    id: str
    tenant: str
    client_id: str
    grants: tuple[Grant, ...]


def create_token(
    meta: Engine,
    roles: Iterable[object] = ("Admin",),
    *,
    now_ms: int,
    tenant: str = tenants.DEFAULT,
    description: str = "",
    expires_ms: int | None = None,
    actor: audit.Actor | None = None,
) -> NewToken:
    """Make an API token; works with the server running or not.

    ``roles``: names or ``{"role", "arc_class"}``. A tenant that does not exist is made. Raises :class:`BadRequest`.
    """
    grants = parse_grants(roles)
    tenants.ensure(meta, tenant, now_ms=now_ms)
    new = NewToken(hashing.new_id("tok"), f"mona_{hashing.new_secret()[:22]}", hashing.new_secret(), tenant)
    with meta.begin() as db:
        db.execute(
            insert(api_tokens).values(
                id=new.id,
                tenant=tenant,
                client_id=new.client_id,
                secret_hash=hashing.digest(new.secret),
                description=description,
                roles=[grant.to_json() for grant in grants],
                created_by=actor.user_id if actor else None,
                created_ms=now_ms,
                expires_ms=expires_ms,
            )
        )
        after = {"client_id": new.client_id, "roles": [grant.to_json() for grant in grants]}
        audit.note(db, actor or audit.Actor(tenant=tenant), "token.create", new.id, now_ms=now_ms, after=after)
    return new


def check_secret(meta: Engine, client_id: str, secret: str, *, now_ms: int) -> Token:
    """The token of these credentials. Raises :class:`NotAuthenticated` with one text for every reason."""
    with meta.connect() as db:
        row = db.execute(select(api_tokens).where(api_tokens.c.client_id == client_id)).first()
    # An unknown id costs the same comparison, so that ids cannot be found by the time of the answer.
    if not hashing.same(secret, row.secret_hash if row else _NOBODY) or row is None or not _usable(row, now_ms):
        raise NotAuthenticated("Invalid credentials: no such client id and secret")
    return _token(row)


def find(meta: Engine, client_id: str, *, now_ms: int) -> Token | None:
    """The usable token of a client id, with its roles of now; None when it was revoked or ended."""
    with meta.connect() as db:
        row = db.execute(select(api_tokens).where(api_tokens.c.client_id == client_id)).first()
    return _token(row) if row is not None and _usable(row, now_ms) else None


def new_refresh_token(meta: Engine, token: Token, *, now_ms: int) -> str:
    """A refresh token for ``token``, good for 30 days; ended ones are removed on the way."""
    fresh = hashing.new_secret()
    with meta.begin() as db:
        ended = or_(refresh_tokens.c.expires_ms < now_ms, refresh_tokens.c.used_ms < now_ms - GRACE_MS)
        db.execute(delete(refresh_tokens).where(refresh_tokens.c.token_id == token.id, ended))
        db.execute(
            insert(refresh_tokens).values(
                hash=hashing.digest(fresh), token_id=token.id, expires_ms=now_ms + REFRESH_MS, used_ms=None
            )
        )
    return fresh


def use_refresh_token(meta: Engine, refresh_token: str, *, now_ms: int) -> Token:
    """The token to which a refresh token belongs; it is marked as used and ends 60 s later.

    Raises :class:`NotAuthenticated`.
    """
    mine = refresh_tokens.c.hash == hashing.digest(refresh_token)
    with meta.begin() as db:
        db.execute(update(refresh_tokens).where(mine, refresh_tokens.c.used_ms.is_(None)).values(used_ms=now_ms))
        row = db.execute(
            select(api_tokens, refresh_tokens.c.used_ms, refresh_tokens.c.expires_ms.label("ends_ms"))
            .join(api_tokens, api_tokens.c.id == refresh_tokens.c.token_id)
            .where(mine)
        ).first()
    if row is None or row.used_ms + GRACE_MS <= now_ms or row.ends_ms <= now_ms or not _usable(row, now_ms):
        raise NotAuthenticated("The refresh token is not valid any more")
    return _token(row)


def note_use(meta: Engine, token_id: str, *, now_ms: int, ip: str | None) -> None:
    """Remember the last use, and the first one of each day in the audit log."""
    with meta.begin() as db:
        row = db.execute(
            select(api_tokens.c.tenant, api_tokens.c.last_used_ms).where(api_tokens.c.id == token_id)
        ).first()
        if row is None:
            return
        db.execute(update(api_tokens).where(api_tokens.c.id == token_id).values(last_used_ms=now_ms))
        if row.last_used_ms is None or row.last_used_ms // 86_400_000 != now_ms // 86_400_000:
            actor = audit.Actor(tenant=row.tenant, token_id=token_id, ip=ip)
            audit.note(db, actor, "token.use", token_id, now_ms=now_ms)


def listed(meta: Engine, tenant: str) -> list[dict[str, Any]]:
    """All tokens of a tenant that were not revoked, newest first, without secrets."""
    query = select(api_tokens).where(api_tokens.c.tenant == tenant, api_tokens.c.revoked_ms.is_(None))
    with meta.connect() as db:
        return [to_json(row) for row in db.execute(query.order_by(api_tokens.c.created_ms.desc()))]


def revoke(meta: Engine, tenant: str, token_id: str, *, now_ms: int, actor: audit.Actor) -> None:
    """End a token: it issues nothing from now on; access tokens end within a minute. Raises :class:`NotFound`."""
    mine = (api_tokens.c.tenant == tenant) & (api_tokens.c.id == token_id) & api_tokens.c.revoked_ms.is_(None)
    with meta.begin() as db:
        if not db.execute(update(api_tokens).where(mine).values(revoked_ms=now_ms)).rowcount:
            raise NotFound(f"no such token: {token_id}")
        db.execute(delete(refresh_tokens).where(refresh_tokens.c.token_id == token_id))
        audit.note(db, actor, "token.revoke", token_id, now_ms=now_ms)


def to_json(row: Any) -> dict[str, Any]:
    """A row as the API shows it."""
    return {
        "id": row.id,
        "client_id": row.client_id,
        "description": row.description,
        "roles": row.roles,
        "created": row.created_ms / 1000,
        "expires": None if row.expires_ms is None else row.expires_ms / 1000,
        "last_used": None if row.last_used_ms is None else row.last_used_ms / 1000,
    }


def _token(row: Any) -> Token:
    return Token(row.id, row.tenant, row.client_id, tuple(Grant(r["role"], r["arc_class"]) for r in row.roles))


def _usable(row: Any, now_ms: int) -> bool:
    return row.revoked_ms is None and (row.expires_ms is None or row.expires_ms > now_ms)
