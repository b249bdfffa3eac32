"""What is read to explain findings: the rows of the search once more, and related fields a few at a time."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mona_server.detect import exact
from mona_server.detect.table_source import TableSource
from mona_server.insights import close_look, columns
from mona_server.insights.check import check
from mona_server.segment import Segment
from tests.insights.test_check import AT, comparable, rows
from tests.insights.test_runs import CONFIG


def found(table: Any = None, config: Any = None) -> list[dict[str, Any]]:
    return [comparable(one) for one in check(table or rows(), {"LOAN": config or CONFIG}, now=AT).insights]


def with_plans() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same with a second text."""
    config = copy.deepcopy(CONFIG)
    config["fields"]["plan"] = {"type": "string", "source": "plan"}
    config["stanzas"]["main"]["verses"][0]["segment_by"] = ["city", "plan"]
    return [row | {"plan": "ab"[number % 2]} for number, row in enumerate(rows())], config


def test_related_fields_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few at a time, the explanations are the same; there is one."""
    asked: list[tuple[str, ...]] = []
    source = TableSource

    def opened(*given: Any) -> Any:
        asked.append(given[2].metrics)
        return source(*given)

    monkeypatch.setattr(columns, "TableSource", opened)
    together = found()
    assert {one["kapi"] for one in together[0]["related_anomalies"]} == {"other"}
    assert ("other", "noise") in asked
    asked.clear()
    monkeypatch.setattr(close_look, "FIELDS_BYTES", 1)
    assert found() == together
    assert {("other",), ("noise",)} <= set(asked)
    assert ("other", "noise") not in asked


def test_the_rows_of_the_search_tell_of_its_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read once for the search, its evidence and the mix inside of each segment."""
    read: list[tuple[tuple[str, ...], tuple[str, ...], Segment]] = []
    source = TableSource

    def opened(columns: Any, time_ms: Any, question: Any, *more: Any) -> Any:
        read.append((tuple(axis.field for axis in question.axes), question.metrics, question.within))
        return source(columns, time_ms, question, *more)

    monkeypatch.setattr(columns, "TableSource", opened)
    insights = found(*with_plans())
    assert [one["kind"] for one in insights[0]["explanations"]] == ["rate"]
    assert read.count((("city", "plan"), ("score",), Segment())) == 1
    assert all(within == Segment() for _, _, within in read)


@pytest.mark.parametrize("kind", ["AverageDrift", "AverageOutlier"])
def test_values_are_those_of_the_segment(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sums lose digits, related fields are judged by the values of the segment, outliers beside those of everybody."""
    config = copy.deepcopy(CONFIG)
    verse = config["stanzas"]["main"]["verses"][0]
    verse["type"] = kind
    if kind == "AverageOutlier":
        del verse["benchmark_set_period"], verse["target_set_period"]
        verse |= {"time_period": "14d", "min_anomaly_level": 0.01}
    plain = found(config=config)
    related = {one["kapi"]: one for one in plain[0]["related_anomalies"]}
    assert "other" in related
    monkeypatch.setattr(exact, "doubtful", lambda _scene, levels, _spread: levels.usable)
    again = {one["kapi"]: one for one in found(config=config)[0]["related_anomalies"]}
    assert set(again) == set(related)
    for name, one in again.items():
        for number in ("anomaly_level", "value", "benchmark"):
            assert one[number] == pytest.approx(related[name][number], rel=1e-9)
