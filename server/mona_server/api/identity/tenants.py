"""Tenants: customer accounts, each with its own data, users, tokens and limits."""

from __future__ import annotations

import contextlib
import re

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from mona_server.errors import BadRequest, Conflict
from mona_server.store.tables_identity import tenants

DEFAULT = "default"
_ID = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,127}")


def check_id(tenant: str) -> str:
    """``tenant``, when it can be one: it becomes part of file names. Raises :class:`BadRequest`."""
    if not _ID.fullmatch(tenant) or tenant.endswith("."):
        raise BadRequest("the user id has characters that are not allowed", hint="letters, digits and _ . @ -")
    return tenant


def ensure(meta: Engine, tenant: str, *, now_ms: int) -> str:
    """``tenant``, made when it does not exist yet."""
    check_id(tenant)
    with meta.connect() as db:
        if db.execute(select(tenants.c.id).where(tenants.c.id == tenant)).first():
            return tenant
    with contextlib.suppress(Conflict):  # another process was faster
        create(meta, tenant, now_ms=now_ms)
    return tenant


def create(meta: Engine, tenant: str, *, now_ms: int, name: str = "") -> None:
    """A new tenant. Raises :class:`Conflict` when there is one of this id."""
    check_id(tenant)
    try:
        with meta.begin() as db:
            db.execute(insert(tenants).values(id=tenant, name=name or tenant, created_ms=now_ms))
    except IntegrityError:
        raise Conflict(f"there is a tenant {tenant} already") from None


def listed(meta: Engine) -> list[dict[str, object]]:
    """All tenants, oldest first."""
    with meta.connect() as db:
        rows = db.execute(select(tenants.c.id, tenants.c.name, tenants.c.created_ms).order_by(tenants.c.created_ms))
        return [{"id": row.id, "name": row.name, "created": row.created_ms / 1000} for row in rows]
