"""Questions about insights: the filters of ``get_insights`` and of the list, pages by cursor, one insight in full."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Connection, and_, func, or_, select

from mona_server.detect.folding import within
from mona_server.detect.parameters import DAY_MS
from mona_server.errors import BadRequest, NotFound
from mona_server.insights import evidence
from mona_server.insights.repository import to_json
from mona_server.segment import ALL, Segment
from mona_server.store.store import Store
from mona_server.store.tables_insights import insight_comments, insight_occurrences, insights, runs

Json = dict[str, Any]
DEFAULT_RANGE_S = 30 * DAY_MS // 1000
DEFAULT_LIMIT = 1_000
STATES = ("new", "ongoing", "recovering", "resolved", "suppressed")
SORTS = ("score", "time", "size", "level")
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightQuery:
    """Which insights. Times are Unix seconds, ranges include both ends."""

    context_class: str | None = None
    min_segment_size: float = 0
    """Below 1: least share of the baseline; else least number of contexts."""
    insight_types: tuple[str, ...] = ()
    """Verse types or signal types."""
    metric_name: str | None = None
    """A field: of the main signal or of a related one."""
    min_insight_score: float | None = None
    time_range_s: tuple[float, float] | None = None
    """Last discovery inside of it."""
    first_discovered_s: tuple[float, float] | None = None
    states: tuple[str, ...] = ()
    urgency: str | None = None
    archived: bool | None = False
    """None: both."""
    include_suppressed: bool = False
    stanza_names: tuple[str, ...] = ()
    verse_names: tuple[str, ...] = ()
    segment: Segment = ALL
    """The main segment lies inside of it."""
    timestamp_field_name: str | None = None
    text: str = ""
    """Part of the title."""
    sort: Literal["score", "time", "size", "level"] = "score"

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.states) - set(STATES)):
            raise BadRequest(f"{unknown[0]!r} is no state of an insight", hint=f"known are {', '.join(STATES)}")
        if self.sort not in SORTS:
            raise BadRequest(f"{self.sort!r} is no order of insights", hint=f"known are {', '.join(SORTS)}")
        if self.urgency not in (None, "normal", "high"):
            raise BadRequest(f"{self.urgency!r} is no urgency", hint="normal or high")

    def last_days(self, now_s: float) -> InsightQuery:
        """The same, limited to the last 30 days where no range is given."""
        return self if self.time_range_s else replace(self, time_range_s=(now_s - DEFAULT_RANGE_S, now_s))


@dataclass(frozen=True, slots=True)
class Page:
    """Some insights of a list, and where it goes on."""

    items: tuple[Json, ...]
    next_cursor: str | None


def find(
    store: Store, tenant: str, query: InsightQuery, *, limit: int = DEFAULT_LIMIT, public_url: str = ""
) -> list[Json]:
    """Insights that fit, in the order asked for: highest score first unless told otherwise."""
    with store.meta.connect() as connection:
        found = []
        for row in _matching(connection, tenant, query, None):
            found.append(row)
            if len(found) == limit:
                break
        return _written(connection, found, public_url)


def page(
    store: Store,
    tenant: str,
    query: InsightQuery,
    *,
    cursor: str | None = None,
    limit: int = 50,
    public_url: str = "",
) -> Page:
    """One page. The cursor names the last insight shown, so that new ones neither repeat nor hide others."""
    after = None if cursor is None else _read_cursor(cursor, query)
    with store.meta.connect() as connection:
        rows: list[Any] = []
        more = False
        for row in _matching(connection, tenant, query, after):
            if len(rows) == limit:
                more = True
                break
            rows.append(row)
        items = tuple(_written(connection, rows, public_url))
    return Page(items, _cursor(rows[-1], query) if more else None)


def count(store: Store, tenant: str, query: InsightQuery) -> int:
    """How many fit."""
    with store.meta.connect() as connection:
        return sum(1 for _ in _matching(connection, tenant, query, None))


def get(store: Store, tenant: str, insight_id: str, *, public_url: str = "") -> Json:
    """One insight in full: with ``series``, ``runs`` (in which it was found) and ``comments``. Raises NotFound."""
    row, comments = load(store, tenant, insight_id)
    insight = to_json(row, public_url=public_url, comments=len(comments))
    insight["series"] = chart(row)
    with store.meta.connect() as connection:
        table = insight_occurrences
        found = connection.execute(
            select(table).where(table.c.insight_id == insight_id).order_by(table.c.timestamp_s.desc()).limit(1_000)
        )
        insight["runs"] = [
            {
                "run_id": one.run_id,
                "timestamp": one.timestamp_s,
                "score": one.score,
                "anomaly_level": one.level,
                "value": one.value,
                "benchmark": one.benchmark,
                "segment_size": one.size,
            }
            for one in found
        ]
    insight["comments"] = comments
    return insight


def load(store: Store, tenant: str, insight_id: str) -> tuple[Any, list[Json]]:
    """The row of an insight, and its comments, oldest first. Raises NotFound, also for another tenant's."""
    with store.meta.connect() as connection:
        where = (insights.c.id == insight_id, insights.c.tenant == tenant)
        row = connection.execute(select(insights).where(*where)).first()
        if row is None:
            raise NotFound(f"there is no insight {insight_id}")
        table = insight_comments
        wanted = select(table).where(table.c.insight_id == insight_id).order_by(table.c.created_ms, table.c.id)
        comments = [
            {"id": one.id, "author": one.author, "time": one.created_ms / 1000, "text": one.text}
            for one in connection.execute(wanted)
        ]
    return row, comments


def chart(row: Any) -> Json | None:
    """The kept time chart of the main signal: frames with value, size and baseline; None where none was kept."""
    if not row.evidence:
        return None
    verse = evidence.verse_of(row.body["main_signal"]["verse"], row.stanza)
    points = evidence.series(verse, row.evidence)
    window = row.body["main_signal"]["window"]
    return {"metric": row.metric, "statistic": str(verse.type.statistic), "frames": points, "window": window}


def expected_false(
    store: Store, tenant: str, since_s: float, until_s: float, context_class: str | None = None
) -> float:
    """Sum of the expected false findings of the runs in a range of T: what people should expect by chance."""
    c = runs.c
    wanted = select(c.report).where(c.tenant == tenant, c.timestamp_s > since_s, c.timestamp_s <= until_s)
    if context_class is not None:
        wanted = wanted.where(c.context_class == context_class)
    with store.meta.connect() as connection:
        return sum((report or {}).get("expected_false") or 0.0 for report in connection.execute(wanted).scalars())


def open_counts(store: Store, tenant: str) -> dict[str, dict[str, int]]:
    """Class → ``{"open": n, "urgent": m}``, archived ones left out."""
    c = insights.c
    wanted = (
        select(c.context_class, c.urgency, func.count())
        .where(c.tenant == tenant, c.state.in_(("new", "ongoing", "recovering")), c.archived.is_(False))
        .group_by(c.context_class, c.urgency)
    )
    counts: dict[str, dict[str, int]] = {}
    with store.meta.connect() as connection:
        for name, urgency, number in connection.execute(wanted):
            one = counts.setdefault(name, {"open": 0, "urgent": 0})
            one["open"] += number
            one["urgent"] += number if urgency == "high" else 0
    return counts


def _matching(
    connection: Connection, tenant: str, query: InsightQuery, after: tuple[float, str] | None
) -> Iterator[Any]:
    """Rows that fit, in order, read in batches."""
    key = _key(query.sort)
    where = _where(tenant, query)
    while True:
        wanted = select(insights).where(*where)
        if after is not None:
            wanted = wanted.where(or_(key < after[0], and_(key == after[0], insights.c.id > after[1])))
        rows = connection.execute(wanted.order_by(key.desc(), insights.c.id).limit(BATCH)).all()
        for row in rows:
            if _fits(row, query):
                yield row
        if len(rows) < BATCH:
            return
        after = (float(getattr(rows[-1], key.name)), rows[-1].id)


def _where(tenant: str, query: InsightQuery) -> list[Any]:
    c = insights.c
    where = [c.tenant == tenant]
    if query.context_class is not None:
        where.append(c.context_class == query.context_class)
    if query.states:
        where.append(c.state.in_(query.states))
    elif not query.include_suppressed:
        where.append(c.state != "suppressed")
    if query.archived is not None:
        where.append(c.archived.is_(query.archived))
    if query.urgency is not None:
        where.append(c.urgency == query.urgency)
    if query.min_segment_size >= 1:
        where.append(c.size >= query.min_segment_size)
    elif query.min_segment_size > 0:
        where.append(c.ratio >= query.min_segment_size)
    if query.min_insight_score is not None:
        where.append(c.score >= query.min_insight_score)
    for column, span in ((c.last_s, query.time_range_s), (c.first_s, query.first_discovered_s)):
        if span is not None:
            where += [column >= span[0], column <= span[1]]
    if query.insight_types:
        where.append(or_(c.verse_type.in_(query.insight_types), c.signal_type.in_(query.insight_types)))
    if query.stanza_names:
        where.append(c.stanza.in_(query.stanza_names))
    if query.verse_names:
        where.append(c.verse_name.in_(query.verse_names))
    if query.timestamp_field_name is not None:
        where.append(c.time_axis == query.timestamp_field_name)
    return where


def _fits(row: Any, query: InsightQuery) -> bool:
    """What SQL cannot ask of the kept objects."""
    if query.metric_name is not None and row.metric != query.metric_name:
        related: Sequence[Mapping[str, Any]] = row.body.get("related_signals", ())
        if query.metric_name not in {signal.get("kapi") for signal in related}:
            return False
    if query.segment and not within(Segment.parse(row.segment), query.segment):
        return False
    return query.text.lower() in str(row.body.get("title", "")).lower()


def _written(connection: Connection, rows: Sequence[Any], public_url: str) -> list[Json]:
    table = insight_comments
    wanted = select(table.c.insight_id, func.count()).where(table.c.insight_id.in_([row.id for row in rows]))
    counts = {one[0]: one[1] for one in connection.execute(wanted.group_by(table.c.insight_id))}
    return [to_json(row, public_url=public_url, comments=counts.get(row.id, 0)) for row in rows]


def _key(sort: str) -> Any:
    c = insights.c
    return {"score": c.score, "time": c.last_s, "size": c.size, "level": c.level}[sort]


def _cursor(row: Any, query: InsightQuery) -> str:
    text = json.dumps([query.sort, float(getattr(row, _key(query.sort).name)), row.id])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str, query: InsightQuery) -> tuple[float, str]:
    try:
        sort, value, insight_id = json.loads(base64.urlsafe_b64decode(cursor))
    except ValueError:
        raise BadRequest("the cursor is not one of this list") from None
    if sort != query.sort:
        raise BadRequest("the cursor belongs to another order of the list", hint="begin again without a cursor")
    return float(value), str(insight_id)
