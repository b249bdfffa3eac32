"""The audit log: who did what, when and from where. Append-only; kept for a year."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select

from mona_server.store.tables_identity import audit

KEPT_MS = 366 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts. All None: the command line or the server itself."""

    tenant: str
    user_id: str | None = None
    token_id: str | None = None
    ip: str | None = None


def note(
    db: Connection,
    actor: Actor,
    action: str,
    target: str = "",
    *,
    now_ms: int,
    before: Any = None,
    after: Any = None,
) -> None:
    """Write one entry in the caller's transaction, so that a change and its entry are both there or not at all.

    ``before`` and ``after`` are JSON values without secrets and without message values.
    """
    db.execute(
        insert(audit).values(
            tenant=actor.tenant,
            at_ms=now_ms,
            user_id=actor.user_id,
            token_id=actor.token_id,
            ip=actor.ip,
            action=action,
            target=target,
            before=before,
            after=after,
        )
    )


def record(meta: Engine, actor: Actor, action: str, target: str = "", *, now_ms: int, **change: Any) -> None:
    """:func:`note` in a transaction of its own."""
    with meta.begin() as db:
        note(db, actor, action, target, now_ms=now_ms, **change)


def page(
    meta: Engine, tenant: str, *, limit: int, before_id: int | None = None, action: str | None = None
) -> list[dict[str, Any]]:
    """Entries of one tenant, newest first; ``before_id`` continues a page."""
    query = select(audit).where(audit.c.tenant == tenant).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    if action is not None:
        query = query.where(audit.c.action == action)
    with meta.connect() as db:
        return [
            {
                "id": row.id,
                "time": row.at_ms / 1000,
                "user": row.user_id,
                "token": row.token_id,
                "ip": row.ip,
                "action": row.action,
                "target": row.target,
                "before": row.before,
                "after": row.after,
            }
            for row in db.execute(query)
        ]


def forget_old(meta: Engine, *, now_ms: int) -> int:
    """Remove entries older than a year; how many."""
    with meta.begin() as db:
        return db.execute(delete(audit).where(audit.c.at_ms < now_ms - KEPT_MS)).rowcount
