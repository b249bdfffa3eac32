"""Users: invited by mail or link, activated with a password, signed in with an optional second factor."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from mona_server.api.identity import audit, passwords, tenants
from mona_server.api.identity.hashing import digest, new_id, new_secret
from mona_server.api.identity.roles import Grant, parse_grants
from mona_server.errors import BadRequest, Conflict, NotAuthenticated, NotFound, Overloaded
from mona_server.sealing import Sealer
from mona_server.store.tables_identity import links, sessions, users
from mona_server.store.tables_identity import tenants as tenant_table

LINK_MS = {"activate": 72 * 3_600_000, "reset": 3_600_000, "login": 600_000}
"""How long a one-time link is good, by purpose."""
MAX_FAILURES = 10
LOCK_MS = 15 * 60_000
_STEP_S = 30


class CodeNeeded(NotAuthenticated):
    """The password is right; the code of the second factor is missing."""


@dataclass(frozen=True, slots=True)
class User:
    """One person of one tenant."""

    id: str
    tenant: str
    email: str
    name: str
    state: str
    grants: tuple[Grant, ...]
    has_second_factor: bool
    super_admin: bool
    last_login_ms: int | None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "email": self.email,
            "name": self.name,
            "state": self.state,
            "roles": [grant.to_json() for grant in self.grants],
            "second_factor": self.has_second_factor,
            "last_login": None if self.last_login_ms is None else self.last_login_ms / 1000,
        }


def from_row(row: Any) -> User:
    """A user from a row of the table."""
    return User(
        id=row.id,
        tenant=row.tenant,
        email=row.email,
        name=row.name,
        state=row.state,
        grants=tuple(Grant(role["role"], role["arc_class"]) for role in row.roles),
        has_second_factor=row.totp_sealed is not None,
        super_admin=bool(row.super_admin),
        last_login_ms=row.last_login_ms,
    )


def invite(
    meta: Engine,
    email: str,
    roles: Iterable[object],
    *,
    now_ms: int,
    tenant: str = tenants.DEFAULT,
    name: str = "",
    super_admin: bool = False,
    actor: audit.Actor | None = None,
) -> tuple[User, str]:
    """A new user and the secret of the link that sets the first password (good for 72 h).

    Raises :class:`BadRequest` and :class:`Conflict` (the address is taken).
    """
    email = check_email(email)
    grants = [grant.to_json() for grant in parse_grants(roles)]
    tenants.ensure(meta, tenant, now_ms=now_ms)
    user_id = new_id("user")
    try:
        with meta.begin() as db:
            db.execute(
                insert(users).values(
                    id=user_id,
                    tenant=tenant,
                    email=email,
                    name=name,
                    state="invited",
                    roles=grants,
                    super_admin=int(super_admin),
                    created_ms=now_ms,
                )
            )
            after = {"email": email, "roles": grants}
            audit.note(db, actor or audit.Actor(tenant=tenant), "user.invite", user_id, now_ms=now_ms, after=after)
            return from_row(_row(db, tenant, user_id)), _new_link(db, user_id, "activate", now_ms=now_ms)
    except IntegrityError:
        raise Conflict(f"there is a user with the address {email} already") from None


def first_admin_link(meta: Engine, *, now_ms: int, email: str = "admin@localhost") -> str | None:
    """While nobody has a password: the secret of the one-time link of the first Admin, who is made if missing."""
    with meta.connect() as db:
        people = db.execute(select(users).order_by(users.c.created_ms)).all()
    if any(row.state != "invited" for row in people):
        return None
    if not people:
        return invite(meta, email, ["Admin"], now_ms=now_ms, super_admin=True)[1]
    return new_link(meta, people[0].tenant, people[0].id, "activate", now_ms=now_ms)


def new_link(meta: Engine, tenant: str, user_id: str, purpose: str, *, now_ms: int) -> str:
    """The secret of a fresh one-time link (``activate``, ``reset``, ``login``). Raises :class:`NotFound`."""
    with meta.begin() as db:
        _row(db, tenant, user_id)
        return _new_link(db, user_id, purpose, now_ms=now_ms)


def use_link(meta: Engine, secret: str, purposes: Iterable[str], *, now_ms: int) -> User:
    """The user of a one-time link; the link is gone afterwards. Raises :class:`NotAuthenticated`."""
    mine = (links.c.hash == digest(secret)) & links.c.purpose.in_(tuple(purposes))
    with meta.begin() as db:
        row = db.execute(select(links).where(mine)).first()
        db.execute(delete(links).where(mine | (links.c.expires_ms < now_ms)))
        user = db.execute(select(users).where(users.c.id == row.user_id)).first() if row else None
    if row is None or user is None or row.expires_ms <= now_ms or user.state == "disabled":
        raise NotAuthenticated("the link was used before or has ended", hint="ask for a new one")
    return from_row(user)


def set_password(meta: Engine, secret: str, password: str, *, now_ms: int, name: str | None = None) -> User:
    """Activate a user, or give a new password, by the link that was sent.

    The password is checked first, so that a refused one does not use the link up. All sessions end.
    """
    passwords.check_new(password)
    hashed = passwords.hash_password(password)
    user = use_link(meta, secret, ("activate", "reset"), now_ms=now_ms)
    with meta.begin() as db:
        values: dict[str, Any] = {"password_hash": hashed, "state": "active", "failures": 0, "locked_until_ms": None}
        if name:
            values["name"] = name
        db.execute(update(users).where(users.c.id == user.id).values(**values))
        db.execute(delete(sessions).where(sessions.c.user_id == user.id))
        actor = audit.Actor(tenant=user.tenant, user_id=user.id)
        audit.note(db, actor, "user.set_password", user.id, now_ms=now_ms)
        return from_row(_row(db, user.tenant, user.id))


def sign_in(
    meta: Engine,
    sealer: Sealer,
    email: str,
    password: str,
    code: str | None = None,
    *,
    now_ms: int,
    ip: str | None = None,
) -> User:
    """The user of an address, password and (where set) second factor.

    Ten failures in a row lock the account for 15 minutes. Raises :class:`NotAuthenticated` with one text for
    an unknown address and a wrong password, :class:`CodeNeeded`, and :class:`Overloaded` while locked.
    """
    with meta.connect() as db:
        row = db.execute(select(users).where(users.c.email == email.strip().lower())).first()
    if row is not None and row.locked_until_ms is not None and row.locked_until_ms > now_ms:
        wait_s = -(-(row.locked_until_ms - now_ms) // 1000)
        raise Overloaded("the account is locked after too many failures", retry_after_s=wait_s)
    good = passwords.matches(password, row.password_hash if row else None)
    if row is None or not good or row.state != "active":
        _failed(meta, row, now_ms=now_ms, ip=ip)
        raise NotAuthenticated("the address or the password is wrong")
    if not row.super_admin and not _passwords_allowed(meta, row.tenant):
        raise NotAuthenticated("sign in through the sign-in provider of your organisation")
    step: int | None = None
    if row.totp_sealed is not None:
        if not code:
            raise CodeNeeded("the code of the second factor is needed")
        step = _totp_step(sealer.open(row.totp_sealed), code, now_ms=now_ms, after=row.totp_last_step)
        if step is None:
            _failed(meta, row, now_ms=now_ms, ip=ip)
            raise NotAuthenticated("the code is wrong")
    return signed_in(meta, row.id, now_ms=now_ms, ip=ip, totp_step=step)


def signed_in(meta: Engine, user_id: str, *, now_ms: int, ip: str | None, totp_step: int | None = None) -> User:
    """Note a good sign-in."""
    with meta.begin() as db:
        values: dict[str, Any] = {"failures": 0, "locked_until_ms": None, "last_login_ms": now_ms}
        if totp_step is not None:
            values["totp_last_step"] = totp_step
        db.execute(update(users).where(users.c.id == user_id).values(**values))
        row = db.execute(select(users).where(users.c.id == user_id)).one()
        actor = audit.Actor(tenant=row.tenant, user_id=user_id, ip=ip)
        audit.note(db, actor, "user.sign_in", user_id, now_ms=now_ms)
        return from_row(row)


def new_second_factor(email: str) -> tuple[str, str]:
    """A fresh TOTP seed (hexadecimal) and the address that an authenticator app reads as a QR code."""
    seed = os.urandom(20)
    uri = TOTP(seed, 6, SHA1(), _STEP_S, enforce_key_length=False).get_provisioning_uri(email, "Mona")  # noqa: S303
    return seed.hex(), uri


def set_second_factor(
    meta: Engine, sealer: Sealer, user: User, seed: str | None, code: str, *, now_ms: int, actor: audit.Actor
) -> None:
    """Switch the second factor on (``seed``, proven by a code of it) or off (None, proven by a code of the old one)."""
    with meta.begin() as db:
        row = _row(db, user.tenant, user.id)
        proof = seed if seed is not None else sealer.open(row.totp_sealed) if row.totp_sealed else None
        step = _totp_step(proof, code, now_ms=now_ms, after=None) if proof else None
        if step is None:
            raise BadRequest("the code is wrong", hint="is the clock of the phone right?")
        sealed = sealer.seal(seed) if seed is not None else None
        db.execute(update(users).where(users.c.id == user.id).values(totp_sealed=sealed, totp_last_step=step))
        action = "user.second_factor_on" if seed is not None else "user.second_factor_off"
        audit.note(db, actor, action, user.id, now_ms=now_ms)


def change(
    meta: Engine,
    tenant: str,
    user_id: str,
    *,
    now_ms: int,
    actor: audit.Actor,
    roles: Iterable[object] | None = None,
    state: str | None = None,
    name: str | None = None,
) -> User:
    """Change roles, name or state (``active``, ``disabled``). The last active Admin cannot be lost."""
    values: dict[str, Any] = {}
    if roles is not None:
        values["roles"] = [grant.to_json() for grant in parse_grants(roles)]
    if name is not None:
        values["name"] = name
    if state is not None:
        if state not in {"active", "disabled"}:
            raise BadRequest("the state must be active or disabled")
        values["state"] = state
    with meta.begin() as db:
        old = _row(db, tenant, user_id)
        if state == "active" and old.password_hash is None and old.sso_subject is None:
            raise Conflict("the user has not set a password yet", hint="send the invitation again")
        if values:
            db.execute(update(users).where(users.c.id == user_id).values(**values))
        if state == "disabled":
            db.execute(delete(sessions).where(sessions.c.user_id == user_id))
        _keep_an_admin(db, old)
        new = from_row(_row(db, tenant, user_id))
        audit.note(
            db, actor, "user.change", user_id, now_ms=now_ms, before=from_row(old).to_json(), after=new.to_json()
        )
        return new


def remove(meta: Engine, tenant: str, user_id: str, *, now_ms: int, actor: audit.Actor) -> None:
    """Remove a user with its sessions and links. The last active Admin stays."""
    with meta.begin() as db:
        old = _row(db, tenant, user_id)
        db.execute(delete(users).where(users.c.id == user_id))
        _keep_an_admin(db, old)
        audit.note(db, actor, "user.remove", user_id, now_ms=now_ms, before=from_row(old).to_json())


def get(meta: Engine, tenant: str, user_id: str) -> User:
    """Raises :class:`NotFound`."""
    with meta.connect() as db:
        return from_row(_row(db, tenant, user_id))


def find(meta: Engine, user_id: str) -> User | None:
    """A user of any tenant."""
    with meta.connect() as db:
        row = db.execute(select(users).where(users.c.id == user_id)).first()
        return from_row(row) if row is not None else None


def by_email(meta: Engine, email: str) -> User | None:
    with meta.connect() as db:
        row = db.execute(select(users).where(users.c.email == email.strip().lower())).first()
        return from_row(row) if row is not None else None


def listed(meta: Engine, tenant: str) -> list[User]:
    """All users of a tenant by address."""
    with meta.connect() as db:
        return [
            from_row(row) for row in db.execute(select(users).where(users.c.tenant == tenant).order_by(users.c.email))
        ]


def _row(db: Connection, tenant: str, user_id: str) -> Any:
    row = db.execute(select(users).where(users.c.id == user_id, users.c.tenant == tenant)).first()
    if row is None:
        raise NotFound(f"no such user: {user_id}")
    return row


def _new_link(db: Connection, user_id: str, purpose: str, *, now_ms: int) -> str:
    secret = new_secret()
    db.execute(delete(links).where(links.c.user_id == user_id, links.c.purpose == purpose))
    db.execute(
        insert(links).values(
            hash=digest(secret), user_id=user_id, purpose=purpose, expires_ms=now_ms + LINK_MS[purpose]
        )
    )
    return secret


def _failed(meta: Engine, row: Any, *, now_ms: int, ip: str | None) -> None:
    if row is None:
        return
    with meta.begin() as db:
        db.execute(update(users).where(users.c.id == row.id).values(failures=users.c.failures + 1))
        failures = db.execute(select(users.c.failures).where(users.c.id == row.id)).scalar_one()
        actor = audit.Actor(tenant=row.tenant, user_id=row.id, ip=ip)
        audit.note(db, actor, "user.sign_in_failed", row.id, now_ms=now_ms)
        if failures >= MAX_FAILURES:
            locked = {"failures": 0, "locked_until_ms": now_ms + LOCK_MS}
            db.execute(update(users).where(users.c.id == row.id).values(**locked))
            audit.note(db, actor, "user.locked", row.id, now_ms=now_ms)


def _totp_step(seed: str, code: str, *, now_ms: int, after: int | None) -> int | None:
    """The 30-second step to which a code belongs, of the last, this and the next one; None = wrong or used before."""
    machine = TOTP(bytes.fromhex(seed), 6, SHA1(), _STEP_S, enforce_key_length=False)  # noqa: S303 - RFC 6238
    for drift in (-1, 0, 1):
        time_s = now_ms // 1000 + drift * _STEP_S
        try:
            machine.verify(code.strip().encode(), time_s)
        except (InvalidToken, ValueError):
            continue
        step = time_s // _STEP_S
        return step if after is None or step > after else None
    return None


def _passwords_allowed(meta: Engine, tenant: str) -> bool:
    with meta.connect() as db:
        provider = db.execute(select(tenant_table.c.sso).where(tenant_table.c.id == tenant)).scalar()
    return not provider or bool(provider.get("password_login", True))


def _keep_an_admin(db: Connection, old: Any) -> None:
    """Called after a change to the user ``old``: if that was an active Admin, there must be another one."""
    if old.state != "active" or not _is_admin(old):
        return
    rows = db.execute(select(users.c.roles).where(users.c.tenant == old.tenant, users.c.state == "active")).all()
    if not any(_is_admin(row) for row in rows):
        raise Conflict("the last active Admin must stay", hint="make another Admin first")


def _is_admin(row: Any) -> bool:
    return any(role["role"] == "Admin" for role in row.roles)


def check_email(email: str) -> str:
    """The address in lower case. Raises :class:`BadRequest`."""
    email = email.strip().lower()
    local, at, domain = email.rpartition("@")
    if not at or not local or not domain or len(email) > 254 or any(c.isspace() or c in '<>",' for c in email):
        raise BadRequest("the e-mail address is not valid")
    return email
