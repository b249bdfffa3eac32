"""Runs as they are kept in ``meta.db``: who does one, how it ended, what it looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from mona_server.detect.verses.base import Verse
from mona_server.errors import MonaError, NotFound
from mona_server.insights import repository
from mona_server.store.store import Store
from mona_server.store.tables_insights import runs

Json = dict[str, Any]
LEASE_MS = 3_600_000
"""A run that has been running for longer was left by a process that died."""


def claim(
    store: Store, tenant: str, verse: Verse, end: datetime, reason: str, config_id: str | None, now_ms: int
) -> str | None:
    """The id of the run, which is this process's now; None where a scheduled run is done or somebody else's."""
    key = {
        "tenant": tenant,
        "context_class": verse.context_class,
        "stanza": verse.stanza,
        "verse_name": verse.name,
        "timestamp_s": int(end.timestamp()),
    }
    fresh = {
        "reason": reason,
        "state": "running",
        "started_ms": now_ms,
        "config_id": config_id,
        "verse_text": verse.text,
        "error": None,
    }
    run_id = repository.new_id("run")
    try:
        with store.meta.begin() as connection:
            connection.execute(insert(runs).values(id=run_id, **key, **fresh))
        return run_id
    except IntegrityError:
        pass
    where = [runs.c[name] == value for name, value in key.items()]
    stale = runs.c.started_ms < now_ms - LEASE_MS
    free = (runs.c.state != "running") | stale
    if reason == "schedule":
        free = (runs.c.state == "failed") | ((runs.c.state == "running") & stale)
    with store.meta.begin() as connection:
        again = 1 if reason == "late_data" else 0
        taken = connection.execute(update(runs).where(*where, free).values(repeats=runs.c.repeats + again, **fresh))
        if not taken.rowcount:
            return None
        return str(connection.execute(select(runs.c.id).where(*where)).scalar_one())


def id_at(store: Store, tenant: str, verse: Verse, end: datetime) -> str:
    """The id of the run of a verse at T."""
    wanted = select(runs.c.id).where(*repository.runs_of(tenant, verse), runs.c.timestamp_s == int(end.timestamp()))
    with store.meta.connect() as connection:
        return str(connection.execute(wanted).scalar_one())


def fail(store: Store, run_id: str, error: Exception, seconds: float) -> None:
    """Keep why a run failed."""
    # Texts of other errors may hold values of messages.
    reason = str(error) if isinstance(error, MonaError) else type(error).__name__
    with store.meta.begin() as connection:
        connection.execute(
            update(runs).where(runs.c.id == run_id).values(state="failed", seconds=seconds, error=reason[:2000])
        )


def get_run(store: Store, tenant: str, run_id: str) -> Json:
    """The run object of the specification. Raises NotFound."""
    with store.meta.connect() as connection:
        row = connection.execute(select(runs).where(runs.c.id == run_id, runs.c.tenant == tenant)).first()
    if row is None:
        raise NotFound(f"there is no run {run_id}")
    return run_json(row)


def list_runs(
    store: Store,
    tenant: str,
    *,
    context_class: str | None = None,
    verse_name: str | None = None,
    limit: int = 50,
    after: tuple[float, str] | None = None,
) -> list[Json]:
    """The newest runs first; ``after`` the one that began at this time (Unix ms) and has this id."""
    c = runs.c
    wanted = select(runs).where(c.tenant == tenant).order_by(c.started_ms.desc(), c.id).limit(limit)
    if after is not None:
        began, last = after
        wanted = wanted.where(or_(c.started_ms < began, and_(c.started_ms == began, c.id > last)))
    if context_class is not None:
        wanted = wanted.where(c.context_class == context_class)
    if verse_name is not None:
        wanted = wanted.where(c.verse_name == verse_name)
    with store.meta.connect() as connection:
        return [run_json(row) for row in connection.execute(wanted)]


def run_json(row: Any) -> Json:
    """A row of the table as the object of the specification."""
    report = row.report or {}
    return {
        "id": row.id,
        "arc_class": row.context_class,
        "stanza_name": row.stanza,
        "verse_name": row.verse_name,
        "timestamp": row.timestamp_s,
        "started": row.started_ms / 1000,
        "seconds": row.seconds,
        "state": "running" if row.state == "saved" else row.state,
        "reason": row.reason,
        "candidates": report.get("candidates", 0),
        "pruned": report.get("pruned", 0),
        "tests": report.get("tests", 0),
        "passed_level": report.get("passed_level", 0),
        "passed_chance": report.get("passed_chance", 0),
        "insights": row.insight_ids or [],
        "expected_false": report.get("expected_false"),
        "max_depth_used": report.get("max_depth_used", 0),
        "notes": report.get("notes", []),
        "error": row.error,
    }
