"""To which insights a context belongs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from mona_server.detect.sliced import both
from mona_server.errors import BadRequest
from mona_server.query.conditions import Binder, fields_of, segment_sql
from mona_server.query.reader import Dataset
from mona_server.segment import Segment
from mona_server.store.store import Store
from mona_server.store.tables_insights import insights

MONA_TIMESTAMP = "MONA_TIMESTAMP"
MOST = 200
"""Open insights that are looked through, those with the highest scores."""


def insights_of(store: Store, dataset: Dataset, context_id: str, time_ms: int) -> list[str]:
    """Ids of the open insights, highest score first, whose segment and window (the compared one left out) hold a context.

    ``time_ms`` is its context time. Raises the errors of a query.
    """
    by_axis: dict[str, list[Any]] = {}
    for row in _open(store, dataset.tenant, dataset.name):
        by_axis.setdefault(row.time_axis, []).append(row)
    found: list[tuple[float, str]] = []
    for axis, rows in by_axis.items():
        found += [(row.score, row.id) for row in _holding(dataset, axis, rows, context_id, time_ms)]
    return [insight_id for _, insight_id in sorted(found, key=lambda one: (-one[0], one[1]))]


def _open(store: Store, tenant: str, context_class: str) -> list[Any]:
    c = insights.c
    wanted = (
        select(c.id, c.score, c.segment, c.baseline, c.time_axis, c.body)
        .where(c.tenant == tenant, c.context_class == context_class, c.archived.is_(False))
        .where(c.state.in_(("new", "ongoing", "recovering")))
        .order_by(c.score.desc(), c.id)
        .limit(MOST)
    )
    with store.meta.connect() as connection:
        return list(connection.execute(wanted))


def _holding(dataset: Dataset, axis: str, rows: list[Any], context_id: str, time_ms: int) -> list[Any]:
    """Those of ``rows`` that hold the context: one query with a column for each."""
    usual = axis == MONA_TIMESTAMP
    rows = [row for row in rows if not usual or _window(row)[0] <= time_ms < _window(row)[1]]
    facts, bind = dataset.facts, Binder()
    asked, columns, names = [], [], {"MONA_ID"}
    for row in rows:
        segment = both(Segment.parse(row.baseline), Segment.parse(row.segment))
        try:
            inside = segment_sql(facts, segment, bind)
        except BadRequest:  # a field that is gone: nobody can tell any more
            continue
        asked.append(row)
        names |= fields_of(segment)
        first, end = _window(row)
        columns.append(
            f"coalesce(sum(CASE WHEN MONA_AXIS >= {first} AND MONA_AXIS < {end} AND {inside} THEN MONA_SIGN END), 0)"
        )
    if not asked:
        return []
    # Most insights follow the context time, and files are found by it.
    bounds = (time_ms, time_ms + 1) if usual else (None, None)
    relation = facts.relation(sorted(names), axis=axis, from_ms=bounds[0], to_ms=bounds[1])
    answer = facts.rows(f"SELECT {', '.join(columns)} FROM {relation} WHERE MONA_ID = {bind(context_id)}", bind.values)
    return [row for row, held in zip(asked, answer[0], strict=True) if held > 0]


def _window(row: Any) -> tuple[int, int]:
    window = row.body["main_signal"]["window"]
    return window["from"] * 1000, window["to"] * 1000
