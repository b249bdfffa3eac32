"""Titles, urgency and explanations: what people read about an insight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mona_server.detect.source import GroupSums
from mona_server.detect.windows import Span
from mona_server.insights.explain import mix_share
from mona_server.insights.titles import title
from mona_server.insights.urgency import urgency
from mona_server.segment import ALL, Equals, Segment
from tests.insights.test_lifecycle import signal, verse

TITLES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "AverageDrift",
        {},
        {"value": 41, "benchmark": 12.5},
        "x average rose from 12.5 to 41 (+228 %) where city = A (100 contexts, 10 % of all data)",
    ),
    (
        "SumDrift",
        {},
        {"value": 1, "benchmark": 2, "baseline": Segment.of({"stage": Equals("live")})},
        "x sum fell from 2 to 1 (-50 %) where city = A (100 contexts, 10 % of stage = live)",
    ),
    ("AverageDrift", {}, {"segment": ALL, "value": 2, "benchmark": -1}, "x average rose from -1 to 2 (100 contexts)"),
    (
        "SegmentSizeDrift",
        {},
        {"metric": None, "value": 30, "benchmark": 20},
        "Number of contexts rose from 20 to 30 (+50 %) where city = A (100 contexts, 10 % of all data)",
    ),
    (
        "NewSegments",
        {},
        {"metric": None, "benchmark": 0},
        "New segment where city = A (100 contexts, 10 % of all data)",
    ),
    (
        "AverageSuddenChange",
        {},
        {"value": 2015, "benchmark": 540},
        "x average suddenly rose to 2 020, beyond the usual 540 where city = A (100 contexts, 10 % of all data)",
    ),
    (
        "ExistenceRatioThreshold",
        {"threshold": 0.2, "over_threshold": False},
        {"value": 0.1, "benchmark": 0.2},
        "x share of values is 0.1, below the limit of 0.2 where city = A (100 contexts, 10 % of all data)",
    ),
    (
        "AverageOutlier",
        {},
        {"value": 0.1467, "benchmark": 0.246},
        "x average is 0.147, below 0.246 of everybody where city = A (100 contexts, 10 % of all data)",
    ),
]


@pytest.mark.parametrize(("type_name", "parameters", "given", "expected"), TITLES, ids=[t[0] for t in TITLES])
def test_titles(type_name: str, parameters: dict[str, Any], given: dict[str, Any], expected: str) -> None:
    """Subject, number, place; the same sentence everywhere."""
    written = title(signal(of=verse(type_name, **parameters), **given).to_json())
    assert written.replace("\N{NARROW NO-BREAK SPACE}", " ") == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "normal"),
        ({"default_urgency": "high"}, "high"),
        ({"high_urgency_min_score": 10}, "high"),
        ({"high_urgency_min_score": 10.1}, "normal"),
        ({"high_urgency_min_score": 99, "high_urgency_min_segment_size": 100}, "high"),
        (
            {
                "high_urgency_min_score": 99,
                "high_urgency_min_segment_size": 100,
                "high_urgency_require_all_criteria": True,
            },
            "normal",
        ),
        ({"high_urgency_target_min_segment_size": 20}, "high"),
        ({"high_urgency_benchmark_min_segment_size": 81}, "normal"),
        ({"high_urgency_require_all_criteria": True}, "normal"),
    ],
)
def test_urgency(given: dict[str, Any], expected: str) -> None:
    """One of the set thresholds suffices, or all must be reached; none set means normal."""
    assert urgency(signal(of=verse(**given))) == expected


def test_urgent_beyond_a_second_limit() -> None:
    """A threshold verse may have a higher limit for urgency."""
    of = verse("AverageThreshold", threshold=1, high_urgency_threshold=1.5)
    assert urgency(signal(of=of, value=2.0)) == "high"
    assert urgency(signal(of=of, value=1.2)) == "normal"


def test_mix_share_tells_mix_from_rate() -> None:
    """Means per group constant: all mix. Weights constant: no mix."""

    def sums(counts: list[list[float]], means: list[list[float]]) -> GroupSums:
        count = np.array([counts])
        total = count * np.array([means])
        return GroupSums.of((0,), np.zeros((len(counts), 1), np.int32), count[0], count, total, total)

    target, benchmark = Span(1, 2), Span(0, 1)
    assert mix_share(sums([[50, 90], [50, 10]], [[1, 1], [5, 5]]), target, benchmark) == pytest.approx(1)
    assert mix_share(sums([[50, 50], [50, 50]], [[1, 2], [5, 6]]), target, benchmark) == pytest.approx(0)
    assert mix_share(sums([[50, 0], [50, 50]], [[1, 1], [5, 5]]), target, benchmark) == pytest.approx(1)
    assert mix_share(sums([[50, 50]], [[1, 1]]), target, benchmark) is None
