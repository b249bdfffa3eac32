"""The page of one insight, from an insight to its context."""

from __future__ import annotations

from typing import Any

from mona_server.web.charts import Frames
from mona_server.web.insight_page import branches, context_sample, explanations, insight_page

from .conftest import DAY, MakeInsight, T


def frames(count: int = 30) -> Frames:
    starts = tuple(T - DAY * (count - i) for i in range(count))
    return Frames(starts, DAY, tuple(float(i) for i in range(count)), (10.0,) * count)


def test_page_of_an_insight(insight: MakeInsight) -> None:
    """The numbers of the head, the chart and the windows come from the main signal."""
    page = insight_page(insight(), series=(frames(), frames()))
    assert (page.value, page.benchmark, page.level) == (118.83, 25.47, 4.216177209898609)
    assert page.value_name == "Thu 5 Dec 2013"
    assert page.judged == (T - DAY, T)
    assert page.chart is not None
    assert page.chart["judged"] == [29]
    assert page.chart["segment_name"] == "carrier = EV"
    assert page.chart_problem == ""


def test_a_chart_that_failed_leaves_the_rest(insight: MakeInsight) -> None:
    """One failed part does not blank the page; it says why."""
    page = insight_page(insight(), series=None, chart_problem="The query took too long.")
    assert page.chart is None
    assert page.chart_problem == "The query took too long."
    assert page.gates


def test_where_puts_wider_segments_above_and_parts_below(insight: MakeInsight) -> None:
    """Parents, the insight itself, its neighbours, its children; strongest first among equals."""
    main = insight()["main_signal"]

    def related(relation: str, score: float, **segment: str) -> dict[str, Any]:
        conditions = {name: [{"value": value}] for name, value in segment.items()}
        return {**main, "relation": relation, "score": score, "segment": conditions}

    given = insight(
        related_signals=[
            related("child", 1, carrier="EV", origin="EWR"),
            related("parent", 1),
            related("child", 2, carrier="EV", origin="LGA"),
            related("sibling", 9, carrier="UA"),
            related("something new", 9, carrier="XX"),
        ]
    )
    chips = [branch.segment.chips for branch in branches(given)]
    assert chips == [
        (), ("carrier = EV",), ("carrier = UA",), ("carrier = EV", "origin = LGA"), ("carrier = EV", "origin = EWR")
    ]  # fmt: skip
    assert [branch.itself for branch in branches(given)] == [False, True, False, False, False]


def test_explanations_in_words(insight: MakeInsight) -> None:
    """Metrics that moved along, with direction; then reasons that were worked out, with their share."""
    moved = {
        "kapi": "visibility",
        "correlation": -0.8,
        "value": 2.1,
        "benchmark": 8.6,
        "is_desc": True,
        "anomaly_level": 3,
    }
    reason = {"kind": "rate", "text": "the rate changed, not the mix", "share": 0.9}
    found = explanations(insight(related_anomalies=[moved], explanations=[reason]))
    assert [(one.text, one.detail) for one in found] == [
        ("visibility", "fell from 8.6 to 2.1"),
        ("the rate changed, not the mix", "90\u202f% of the change"),
    ]


def test_sample_shows_what_matters_first(insight: MakeInsight) -> None:
    """Metric and segment fields lead; fields that no context has are left out; missing stays missing."""
    answer = {
        "crcs": [
            {
                "contextId": "a",
                "timestamp": T,
                "fields": {"origin": "EWR", "arrival_delay": 120, "late": True, "x": None},
            },
            {"contextId": "b", "timestamp": T, "fields": {"origin": "LGA", "carrier": "EV", "x": None}},
        ],
        "total": 156,
    }
    sample = context_sample(answer, insight()["main_signal"], ["x", "late", "carrier", "origin", "arrival_delay"])
    assert sample.columns == ("arrival_delay", "carrier", "late", "origin")
    assert sample.numeric == {"arrival_delay"}
    assert sample.rows[1][2] == (None, "EV", None, "LGA")
    assert sample.total == 156
