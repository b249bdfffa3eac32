"""The page of one insight: what changed, since when, how sure, where, and what it may hang together with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mona_server import words
from mona_server.web.charts import Frames, time_chart
from mona_server.web.insight_list import lead, title
from mona_server.web.sentences import (
    Gate,
    Segments,
    formula,
    gates,
    head_words,
    segment_chips,
    unit,
    verse_type,
    windows,
)

Json = dict[str, Any]

MOST_CONTEXTS = 100
MOST_RELATED = 15
_DEPTH = {"parent": 0, "overlap": 1, "sibling": 1, "adjacent": 1, "same_metric_other_verse": 1,
          "same_segment_other_metric": 1, "child": 2}  # fmt: skip
_RELATION_WORDS = {
    "parent": "wider",
    "child": "part of it",
    "overlap": "overlaps",
    "sibling": "sibling",
    "adjacent": "neighbour",
    "same_segment_other_metric": "same place, other metric",
    "same_metric_other_verse": "same place, other verse",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A line of the tree "Where"."""

    relation: str
    segment: Segments
    metric: str
    verse: str
    level: float | None
    infinite: bool
    size: float
    share: float
    value: float | None
    benchmark: float | None
    depth: int
    itself: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Something that moved at the same time, or a reason that was worked out."""

    text: str
    detail: str
    correlation: float | None
    value: float | None = None
    benchmark: float | None = None


@dataclass(frozen=True, slots=True)
class ContextSample:
    """Some of the contexts behind the insight: the fields that it is about come first."""

    columns: tuple[str, ...]
    numeric: frozenset[str]
    """Columns that hold numbers, and are set right."""
    rows: tuple[tuple[str, str, tuple[Any, ...]], ...]
    """(context id, time, values in the order of ``columns``)."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightPage:
    """Everything that ``insight.html`` shows."""

    id: str
    context_class: str
    title: str
    lead: str
    """The title up to its segment, which follows as chips."""
    urgent: bool
    state: str
    archived: bool
    segment: Segments
    baseline: Segments
    metric: str
    verse: str
    verse_type: str
    description: str
    value: float | None
    benchmark: float | None
    value_name: str
    benchmark_name: str
    level: float
    infinite: bool
    score: float
    size: float
    share: float
    judged: tuple[int, int]
    compared: tuple[int, int] | None
    first_s: float
    last_s: float
    occurrences: int
    reopened: int
    resolved_s: float | None
    chart: Json | None
    """What ``chart.js`` draws; None when the series could not be read."""
    chart_problem: str
    gates: tuple[Gate, ...]
    formula: str
    method: str
    branches: tuple[Branch, ...]
    more_branches: int
    explanations: tuple[Explanation, ...]
    contexts: ContextSample | None
    contexts_problem: str
    back: str


def insight_page(
    insight: Json,
    *,
    series: tuple[Frames, Frames] | None,
    chart_problem: str = "",
    contexts: ContextSample | None = None,
    contexts_problem: str = "",
    markers: Sequence[tuple[int, str]] = (),
) -> InsightPage:
    """The page from an insight of the specification's shape, the series of segment and baseline, and some contexts."""
    signal = insight["main_signal"]
    segment, baseline = segment_chips(signal["segment"]), segment_chips(signal["baseline_segment"])
    window = windows(signal)
    names = head_words(signal)
    chart = None
    if series is not None and len(series[0]):
        chart = time_chart(
            *series,
            window,
            segment_name=" and ".join(segment.chips) or "all data",
            baseline_name=" and ".join(baseline.chips) or "all data",
            unit=unit(signal),
            markers=markers,
        )
    return InsightPage(
        id=insight["insight_id"],
        context_class=insight["arc_class"],
        title=title(insight),
        lead=lead(insight),
        urgent=insight["urgency"] == "high",
        state=insight["state"],
        archived=bool(insight.get("archived")),
        segment=segment,
        baseline=baseline,
        metric=signal.get("kapi") or "",
        verse=insight["verse_name"],
        verse_type=verse_type(signal),
        description=(signal.get("verse") or {}).get("description") or "",
        value=signal.get("value"),
        benchmark=signal.get("benchmark"),
        value_name=names[0],
        benchmark_name=names[1],
        level=signal["anomaly_level"],
        infinite=bool(signal.get("is_score_inf")),
        score=insight["score"],
        size=signal["segment_size"],
        share=signal["segment_ratio"],
        judged=window.judged,
        compared=window.compared,
        first_s=insight["first_discovered"],
        last_s=insight["last_discovered"],
        occurrences=insight.get("occurrences", 1),
        reopened=insight.get("reopened") or 0,
        resolved_s=insight.get("resolved_at"),
        chart=chart,
        chart_problem=chart_problem or ("" if chart else "There is no data in the windows of this insight any more."),
        gates=gates(signal),
        formula=formula(signal),
        method=((signal.get("gates") or {}).get("chance") or {}).get("method") or "",
        branches=branches(insight),
        more_branches=max(len(insight.get("related_signals", ())) - MOST_RELATED, 0),
        explanations=explanations(insight),
        contexts=contexts,
        contexts_problem=contexts_problem,
        back=f"/insights?class={insight['arc_class']}",
    )


def branches(insight: Json) -> tuple[Branch, ...]:
    """The insight's segment among those that were folded under it: wider ones above, parts below, strongest first."""
    related = [one for one in insight.get("related_signals", ()) if one.get("relation") in _DEPTH]
    related.sort(key=lambda one: -one["score"])
    lines = [_branch(one, _RELATION_WORDS[one["relation"]], _DEPTH[one["relation"]]) for one in related[:MOST_RELATED]]
    itself = _branch(insight["main_signal"], "this insight", 1, itself=True)
    return (
        *(line for line in lines if line.depth == 0),
        itself,
        *(line for line in lines if line.depth == 1),
        *(line for line in lines if line.depth == 2),
    )


def _branch(signal: Json, relation: str, depth: int, *, itself: bool = False) -> Branch:
    return Branch(
        relation=relation,
        segment=segment_chips(signal["segment"]),
        metric=signal.get("kapi") or "",
        verse=signal.get("verse_name", ""),
        level=signal.get("anomaly_level"),
        infinite=bool(signal.get("is_score_inf")),
        size=signal["segment_size"],
        share=signal["segment_ratio"],
        value=signal.get("value"),
        benchmark=signal.get("benchmark"),
        depth=depth,
        itself=itself,
    )


def explanations(insight: Json) -> tuple[Explanation, ...]:
    """Metrics that moved with it, strongest first, then what else was worked out."""
    found = [
        Explanation(
            text=one["kapi"],
            detail=f"{'fell' if one['is_desc'] else 'rose'} from {words.number(one['benchmark'])} to {words.number(one['value'])}",
            correlation=one["correlation"],
            value=one["value"],
            benchmark=one["benchmark"],
        )
        for one in insight.get("related_anomalies", ())
    ]
    found += [
        Explanation(
            text=one["text"],
            detail="" if one.get("share") is None else f"{words.share(one['share'])} of the change",
            correlation=None,
        )
        for one in insight.get("explanations", ())
    ]
    return tuple(found)


def context_sample(answer: Mapping[str, Any], signal: Json, order: Sequence[str]) -> ContextSample:
    """The sample from an answer of ``get_ingested_data``. ``order`` is the order of the class's fields."""
    first = [*([signal["kapi"]] if signal.get("kapi") else []), *signal["segment"]]
    contexts = answer["crcs"][:MOST_CONTEXTS]
    known = {name for c in contexts for name, value in c["fields"].items() if value is not None}
    ranked = [*dict.fromkeys(first), *(name for name in order if name not in first)]
    columns = tuple(name for name in ranked if name in known)
    rows = tuple(
        (
            context["contextId"],
            words.moment(context["timestamp"]),
            tuple(context["fields"].get(name) for name in columns),
        )
        for context in contexts
    )
    firsts = {name: next(v for c in contexts if (v := c["fields"].get(name)) is not None) for name in columns}
    numeric = frozenset(
        name for name, value in firsts.items() if isinstance(value, int | float) and not isinstance(value, bool)
    )
    return ContextSample(columns, numeric, rows, answer["total"])
