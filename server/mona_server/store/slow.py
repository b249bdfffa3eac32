"""The slowest queries of the last days: who asked what kind of question of which class, never values."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, delete, select

from mona_server.store.tables_care import slow_queries

SLOW_S = 1.0
"""Queries from here on are noted."""
KEPT = 50
"""Per tenant, the slowest."""
KEPT_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """One question that took long."""

    tenant: str
    at_ms: int
    context_class: str
    kind: str
    """Such as ``get_segment``."""
    rows: int
    """Fact rows of the class at that time."""
    seconds: float


def note(meta: Engine, query: SlowQuery) -> None:
    """Keep it if it is one of the slowest of its tenant; old ones go."""
    c = slow_queries.c
    mine = select(c.id).where(c.tenant == query.tenant).order_by(c.seconds.desc()).limit(KEPT)
    with meta.begin() as connection:
        connection.execute(delete(slow_queries).where(c.at_ms < query.at_ms - KEPT_MS))
        connection.execute(
            slow_queries.insert().values({name: getattr(query, name) for name in SlowQuery.__dataclass_fields__})
        )
        kept = connection.execute(mine).scalars().all()
        connection.execute(delete(slow_queries).where(c.tenant == query.tenant, c.id.not_in(kept)))


def slowest(meta: Engine, *, since_ms: int, tenant: str | None = None, limit: int = 5) -> list[SlowQuery]:
    """The slowest since a time, of one tenant or of all, slowest first."""
    c = slow_queries.c
    query = select(slow_queries).where(c.at_ms >= since_ms).order_by(c.seconds.desc(), c.id).limit(limit)
    if tenant is not None:
        query = query.where(c.tenant == tenant)
    with meta.connect() as connection:
        return [
            SlowQuery(**{name: getattr(row, name) for name in SlowQuery.__dataclass_fields__})
            for row in connection.execute(query)
        ]
