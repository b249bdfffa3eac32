"""Retention per class and the disk budget: the oldest data goes first, as jobs that can be seen, in the log, counted."""

from __future__ import annotations

import structlog

from mona_server.settings import Settings
from mona_server.store import disk, jobs
from mona_server.store.rows import DAY_MS
from mona_server.store.store import Store

log = structlog.get_logger(__name__)

AUTHOR = "retention"


def enforce(store: Store, settings: Settings, now_ms: int) -> list[str]:
    """Queue what must be deleted now; returns the ids of the jobs. Waits while earlier ones are not done."""
    queued = []
    for tenant in store.tenants():
        if any(job.author == AUTHOR and job.state in ("queued", "running") for job in jobs.recent(store.meta, tenant)):
            continue
        days_by_class = _retention_days(store, tenant)
        for info in store.classes(tenant):
            days = days_by_class.get(info.name, settings.storage.retention_days)
            if days is None or info.first_day is None:
                continue
            before = now_ms // DAY_MS - days
            if info.first_day < before:
                queued.append(_queue(store, tenant, info.name, before, f"older than {days} days", now_ms))
    if not queued:
        queued = _enforce_budget(store, settings, now_ms)
    return queued


def _retention_days(store: Store, tenant: str) -> dict[str, int]:
    from mona_server.config import revisions

    revision = revisions.active(store.meta, tenant)
    if revision is None:
        return {}
    return {name: c.retention_days for name, c in revision.classes.items() if c.retention_days is not None}


def _enforce_budget(store: Store, settings: Settings, now_ms: int) -> list[str]:
    used, budget = disk.bytes_of(store.data_dir), disk.budget_bytes(settings.storage.disk_budget, store.data_dir)
    if used <= budget:
        return []
    days = store.state.connection.execute(
        "SELECT day, sum(contexts) FROM days WHERE contexts > 0 GROUP BY day ORDER BY day"
    ).fetchall()
    if len(days) < 2:
        return []  # the last day stays: better refuse new data than throw all of it away
    total = sum(contexts for _, contexts in days)
    # A tenth more than the excess, so that it is not the same again in a minute.
    excess = total * min(0.5, 1.1 * (used - budget) / used)
    first_kept = days[-1][0]
    seen = 0
    for day, contexts in days[:-1]:
        if seen >= excess:
            first_kept = day
            break
        seen += contexts
    queued = []
    for tenant in store.tenants():
        for info in store.classes(tenant):
            if info.first_day is not None and info.first_day < first_kept:
                reason = f"disk budget: {used} of {budget} bytes used"
                queued.append(_queue(store, tenant, info.name, first_kept, reason, now_ms))
    return queued


def _queue(store: Store, tenant: str, context_class: str, before_day: int, reason: str, now_ms: int) -> str:
    log.warning("deleting old data", tenant=tenant, context_class=context_class, before_day=before_day, reason=reason)
    parameters = {"context_class": context_class, "from_ms": None, "to_ms": before_day * DAY_MS, "reason": reason}
    return jobs.create(store.meta, tenant, "delete_range", parameters, now_ms, author=AUTHOR)
