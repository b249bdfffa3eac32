"""Telling people: which insights, to whom, when, in which form.

    events = [InsightEvent("new", insight), ...]          what a run changed
    enqueue(store, tenant, context_class, events, now)    decide, and keep the decision on disk
    deliver_due(store, settings, now)                     send what is due

Deciding is one transaction of ``meta.db``; sending happens later, by any process, at least once and under one id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy import Engine

from mona_server.config.model import ContextClass
from mona_server.notify import delivery, picture, queue
from mona_server.notify.channels.channel import read_address
from mona_server.notify.entries import Entry, Problem, check, read
from mona_server.notify.notice import Destination, InsightEvent, Json, Series
from mona_server.sealing import Sealer
from mona_server.settings import Settings

__all__ = [
    "Entry",
    "InsightEvent",
    "Problem",
    "Series",
    "chart_picture",
    "check",
    "deliver_due",
    "enqueue",
    "read",
    "send_test",
    "tell_recreated",
]

log = structlog.get_logger()


class Storage(Protocol):
    """What this room needs of :class:`mona_server.store.Store`."""

    @property
    def meta(self) -> Engine: ...

    @property
    def data_dir(self) -> Path: ...


def enqueue(
    store: Storage,
    tenant: str,
    context_class: ContextClass,
    events: Iterable[InsightEvent],
    now: datetime,
) -> int:
    """Queue what the class's ``notifications`` want of the events of one run; returns how many deliveries were begun.

    Calling it again with the same events adds nothing. ``now`` is aware.
    """
    entries = read(context_class.notifications)
    for problem in check(context_class.notifications):
        if problem.severity == "error":
            log.warning("notification_unusable", context_class=context_class.name, path=problem.path)
    if not entries:
        return 0
    return queue.put(store.meta, Sealer(store.data_dir), tenant, context_class.name, entries, events, now)


def send_test(store: Storage, tenant: str, context_class: ContextClass, name: str, now: datetime) -> list[str]:
    """Queue a test message to each destination of the named entry; returns the delivery ids (empty: no usable entry)."""
    entry = next((entry for entry in read(context_class.notifications) if entry.name == name), None)
    if entry is None:
        return []
    return queue.put_test(store.meta, Sealer(store.data_dir), tenant, context_class.name, entry, now)


def tell_recreated(
    store: Storage,
    tenant: str,
    context_class: str,
    config_id: str,
    mails: Mapping[str, Sequence[Json]],
    now: datetime,
) -> int:
    """Mail people what became of insights after a change of the configuration: address → insights; returns how many.

    What is no mail address is passed over. The same change again adds nothing.
    """
    known: list[tuple[Destination, Sequence[Json]]] = []
    for address, insights in mails.items():
        try:
            known.append((read_address("mail", address), insights))
        except ValueError:
            continue
    return queue.put_recreated(store.meta, Sealer(store.data_dir), tenant, context_class, config_id, known, now)


def chart_picture(store: Storage, delivery_id: str, insight_id: str, key: str) -> bytes | None:
    """The PNG that a chat fetches for an insight in a message; None without the right key, or when it is gone."""
    series = queue.kept_series(store.meta, Sealer(store.data_dir), delivery_id, insight_id, key)
    return None if series is None else picture.draw(series)


def deliver_due(store: Storage, settings: Settings, now: datetime | None = None) -> int:
    """Send what is due now, once; returns how many deliveries arrived. Several processes may do it at a time."""
    clock = (lambda: datetime.now(UTC)) if now is None else (lambda: now)
    return delivery.deliver(store.meta, Sealer(store.data_dir), settings, clock)
