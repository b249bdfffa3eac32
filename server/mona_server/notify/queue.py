"""The delivery queue, two tables of ``meta.db``: what was decided to be told, to whom, when, and how it went.

A state event becomes one *item* per destination, whatever number of entries or runs name it (a unique key says so).
Items of one run for one destination share a *delivery*; digests, quiet hours and days with too many messages are deliveries
that are due later and gather items until then.
"""

from __future__ import annotations

import hmac
import random
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mona_server.notify.entries import Entry, matches
from mona_server.notify.notice import Destination, InsightEvent, Json, Notice, Series
from mona_server.notify.timing import next_midnight
from mona_server.sealing import Sealer
from mona_server.store.tables_notify import deliveries, delivery_items

RETRY_AFTER_S = (60, 300, 1800, 7200, 21600)
"""Pause before each further attempt; after the last one the delivery has failed."""
CLAIM_S = 300
"""A sender that dies holds a delivery no longer than this; the next attempt carries the same id."""
KEPT = timedelta(days=90)
RECREATED = "configuration"
"""With the id of a revision, the entry of mails that no notification entry asked for."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this process sends now."""

    id: str
    destination: Destination
    attempts: int
    notice: Notice


def put(
    engine: Engine,
    sealer: Sealer,
    tenant: str,
    context_class: str,
    entries: tuple[Entry, ...],
    events: Iterable[InsightEvent],
    now: datetime,
) -> int:
    """Queue what the entries want of these events; returns how many new deliveries were begun.

    All in one transaction: a crash before it queues nothing, and repeating the call afterwards adds nothing.
    """
    begun: dict[tuple[str, int, str, bool], str] = {}
    made = 0
    with engine.begin() as connection:
        for event in events:
            urgent = event.insight["urgency"] == "high"
            kind = "resolved" if event.kind == "resolved" else "insights"
            for entry, destination in sorted(
                matches(entries, event), key=lambda match: match[0].due(now, urgent=urgent)
            ):
                if _known(connection, tenant, destination.key, event.identity):
                    continue
                due = _due(connection, tenant, entry, destination, now, urgent=urgent)
                digest = due > now
                group = (destination.key, _ms(due), kind, urgent)
                delivery_id = begun.get(group) or (
                    _gathering(connection, tenant, context_class, group) if digest else None
                )
                if delivery_id is None:
                    delivery_id = _begin(
                        connection, sealer, destination, due,
                        tenant=tenant, context_class=context_class, entry=entry.name, kind=kind,
                        urgent=urgent, digest=digest, now=now,
                    )  # fmt: skip
                    made += 1
                begun[group] = delivery_id
                _add(connection, tenant, destination.key, event, delivery_id)
    return made


def put_test(engine: Engine, sealer: Sealer, tenant: str, context_class: str, entry: Entry, now: datetime) -> list[str]:
    """Queue a test message to each destination of an entry; returns the delivery ids."""
    with engine.begin() as connection:
        return [
            _begin(
                connection, sealer, destination, now,
                tenant=tenant, context_class=context_class, entry=entry.name, kind="test",
                urgent=False, digest=False, now=now,
            )
            for destination in entry.destinations
        ]  # fmt: skip


def put_recreated(
    engine: Engine,
    sealer: Sealer,
    tenant: str,
    context_class: str,
    config_id: str,
    mails: Sequence[tuple[Destination, Sequence[Json]]],
    now: datetime,
) -> int:
    """Queue one mail per destination about insights made anew after a change; returns how many deliveries were begun.

    The same change again adds nothing.
    """
    made = 0
    with engine.begin() as connection:
        for destination, insights in mails:
            entry = f"{RECREATED} {config_id}"
            row = deliveries.c
            before = select(row.id).where(
                row.tenant == tenant,
                row.context_class == context_class,
                row.destination == destination.key,
                row.entry == entry,
            )
            if connection.execute(before).first() is not None:
                continue
            delivery_id = _begin(
                connection, sealer, destination, now,
                tenant=tenant, context_class=context_class, entry=entry, kind="recreated",
                urgent=False, digest=False, now=now,
            )  # fmt: skip
            for insight in insights:
                _add(connection, tenant, destination.key, _Anew(config_id, insight), delivery_id)
            made += 1
    return made


@dataclass(frozen=True, slots=True)
class _Anew:
    """An insight as a change of the configuration left it."""

    config_id: str
    insight: Json
    series: None = None

    @property
    def identity(self) -> str:
        return f"{self.insight['insight_id']}:recreated:{self.config_id}"


def _known(connection: Connection, tenant: str, destination: str, event: str) -> bool:
    item = delivery_items.c
    found = select(item.position).where(item.tenant == tenant, item.destination == destination, item.event == event)
    return connection.execute(found).first() is not None


def _due(
    connection: Connection, tenant: str, entry: Entry, destination: Destination, now: datetime, *, urgent: bool
) -> datetime:
    due = entry.due(now, urgent=urgent)
    if entry.max_per_day is None:
        return due
    day = datetime.combine(due.astimezone(UTC).date(), time(0), UTC)
    row = deliveries.c
    spent = select(func.count()).where(
        row.tenant == tenant,
        row.destination == destination.key,
        row.kind.in_(("insights", "resolved")),
        row.created_ms >= _ms(day),
        row.created_ms < _ms(day + timedelta(days=1)),
    )
    return next_midnight(due) if connection.execute(spent).scalar_one() >= entry.max_per_day else due


def _gathering(
    connection: Connection, tenant: str, context_class: str, group: tuple[str, int, str, bool]
) -> str | None:
    """The digest that is already waiting for this moment."""
    destination, due_ms, kind, urgent = group
    row = deliveries.c
    waiting = select(row.id).where(
        row.tenant == tenant,
        row.context_class == context_class,
        row.destination == destination,
        row.due_ms == due_ms,
        row.kind == kind,
        row.urgent == int(urgent),
        row.state == "queued",
        row.attempts == 0,
        row.digest == 1,
    )
    return connection.execute(waiting).scalar()


def _begin(
    connection: Connection, sealer: Sealer, destination: Destination, due: datetime, *, now: datetime, **columns: Any
) -> str:
    delivery_id = str(uuid.uuid4())
    connection.execute(
        deliveries.insert().values(
            id=delivery_id,
            channel=destination.channel,
            destination=destination.key,
            shown=destination.shown,
            sealed=sealer.seal(destination.to_text()),
            state="queued",
            due_ms=_ms(due),
            attempts=0,
            created_ms=_ms(now),
            **{name: int(value) if isinstance(value, bool) else value for name, value in columns.items()},
        )
    )
    return delivery_id


def _add(connection: Connection, tenant: str, destination: str, event: InsightEvent | _Anew, delivery_id: str) -> None:
    # Two processes that enqueue the same run meet at the unique key; the second adds nothing.
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    series = event.series
    connection.execute(
        insert(delivery_items)
        .values(
            tenant=tenant,
            destination=destination,
            event=event.identity,
            delivery_id=delivery_id,
            insight=event.insight,
            series=None if series is None else [list(series.values), list(series.baseline), series.target_from],
        )
        .on_conflict_do_nothing()
    )


def anything_due(engine: Engine, now: datetime) -> bool:
    """Is there something to send? A read of one index entry, for a loop that asks every few seconds."""
    row = deliveries.c
    wanted = select(row.id).where(row.state.in_(("queued", "sending")), row.due_ms <= _ms(now)).limit(1)
    with engine.connect() as connection:
        return connection.execute(wanted).first() is not None


def claim(engine: Engine, sealer: Sealer, now: datetime, *, base_url: str, limit: int = 200) -> list[Claimed]:
    """Take what is due. A conditional update claims each row, so two senders never hold the same one."""
    row = deliveries.c
    claimed = []
    with engine.begin() as connection:
        due = (
            select(deliveries)
            .where(row.state.in_(("queued", "sending")), row.due_ms <= _ms(now))
            .order_by(row.due_ms, row.created_ms)
            .limit(limit)
        )
        for found in connection.execute(due).all():
            taken = connection.execute(
                update(deliveries)
                .where(row.id == found.id, row.state == found.state, row.due_ms == found.due_ms)
                .values(state="sending", due_ms=_ms(now + timedelta(seconds=CLAIM_S)))
            )
            if taken.rowcount == 1:
                claimed.append(_claimed(connection, sealer, found, base_url))
    return claimed


def _claimed(connection: Connection, sealer: Sealer, found: Row[Any], base_url: str) -> Claimed:
    item = delivery_items.c
    order = select(item.insight, item.series).where(item.delivery_id == found.id).order_by(item.position)
    rows = connection.execute(order).all()
    notice = Notice(
        delivery_id=found.id,
        kind=found.kind,
        context_class=found.context_class,
        urgent=bool(found.urgent),
        digest=bool(found.digest),
        insights=tuple(sorted((insight for insight, _ in rows), key=lambda one: -one["score"])),
        series={
            insight["insight_id"]: Series(tuple(series[0]), tuple(series[1]), series[2])
            for insight, series in rows
            if series
        },
        charts={
            insight["insight_id"]: chart_address(sealer, base_url, found.id, insight["insight_id"])
            for insight, series in rows
            if series and base_url
        },
        base_url=base_url,
    )
    return Claimed(found.id, Destination.from_text(sealer.open(found.sealed)), found.attempts, notice)


def chart_address(sealer: Sealer, base_url: str, delivery_id: str, insight_id: str) -> str:
    """Where a chat finds the picture of an insight in a message."""
    place = f"{delivery_id}/{insight_id}"
    return f"{base_url}/charts/{place}.png?key={sealer.sign(place)}"


def kept_series(engine: Engine, sealer: Sealer, delivery_id: str, insight_id: str, key: str) -> Series | None:
    """The chart of an insight in a message, for whoever has its address; None without the right key."""
    if not hmac.compare_digest(sealer.sign(f"{delivery_id}/{insight_id}").encode(), key.encode()):
        return None
    item = delivery_items.c
    with engine.connect() as connection:
        rows = connection.execute(select(item.insight, item.series).where(item.delivery_id == delivery_id)).all()
    found = next((series for insight, series in rows if insight["insight_id"] == insight_id and series), None)
    return None if found is None else Series(tuple(found[0]), tuple(found[1]), found[2])


def give_back(engine: Engine, claimed: Sequence[Claimed], now: datetime, *, pause_s: float = 60) -> None:
    """Nothing was tried with these; they are due again after ``pause_s``."""
    _finish(engine, [one.id for one in claimed], {"state": "queued", "due_ms": _ms(now + timedelta(seconds=pause_s))})


def sent(engine: Engine, one: Claimed, now: datetime, status: int | None) -> None:
    values = {"state": "sent", "done_ms": _ms(now), "attempts": one.attempts + 1, "last_status": status}
    _finish(engine, [one.id], values | {"last_error": None})


def failed(
    engine: Engine,
    one: Claimed,
    now: datetime,
    error: str,
    *,
    status: int | None,
    retry_after_s: float | None,
    final: bool,
) -> bool:
    """Note a failed attempt; returns whether another one follows.

    The pause grows as :data:`RETRY_AFTER_S` says, with up to a tenth of jitter, and is never shorter than what the receiver asks for.
    """
    attempts = one.attempts + 1
    values: dict[str, Any] = {"attempts": attempts, "last_status": status, "last_error": error[:500]}
    again = not final and attempts <= len(RETRY_AFTER_S)
    if again:
        pause_s = RETRY_AFTER_S[attempts - 1] * random.uniform(1, 1.1)
        pause_s = max(pause_s, min(retry_after_s or 0, 86_400))
        values |= {"state": "queued", "due_ms": _ms(now + timedelta(seconds=pause_s))}
    else:
        values |= {"state": "failed", "done_ms": _ms(now)}
    _finish(engine, [one.id], values)
    return again


def _finish(engine: Engine, ids: list[str], values: Mapping[str, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(
            update(deliveries).where(deliveries.c.id.in_(ids), deliveries.c.state == "sending").values(**values)
        )


def retry(engine: Engine, tenant: str, delivery_id: str, now: datetime) -> bool:
    """Try a failed delivery again from the beginning; False when there is none of that id."""
    row = deliveries.c
    with engine.begin() as connection:
        done = connection.execute(
            update(deliveries)
            .where(row.tenant == tenant, row.id == delivery_id, row.state == "failed")
            .values(state="queued", attempts=0, due_ms=_ms(now), done_ms=None)
        )
    return done.rowcount == 1


def recent(engine: Engine, tenant: str, context_class: str, *, limit: int = 100) -> list[dict[str, Any]]:
    """The delivery log of a class, newest first. It shows no address in full."""
    row = deliveries.c
    columns = [column for column in row if column.name != "sealed"]
    newest = (
        select(*columns)
        .where(row.tenant == tenant, row.context_class == context_class)
        .order_by(row.created_ms.desc())
        .limit(limit)
    )
    with engine.connect() as connection:
        return [dict(found._mapping) for found in connection.execute(newest)]


def sweep(engine: Engine, now: datetime) -> int:
    """Forget deliveries that ended 90 days ago; returns how many."""
    row = deliveries.c
    old = or_(row.done_ms < _ms(now - KEPT), row.created_ms < _ms(now - 2 * KEPT))
    ended = select(row.id).where(row.state.in_(("sent", "failed")), old)
    with engine.begin() as connection:
        connection.execute(delete(delivery_items).where(delivery_items.c.delivery_id.in_(ended)))
        return connection.execute(delete(deliveries).where(row.state.in_(("sent", "failed")), old)).rowcount


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
