"""After a run: queue the notices of what happened in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from mona_server import notify
from mona_server.config.model import ContextClass
from mona_server.insights import repository
from mona_server.insights.evidence import series, verse_of
from mona_server.insights.lifecycle import Event
from mona_server.notify import InsightEvent, Series
from mona_server.store.store import Store
from mona_server.store.tables_insights import runs


def finish_saved(store: Store, tenant: str, context_class: ContextClass, now: datetime, *, public_url: str = "") -> int:
    """Queue the notices of runs that were saved by a process that died before it could; returns how many runs."""
    c = runs.c
    with store.meta.connect() as connection:
        wanted = select(c.id).where(c.tenant == tenant, c.context_class == context_class.name, c.state == "saved")
        left = list(connection.execute(wanted.order_by(c.started_ms)).scalars())
    for run_id in left:
        tell(store, tenant, context_class, run_id, now, public_url=public_url)
    return len(left)


def tell(
    store: Store, tenant: str, context_class: ContextClass, run_id: str, now: datetime, *, public_url: str = ""
) -> None:
    """Queue the notices of a saved run; doing it again adds nothing."""
    with store.meta.connect() as connection:
        row = connection.execute(select(runs).where(runs.c.id == run_id)).one()
        events = [Event(kind, key) for kind, key in row.events or ()]
        rows = repository.by_ids(connection, tenant, [event.insight_id for event in events])
    notices = [_notice(event, rows[event.insight_id], public_url, now) for event in events if event.insight_id in rows]
    notify.enqueue(store, tenant, context_class, [notice for notice in notices if notice is not None], now)
    with store.meta.begin() as connection:
        connection.execute(update(runs).where(runs.c.id == run_id).values(state="done", events=None))


def _notice(event: Event, row: Any, public_url: str, now: datetime) -> InsightEvent | None:
    """What is told of an event; nothing while the insight is snoozed or archived."""
    if row.archived or (row.snoozed_until_s is not None and row.snoozed_until_s > now.timestamp()):
        return None
    insight = repository.to_json(row, public_url=public_url)
    chart = None
    if row.evidence:
        points = series(verse_of(row.body["main_signal"]["verse"], row.stanza), row.evidence)
        first = row.evidence["target"][0]
        if row.body["main_signal"]["verse"]["type"].endswith("SuddenChange"):
            first = len(points) - 1
        values, base = (tuple(point[name] for point in points) for name in ("value", "baseline_value"))
        chart = Series(values, base, first)
    return InsightEvent(event.kind, insight, chart)
