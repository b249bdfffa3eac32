"""What has to be done now: runs whose T has come, questions of people, configurations to follow. Cheap to ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from mona_server.config import frozen, revisions
from mona_server.config.model import ContextClass
from mona_server.config.revisions import Revision
from mona_server.detect.parameters import period_ms
from mona_server.detect.verses.base import Verse
from mona_server.detect.windows import window_end
from mona_server.insights import recreate, repository
from mona_server.insights.recreate import RUN_JOB
from mona_server.store.store import Store
from mona_server.store.tables_config import config_revisions
from mona_server.store.tables_jobs import jobs

MOST_MISSED = 7
"""So many missed runs of one verse are caught up, the newest first."""


@dataclass(frozen=True, slots=True)
class Due:
    """Runs of one verse whose time has come: T newest first."""

    tenant: str
    revision: Revision
    context_class: ContextClass
    verse: Verse
    ends: tuple[datetime, ...]


def tenants(store: Store) -> list[str]:
    """Tenants that have a configuration."""
    with store.meta.connect() as connection:
        c = config_revisions.c.tenant
        return list(connection.execute(select(c).distinct().order_by(c)).scalars())


def unfollowed(store: Store) -> list[str]:
    """Tenants whose newest configuration has not been followed yet."""
    found = []
    for tenant in tenants(store):
        with store.meta.connect() as connection:
            known = recreate.followed(connection, tenant)
        if revisions.active_id(store.meta, tenant) != known:
            found.append(tenant)
    return found


def waiting_jobs(store: Store, now_ms: int) -> bool:
    """Has somebody asked for runs?"""
    c = jobs.c
    free = (c.state == "queued") | ((c.state == "running") & (c.lease_until_ms < now_ms))
    with store.meta.connect() as connection:
        return connection.execute(select(c.id).where(c.kind == RUN_JOB, free).limit(1)).first() is not None


def due(store: Store, now: datetime) -> list[Due]:
    """Verses that have to run, those for new segments first, because others ask what is new."""
    found = []
    for tenant in tenants(store):
        revision = revisions.active(store.meta, tenant)
        if revision is None:
            continue
        with_data = {one.name for one in store.classes(tenant) if one.contexts}
        for name, context_class in frozen.classes(store.meta, revision).items():
            if name not in with_data:
                continue
            for verse in context_class.verses:
                ends = missing_ends(store, tenant, verse, now)
                if ends:
                    found.append(Due(tenant, revision, context_class, verse, ends))
    return sorted(found, key=lambda one: (one.verse.type.family != "New", one.tenant))


def missing_ends(store: Store, tenant: str, verse: Verse, now: datetime) -> tuple[datetime, ...]:
    """T whose evaluation delay is over and that were not run yet, newest first, at most seven; at first only the newest."""
    ready = now - timedelta(milliseconds=period_ms(verse["evaluation_delay"]))
    with store.meta.connect() as connection:
        last = repository.last_run(connection, tenant, verse)
    end = window_end(verse["cadence"], ready)
    if last is None:
        return (end,)
    ends: list[datetime] = []
    while end.timestamp() > last.timestamp_s and len(ends) < MOST_MISSED:
        ends.append(end)
        end = window_end(verse["cadence"], datetime.fromtimestamp(end.timestamp() - 0.001, UTC))
    return tuple(ends)


def anything(store: Store, now: datetime) -> bool:
    """Is there work for the detect process?"""
    return waiting_jobs(store, int(now.timestamp() * 1000)) or bool(unfollowed(store)) or bool(due(store, now))
