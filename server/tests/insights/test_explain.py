"""What is read to explain findings: the rows of the search once more, and related fields a few at a time."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from mona_server.detect.table_source import TableSource
from mona_server.insights import columns, explain
from mona_server.insights.check import check
from mona_server.segment import Segment
from tests.insights.test_check import AT, comparable, rows
from tests.insights.test_runs import CONFIG

MOVED = Segment.parse({"city": [{"value": "Haifa"}]})


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
    monkeypatch.setattr(explain, "FIELDS_BYTES", 1)
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


def test_values_are_those_of_the_segment() -> None:
    """Also of fields that are read beside it: where sums lose digits, the values of the segment are looked at."""
    data = columns.TableData.of(rows(), _class(), None)
    verse = next(iter(_class().verses))
    plan = verse.type.plan(verse, AT * 1000, int(data.time_ms.min()), data.look)
    assert plan is not None
    signal = _signal(verse, plan, data)
    close = explain.look_closely(verse, plan, [signal], ("other",), data.look)
    inside = explain._Inside(close, MOVED)
    last = len(inside.edges_ms) - 1
    theirs = data.look(replace(plan.questions[0], within=MOVED)).net_values(Segment(), "other", 0, last)
    assert inside.metrics == ("score", "other")
    assert inside.net_values(Segment(), "other", 0, last).values.tolist() == theirs.values.tolist()


def _class() -> Any:
    from mona_server.config import parse

    return parse({"LOAN": CONFIG}).or_raise().classes["LOAN"]


def _signal(verse: Any, plan: Any, data: columns.TableData) -> Any:
    from datetime import UTC, datetime

    from mona_server.detect import search

    at = datetime.fromtimestamp(AT, UTC)
    signals = search(verse, data.look, at, data_start_ms=int(data.time_ms.min())).signals
    return next(one for one in signals if one.segment == MOVED)
