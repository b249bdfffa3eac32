"""The page Insights, from insights to its context."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.web.insight_list import RANGES, SORTS, STATES, Ask, InsightsPage, insights_page, lead

from .conftest import DAY, MakeInsight, T


def page(insights: list[dict[str, Any]], ask: Ask = Ask()) -> InsightsPage:  # noqa: B008 - frozen
    return insights_page(
        insights, ask, context_class="FLIGHTS", sparks={}, now_s=T + DAY, has_data=True, configured=True
    )


def shown(insights: list[dict[str, Any]], **ask: str) -> list[str]:
    return [row.id for row in page(insights, Ask.of(ask)).rows]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "range": st.sampled_from([*RANGES, "5y"]),
            "state": st.sampled_from([*STATES, "gone"]),
            "urgency": st.sampled_from(["high", "normal", "?"]),
            "verse": st.text(max_size=20),
            "text": st.text(max_size=20).map(str.strip),
            "sort": st.sampled_from([*SORTS, "colour"]),
        },
    )
)
def test_the_address_is_the_state(query: dict[str, str]) -> None:
    """A filter read from an address, written into an address and read again is the same; nonsense is left out."""
    from urllib.parse import parse_qsl, urlsplit

    ask = Ask.of(query)
    again = Ask.of(dict(parse_qsl(urlsplit(ask.address("FLIGHTS")).query)))
    assert again == ask


def test_filters(insight: MakeInsight) -> None:
    """Each filter keeps what it names."""
    given = [
        insight("a", state="resolved", urgency="high", title="Fog at Newark"),
        insight("b", signal={"kapi": "prediction_error", "verse_name": "model__AverageDrift"}),
        insight("c", last_discovered=T - 40 * DAY),
    ]
    assert sorted(shown(given)) == ["a", "b"]
    assert sorted(shown(given, range="all")) == ["a", "b", "c"]
    assert shown(given, state="resolved") == ["a"]
    assert shown(given, urgency="high") == ["a"]
    assert shown(given, metric="prediction_error") == ["b"]
    assert shown(given, verse="model__AverageDrift") == ["b"]
    assert shown(given, text="newark") == ["a"]


@pytest.mark.parametrize(
    ("sort", "order"), [("score", ["b", "a"]), ("time", ["a", "b"]), ("size", ["a", "b"]), ("level", ["b", "a"])]
)
def test_sorts(insight: MakeInsight, sort: str, order: list[str]) -> None:
    """Each order puts its largest first."""
    given = [
        insight("a", last_discovered=T + 1, signal={"score": 1, "segment_size": 9.0, "anomaly_level": 1.0}),
        insight("b", last_discovered=T, signal={"score": 2, "segment_size": 1.0, "anomaly_level": 2.0}),
    ]
    assert shown(given, sort=sort) == order


def test_an_empty_range_counts_what_lies_outside(insight: MakeInsight) -> None:
    """The page can say that there is something older."""
    assert page([insight(last_discovered=T - 40 * DAY)]).outside == 1


def test_row(insight: MakeInsight) -> None:
    """A line carries the sentence apart from its segment, and what the flags need."""
    (row,) = page([insight(urgency="high", reopened=1, timestamp_field_name="landed_at")]).rows
    assert (row.lead, row.segment.chips) == ("arrival_delay average rose from 25.5 to 119", ("carrier = EV",))
    assert (row.urgent, row.reopened, row.other_time) == (True, True, "landed_at")


@pytest.mark.parametrize(
    ("title", "segment", "expected"),
    [
        ("Delay rose from 1 to 2 where a = x and b = y (3 contexts)", {"a": [{"value": "x"}], "b": [{"value": "y"}]},
         "Delay rose from 1 to 2"),
        ("Delay rose from 1 to 2 (3 contexts)", {}, "Delay rose from 1 to 2"),
        ("Something else", {"a": [{"value": "x"}]}, "Something else"),
    ],
)  # fmt: skip
def test_lead_is_the_sentence_without_its_segment(
    insight: MakeInsight, title: str, segment: dict[str, Any], expected: str
) -> None:
    """The part before the segment; the whole sentence when it is not built that way."""
    assert lead(insight(title=title, signal={"segment": segment})) == expected
