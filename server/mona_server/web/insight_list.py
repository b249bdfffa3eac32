"""The page Insights: a ranked list; the address says what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from mona_server import words
from mona_server.segment import Segment
from mona_server.web.sentences import Segments, segment_chips

Json = dict[str, Any]

RANGES = {"24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400, "90d": 90 * 86_400, "all": None}
DEFAULT_RANGE = "30d"
SORTS = {"score": "Score", "time": "Newest", "size": "Size", "level": "Level"}
STATES = ("new", "ongoing", "recovering", "resolved")
MOST_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The filters of the list, as the address gives them; anything unknown counts as not given."""

    range: str = DEFAULT_RANGE
    state: str = ""
    urgency: str = ""
    verse: str = ""
    metric: str = ""
    text: str = ""
    sort: str = "score"

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Ask:
        def one(name: str, known: Sequence[str], default: str) -> str:
            value = query.get(name, default)
            return value if value in known else default

        return cls(
            range=one("range", list(RANGES), DEFAULT_RANGE),
            state=one("state", STATES, ""),
            urgency=one("urgency", ("high", "normal"), ""),
            verse=query.get("verse", ""),
            metric=query.get("metric", ""),
            text=query.get("text", "").strip()[:200],
            sort=one("sort", list(SORTS), "score"),
        )

    def address(self, context_class: str | None, **changes: str) -> str:
        """The page's address with some filters changed; defaults are left out.

        >>> Ask().address("LOAN", state="new")
        '/insights?class=LOAN&state=new'
        """
        default = Ask()
        given = {name: getattr(self, name) for name in Ask.__slots__} | changes
        query = {"class": context_class or ""} | {k: v for k, v in given.items() if v != getattr(default, k)}
        return f"/insights?{urlencode({k: v for k, v in query.items() if v})}"

    @property
    def filtered(self) -> bool:
        """Is anything but the range asked for?"""
        return any((self.state, self.urgency, self.verse, self.metric, self.text))

    def since_s(self, now_s: float) -> float | None:
        """The earliest last discovery that is shown; None for all."""
        seconds = RANGES[self.range]
        return None if seconds is None else now_s - seconds

    def holds(self, insight: Json, now_s: float) -> bool:
        """Is the insight one of those asked for?"""
        since = self.since_s(now_s)
        return (
            (since is None or insight["last_discovered"] >= since)
            and (not self.state or insight["state"] == self.state)
            and (not self.urgency or insight["urgency"] == self.urgency)
            and (not self.verse or insight["verse_name"] == self.verse)
            and (not self.metric or insight["main_signal"].get("kapi") == self.metric)
            and (not self.text or self.text.lower() in str(insight.get("title", "")).lower())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightRow:
    """One line of the list."""

    id: str
    href: str
    title: str
    lead: str
    """The title up to its segment, which follows as chips."""
    urgent: bool
    state: str
    reopened: bool
    other_time: str
    """Name of the timestamp field when it is not the context time, else empty."""
    segment: Segments
    verse: str
    related: int
    level: float
    infinite: bool
    score: float
    size: float
    share: float
    spark: Markup
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a filter."""

    value: str
    name: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A choice that is a link of its own."""

    name: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """What the newest run of the class looked at, for an empty list."""

    at_s: float
    segments: int
    tests: int
    verse: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightsPage:
    """Everything that ``insights.html`` shows."""

    context_class: str | None
    ask: Ask
    rows: tuple[InsightRow, ...]
    total: int
    """Matching insights; more than ``rows`` when the list was cut."""
    urgent: int
    outside: int
    """Insights that the other filters match, but that were last seen before the range."""
    ranges: tuple[Step, ...]
    sorts: tuple[Step, ...]
    states: tuple[Option, ...]
    verses: tuple[Option, ...]
    metrics: tuple[Option, ...]
    everything: str
    """Address of the list without filters."""
    now_s: float
    has_data: bool
    configured: bool
    last_run: LastRun | None


_SORT_KEYS = {
    "score": lambda i: -i["score"],
    "time": lambda i: -i["last_discovered"],
    "size": lambda i: -i["main_signal"]["segment_size"],
    "level": lambda i: -i["main_signal"]["anomaly_level"],
}


def insights_page(
    insights: Sequence[Json],
    ask: Ask,
    *,
    context_class: str | None,
    sparks: Mapping[str, Markup],
    now_s: float,
    has_data: bool,
    configured: bool,
    last_run: LastRun | None = None,
) -> InsightsPage:
    """The page from all insights of the class that are neither archived nor suppressed."""
    shown = sorted((i for i in insights if ask.holds(i, now_s)), key=_SORT_KEYS[ask.sort])
    anytime = Ask(**{name: getattr(ask, name) for name in Ask.__slots__} | {"range": "all"})
    outside = 0 if shown else sum(anytime.holds(i, now_s) for i in insights)
    verses = sorted({i["verse_name"] for i in insights})
    metrics = sorted({i["main_signal"]["kapi"] for i in insights if i["main_signal"].get("kapi")})
    return InsightsPage(
        context_class=context_class,
        ask=ask,
        rows=tuple(insight_row(i, sparks.get(i["insight_id"], Markup(""))) for i in shown[:MOST_ROWS]),
        total=len(shown),
        urgent=sum(i["urgency"] == "high" for i in shown),
        outside=outside,
        ranges=tuple(Step(name, ask.address(context_class, range=name), name == ask.range) for name in RANGES),
        sorts=tuple(Step(SORTS[key], ask.address(context_class, sort=key), key == ask.sort) for key in SORTS),
        states=_options(STATES, ask.state, "Any state"),
        verses=_options(verses, ask.verse, "Any verse"),
        metrics=_options(metrics, ask.metric, "Any metric"),
        everything=Ask(range=ask.range).address(context_class),
        now_s=now_s,
        has_data=has_data,
        configured=configured,
        last_run=last_run,
    )


def _options(values: Sequence[str], chosen: str, nothing: str) -> tuple[Option, ...]:
    return (Option("", nothing, not chosen), *(Option(value, value, value == chosen) for value in values))


def insight_row(insight: Json, spark: Markup) -> InsightRow:
    """One line from an insight of the specification's shape."""
    signal = insight["main_signal"]
    time_field = insight.get("timestamp_field_name") or "MONA_TIMESTAMP"
    return InsightRow(
        id=insight["insight_id"],
        href=f"/insights/{insight['insight_id']}",
        title=title(insight),
        lead=lead(insight),
        urgent=insight["urgency"] == "high",
        state=insight["state"],
        reopened=bool(insight.get("reopened")),
        other_time="" if time_field in ("MONA_TIMESTAMP", "export_timestamp") else time_field,
        segment=segment_chips(signal["segment"]),
        verse=insight["verse_name"],
        related=len(insight.get("related_signals", ())),
        level=signal["anomaly_level"],
        infinite=bool(signal.get("is_score_inf")),
        score=insight["score"],
        size=signal["segment_size"],
        share=signal["segment_ratio"],
        spark=spark,
        first_s=insight["first_discovered"],
        last_s=insight["last_discovered"],
    )


def lead(insight: Json) -> str:
    """What changed, without where: the title up to its segment; all of it when it reads otherwise.

    >>> lead({"title": "delay average rose from 3 to 41 where carrier = EV (812 contexts, 4 % of all data)",
    ...       "main_signal": {"segment": {"carrier": [{"value": "EV"}]}}})
    'delay average rose from 3 to 41'
    """
    segment = Segment.parse(insight["main_signal"]["segment"])
    before, _, _ = title(insight).rpartition(f" where {segment}" if segment else " (")
    return before or title(insight)


def title(insight: Json) -> str:
    """The insight's sentence; from its numbers where it has none."""
    if insight.get("title"):
        return str(insight["title"])
    signal = insight["main_signal"]
    verb = "fell" if signal["is_desc"] else "rose"
    return f"{signal.get('kapi') or 'Size'} {verb} from {words.number(signal['benchmark'])} to {words.number(signal['value'])}"
