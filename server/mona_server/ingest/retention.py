"""Retention per class and the disk budget: the oldest data goes first, as jobs that can be seen, in the log, counted."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import structlog

from mona_server.errors import BadRequest
from mona_server.settings import Settings
from mona_server.store import jobs
from mona_server.store.rows import DAY_MS
from mona_server.store.store import Store

log = structlog.get_logger(__name__)

AUTHOR = "retention"
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


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
    used, budget = disk_use(store.data_dir), budget_bytes(settings.storage.disk_budget, store.data_dir)
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


def disk_use(data_dir: Path) -> int:
    """Bytes that the data directory takes on its volume."""
    total = 0
    for folder, _, files in os.walk(data_dir):
        for file in files:
            try:
                total += (Path(folder) / file).stat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def budget_bytes(text: str, data_dir: Path) -> int:
    """``80%`` of the volume, or bytes such as ``50GB``. Raises BadRequest.

    >>> budget_bytes("1.5GB", Path("."))
    1500000000
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%|[KMGT]?i?B|)\s*", text, re.IGNORECASE)
    if match is None:
        raise BadRequest(f"storage.disk_budget: {text!r} is no size", hint="for example 80% or 50GB")
    number, unit = float(match[1]), match[2].upper()
    if unit == "%":
        return round(shutil.disk_usage(data_dir).total * number / 100)
    return round(number * _UNITS[unit])
