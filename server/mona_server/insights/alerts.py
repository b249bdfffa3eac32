"""Data alerts: a run that finds no data, or less than half of the usual, says that instead of finding anomalies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select, update

from mona_server.detect.parameters import WEEK_MS
from mona_server.detect.verses.base import Verse
from mona_server.detect.windows import Plan
from mona_server.insights.repository import new_id
from mona_server.store.tables_insights import data_alerts

PREVIOUS = 4
LITTLE = 0.5

Contexts = Callable[[tuple[int, ...]], NDArray[np.float64]]
"""Edges in ms → contexts between them."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Too little data to judge."""

    kind: str
    """no_data or little_data."""
    contexts: float
    usual: float

    @property
    def text(self) -> str:
        if self.kind == "no_data":
            return f"no data in the judged window, usual are {self.usual:.0f} contexts"
        return f"only {self.contexts:.0f} contexts in the judged window, usual are {self.usual:.0f}"


def shortage(verse: Verse, plan: Plan, data_start_ms: int, contexts: Contexts) -> Shortage | None:
    """Compare the judged window with up to four earlier ones of the same length, whole weeks apart if it is shorter.

    The usual is their median; windows that begin before the data do not count, and without any there is no usual.
    """
    begin, end = judged_window(verse, plan)
    length = end - begin
    step = WEEK_MS if length < WEEK_MS else length
    earlier = [(begin - k * step, end - k * step) for k in range(PREVIOUS, 0, -1) if begin - k * step >= data_start_ms]
    if not earlier:
        return None
    edges = tuple(sorted({edge for window in (*earlier, (begin, end)) for edge in window}))
    sizes = dict(zip(edges, contexts(edges), strict=False))
    usual = float(np.median([sizes[window[0]] for window in earlier]))
    now = float(sizes[begin])
    if not usual or now >= LITTLE * usual:
        return None
    return Shortage("little_data" if now else "no_data", now, usual)


def judged_window(verse: Verse, plan: Plan) -> tuple[int, int]:
    """The window whose data is judged: for sudden changes the last frame."""
    if verse.type.family == "SuddenChange":
        begin, end = plan.bounds_ms[-1]
        return int(begin), int(end)
    return plan.target_ms


def note(connection: Connection, tenant: str, verse: Verse, at_s: int, found: Shortage | None) -> None:
    """Open an alert once, or clear it when there is data again."""
    c = data_alerts.c
    where = (
        c.tenant == tenant,
        c.context_class == verse.context_class,
        c.stanza == verse.stanza,
        c.verse_name == verse.name,
        c.cleared_s.is_(None),
    )
    before = connection.execute(select(c.id).where(*where)).first()
    if found is None:
        connection.execute(update(data_alerts).where(*where).values(cleared_s=at_s))
    elif before is None:
        connection.execute(
            insert(data_alerts).values(
                id=new_id("alert"),
                tenant=tenant,
                context_class=verse.context_class,
                kind=found.kind,
                stanza=verse.stanza,
                verse_name=verse.name,
                opened_s=at_s,
                contexts=found.contexts,
                usual=found.usual,
            )
        )


def open_alerts(connection: Connection, tenant: str, context_class: str) -> list[dict[str, Any]]:
    """Alerts that are not cleared, newest first."""
    c = data_alerts.c
    wanted = select(data_alerts).where(c.tenant == tenant, c.context_class == context_class, c.cleared_s.is_(None))
    return [
        {
            "id": row.id,
            "arc_class": row.context_class,
            "kind": row.kind,
            "stanza_name": row.stanza,
            "verse_name": row.verse_name,
            "opened": row.opened_s,
            "contexts": row.contexts,
            "usual": row.usual,
        }
        for row in connection.execute(wanted.order_by(c.opened_s.desc()))
    ]
