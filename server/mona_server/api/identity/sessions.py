"""Sessions of people at the pages: a random cookie, a CSRF token, 12 hours since the last request."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace

from sqlalchemy import Engine, delete, insert, select, update

from mona_server.api.caller import Caller
from mona_server.api.identity import users
from mona_server.api.identity.hashing import digest, new_secret
from mona_server.errors import Forbidden
from mona_server.store.tables_identity import sessions
from mona_server.store.tables_identity import users as user_table

LIFE_MS = 12 * 3_600_000
_TOUCH_MS = 60_000


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in user."""

    user: users.User
    csrf: str

    def csrf_is(self, sent: str) -> bool:
        """Constant-time comparison with the token of this session."""
        return hmac.compare_digest(self.csrf.encode(), sent.encode())


def start(meta: Engine, user: users.User, *, now_ms: int, ip: str | None) -> tuple[str, Session]:
    """(cookie text, session)."""
    cookie, csrf = new_secret(), new_secret()
    with meta.begin() as db:
        db.execute(
            insert(sessions).values(
                hash=digest(cookie), user_id=user.id, csrf=csrf, created_ms=now_ms, seen_ms=now_ms, ip=ip
            )
        )
    return cookie, Session(user, csrf)


def find(meta: Engine, cookie: str, *, now_ms: int) -> Session | None:
    """The session of a cookie, which lives on for 12 hours from now; None when it ended or the user is disabled."""
    mine = sessions.c.hash == digest(cookie)
    query = select(sessions.c.csrf, sessions.c.seen_ms, user_table).join(user_table).where(mine)
    with meta.connect() as db:
        row = db.execute(query).first()
    if row is None or row.seen_ms <= now_ms - LIFE_MS or row.state != "active":
        return None
    if row.seen_ms < now_ms - _TOUCH_MS:  # a page of many parts writes once a minute
        with meta.begin() as db:
            db.execute(update(sessions).where(mine).values(seen_ms=now_ms))
    return Session(users.from_row(row), row.csrf)


def end(meta: Engine, cookie: str) -> None:
    """Sign out."""
    with meta.begin() as db:
        db.execute(delete(sessions).where(sessions.c.hash == digest(cookie)))


def forget_ended(meta: Engine, *, now_ms: int) -> int:
    """Remove sessions that ended; how many."""
    with meta.begin() as db:
        return db.execute(delete(sessions).where(sessions.c.seen_ms < now_ms - LIFE_MS)).rowcount


def caller(session: Session, *, ip: str | None, tenant: str | None = None) -> Caller:
    """The caller of a session. ``tenant`` other than its own: only a super admin may. Raises :class:`Forbidden`."""
    user = session.user
    made = Caller(tenant=user.tenant, grants=user.grants, user_id=user.id, ip=ip)
    if tenant is None or tenant == user.tenant:
        return made
    if not user.super_admin:
        raise Forbidden("only a super admin may choose another tenant")
    return replace(made, tenant=tenant)
