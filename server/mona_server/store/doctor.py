"""``mona doctor``: how a data directory is doing, and what to do where it is not well. Reads only, in milliseconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select

from mona_server.settings import Settings
from mona_server.store import disk, slow
from mona_server.store.store import Store
from mona_server.store.tables_care import sender_clocks
from mona_server.store.tables_jobs import jobs

DAY_MS = 86_400_000
CLOCKS_MS = 10 * 60_000
"""What senders said of their clocks counts for so long."""
VERY_SLOW_S = 10.0
"""A page that takes so long is left."""
SKEW_S = 60.0
"""From here on the times of messages and the days of results are visibly wrong."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that was looked at."""

    id: str
    """Stable name, such as ``lag_s``."""
    title: str
    value: float
    unit: str
    """bytes, rows, files, s, keys, jobs."""
    status: str = "ok"
    """ok, warning or bad."""
    advice: str = ""
    """What to do, where the status is not ok."""


def examine(store: Store, settings: Settings, now_ms: int, *, tenant: str | None = None) -> list[Reading]:
    """All readings, those that need attention first. ``tenant``: what names classes is of this one only; None = all."""
    readings = [
        *_bytes(store, settings),
        *_queues(store, settings, now_ms),
        *_files(store),
        *_jobs(store, now_ms),
        *_slow(store, now_ms, tenant),
        *_clocks(store, now_ms, tenant),
    ]
    return by_need(readings)


def by_need(readings: list[Reading]) -> list[Reading]:
    """Those that need attention first, else in their order."""
    order = {"bad": 0, "warning": 1, "ok": 2}
    return sorted(readings, key=lambda reading: order[reading.status])


def _bytes(store: Store, settings: Settings) -> Iterator[Reading]:
    data = store.data_dir
    for id_, title, paths in (
        ("bytes_inbox", "inbox and idempotency keys", [data / "inbox.db", data / "inbox.db-wal"]),
        ("bytes_documents", "documents and pending rows", [data / "state.db", data / "state.db-wal"]),
        ("bytes_meta", "users, configurations, insights", [data / "meta.db", data / "meta.db-wal"]),
        ("bytes_facts", "facts", [data / "lake" / "facts"]),
        ("bytes_messages", "messages", [data / "lake" / "messages"]),
    ):
        yield Reading(id_, title, sum(map(disk.bytes_of, paths)), "bytes")
    used = disk.bytes_of(data)
    budget = disk.budget_bytes(settings.storage.disk_budget, data)
    status = "bad" if used > budget else "warning" if used > 0.9 * budget else "ok"
    advice = "give the volume more space, set retention_days, or raise storage.disk_budget; the oldest data goes first"
    yield Reading(
        "bytes_used", f"all of it, of {budget} allowed", used, "bytes", status, advice if status != "ok" else ""
    )
    usage = shutil.disk_usage(data)
    status = "bad" if usage.free < usage.total * 0.03 else "warning" if usage.free < usage.total * 0.1 else "ok"
    advice = "free space on the volume: below 2 % nothing more is accepted" if status != "ok" else ""
    yield Reading("bytes_free", "free on the volume", usage.free, "bytes", status, advice)


def _queues(store: Store, settings: Settings, now_ms: int) -> Iterator[Reading]:
    backlog = store.inbox.backlog()
    share = backlog.bytes / settings.limits.max_inbox_bytes
    status = "bad" if share > 0.8 else "warning" if share > 0.3 else "ok"
    advice = "send slower, or give the fold process a faster disk or core; at 100 % senders get 429"
    yield Reading(
        "bytes_waiting", "accepted, not folded", backlog.bytes, "bytes", status, advice if status != "ok" else ""
    )
    lag_s = 0.0 if backlog.oldest_arrival_ms is None else max(0.0, (now_ms - backlog.oldest_arrival_ms) / 1000)
    status = "bad" if lag_s > 300 else "warning" if lag_s > 5 else "ok"
    advice = "the fold is behind or not running: see the log of the fold process" if status != "ok" else ""
    yield Reading("lag_s", "oldest data that queries do not see yet", lag_s, "s", status, advice)
    connection = store.state.connection
    rows, oldest_ms = connection.execute(
        "SELECT rows, (SELECT at_ms FROM revisions WHERE revisions.revision >= oldest ORDER BY revision LIMIT 1)"
        " FROM (SELECT coalesce(sum(rows), 0) AS rows, min(revision) AS oldest FROM pending)"
    ).fetchone()
    age_s = 0.0 if not rows or oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1000)
    late = age_s > 10 * settings.ingest.flush_interval_s or rows > 10 * settings.ingest.flush_rows
    advice = "the lake process is behind or not running: see its log" if late else ""
    yield Reading("rows_pending", "rows not in a file yet", rows, "rows", "bad" if late else "ok", advice)
    erasures = connection.execute("SELECT count(*) FROM erasures").fetchone()[0]
    yield Reading("erasures", "deletes that the files do not show yet", erasures, "rows")
    keys, early = store.inbox.keys()
    status = "warning" if early else "ok"
    advice = "old keys went early: raise limits.max_idempotency_keys, or send larger batches" if early else ""
    yield Reading("keys", "idempotency keys", keys, "keys", status, advice)


def _files(store: Store) -> Iterator[Reading]:
    for kind in ("facts", "messages"):
        files, most = store.state.connection.execute(
            "SELECT coalesce(sum(files), 0), coalesce(max(files), 0) FROM"
            " (SELECT count(*) AS files FROM files WHERE kind = ? AND removed_ms IS NULL GROUP BY class_id)",
            (kind,),
        ).fetchone()
        advice = "compaction is behind: see the log of the lake process" if most > 20_000 else ""
        yield Reading(f"files_{kind}", f"files of {kind}", files, "files", "warning" if advice else "ok", advice)
    waiting = store.state.connection.execute(
        "SELECT coalesce(sum(bytes), 0) FROM files WHERE removed_ms IS NOT NULL"
    ).fetchone()[0]
    yield Reading("bytes_replaced", "files that were replaced and go soon", waiting, "bytes")


def _jobs(store: Store, now_ms: int) -> Iterator[Reading]:
    with store.meta.connect() as connection:
        counted = select(jobs.c.state, func.count()).where(jobs.c.updated_ms > now_ms - DAY_MS).group_by(jobs.c.state)
        counts: dict[str, int] = {row[0]: row[1] for row in connection.execute(counted)}
    failed = counts.get("failed", 0)
    advice = "see the errors under Admin, or GET /api/v1/jobs" if failed else ""
    yield Reading(
        "jobs_failed", "jobs that failed in the last day", failed, "jobs", "warning" if failed else "ok", advice
    )
    yield Reading("jobs_open", "jobs that wait or run", counts.get("queued", 0) + counts.get("running", 0), "jobs")


def _slow(store: Store, now_ms: int, tenant: str | None) -> Iterator[Reading]:
    advice = "ask for a shorter range or fewer series, or give queries more: engine.memory, engine.threads"
    for place, query in enumerate(slow.slowest(store.meta, since_ms=now_ms - DAY_MS, tenant=tenant), start=1):
        very = query.seconds >= VERY_SLOW_S
        at = datetime.fromtimestamp(query.at_ms / 1000, UTC).isoformat(" ", "minutes").removesuffix("+00:00")
        whose = f"{query.context_class} of {query.tenant}" if tenant is None else query.context_class
        title = f"slow query {at}: {query.kind}, {whose}, {query.rows:,} rows"
        yield Reading(
            f"slow_query_{place}", title, round(query.seconds, 1), "s", *(("warning", advice) if very else ("ok", ""))
        )


def _clocks(store: Store, now_ms: int, tenant: str | None) -> Iterator[Reading]:
    c = sender_clocks.c
    recent = select(c.tenant, c.skew_s).where(c.at_ms > now_ms - CLOCKS_MS).order_by(c.tenant)
    if tenant is not None:
        recent = recent.where(c.tenant == tenant)
    with store.meta.connect() as connection:
        found = connection.execute(recent).all()
    if not found:
        return
    whose, skew_s = max(found, key=lambda row: abs(row[1]))
    off = abs(skew_s) > SKEW_S
    way = "ahead of" if skew_s > 0 else "behind"
    advice = f"the senders' clocks are {way} this server's: set both by NTP, or send exportTimestamp" if off else ""
    title = "clocks of the senders" + (f" of {whose}" if tenant is None else "") + ", ahead of this one"
    yield Reading("clock_skew_s", title, skew_s, "s", "warning" if off else "ok", advice)
