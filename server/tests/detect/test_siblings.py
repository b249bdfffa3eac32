"""Sets of sibling values: one cause that moves several values of a field is one finding."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from mona_server.detect import Finding, SearchResult, search, siblings
from mona_server.detect.baselines import baselines
from mona_server.detect.search import opened
from mona_server.detect.table_columns import Coded
from mona_server.segment import Equals, OneOf, Segment
from tests.detect.tutorial import Table, verse

DAY_MS = 86_400_000
AT_MS = 20_000 * DAY_MS
NOW = datetime.fromtimestamp(AT_MS / 1000, UTC)
DAYS = 56


def moved(by: dict[str, float], *, only: str | None = None, seed: int = 0) -> Table:
    """Eight cities and four kinds; the score of some cities (of one kind only) moves in the last two weeks."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS), 500)
    length = len(day)
    city, kind = rng.integers(0, 8, length), rng.integers(0, 4, length)
    shift = np.array([by.get(name, 0.0) for name in "ABCDEFGH"])[city] * (day >= DAYS - 14)
    if only is not None:
        shift = shift * (kind == "wxyz".index(only))
    return Table(
        {
            "city": Coded(city.astype(np.int32), tuple("ABCDEFGH")),
            "kind": Coded(kind.astype(np.int32), tuple("wxyz")),
            "score": 10 + rng.normal(0, 1, length) + 0.1 * rng.normal(0, 1, DAYS)[day] + shift,
        },
        AT_MS - (DAYS - day) * DAY_MS + rng.integers(0, DAY_MS, length),
    )


def run(of: Table, type_name: str = "AverageDrift", **given: Any) -> SearchResult:
    asked = {"metrics": ["score"], "segment_by": ["city", "kind"], "min_anomaly_level": 0.1}
    asked |= {"max_false_discovery_rate": 0.05, "fold_redundant": True} | given
    return search(verse(type_name, **asked), of.source, NOW, data_start_ms=of.start_ms)


def names(result: SearchResult) -> list[str]:
    return sorted(str(signal.segment) for signal in result.signals)


def test_four_values_that_moved_alike_are_one_finding() -> None:
    """The set of values is named, with the level of all its contexts, and the values stand below it as siblings."""
    table = moved({"A": 1.0, "C": 1.0, "D": 1.0, "G": 1.0})
    (found,) = run(table).findings
    assert found.main.segment == Segment.of({"city": OneOf(("A", "C", "D", "G"))})
    assert found.main.size == sum(one.signal.size for one in found.related if one.relation == "sibling")
    assert {one.signal.segment for one in found.related if one.relation == "sibling"} == {
        Segment.of({"city": Equals(value)}) for value in "ACDG"
    }
    assert found.main.chance.passed
    assert found.main.chance.q_value is not None
    city = table.columns["city"]
    assert isinstance(city, Coded)
    inside = np.isin(city.codes, [0, 2, 3, 6]) & (table.time_ms >= AT_MS - 14 * DAY_MS)
    assert found.main.value == pytest.approx(float(np.asarray(table.columns["score"])[inside].mean()), rel=1e-12)


def test_a_set_inside_of_another_condition() -> None:
    """Three cities of one kind."""
    table = moved({"B": 1.5, "E": 1.5, "F": 1.5}, only="y")
    assert names(run(table)) == ["city in (B, E, F) and kind = y"]


def test_values_that_moved_differently_stay_apart() -> None:
    """One moved three times as far as the others; one the other way."""
    table = moved({"A": 1.0, "B": 1.0, "C": 3.0, "D": -1.0})
    assert names(run(table)) == ["city = C", "city = D", "city in (A, B)"]


@pytest.mark.parametrize(("cities", "name"), [("ABCDEFG", "kind = w"), ("ABC", "city in (A, B, C) and kind = w")])
def test_a_set_that_covers_its_parent_is_the_parent(cities: str, name: str) -> None:
    """More than 80 % of the contexts of a kind: the kind moved."""
    table = moved(dict.fromkeys(cities, 1.5), only="w")
    off: dict[str, Any] = {
        "max_false_discovery_rate": 1,
        "fold_redundant": False,
        "metrics": ["score"],
        "segment_by": ["city", "kind"],
    }
    asked = verse("AverageDrift", **off)
    plan = asked.type.plan(asked, AT_MS, table.start_ms, table.source)
    assert plan is not None
    (inside,) = baselines(asked, plan, opened(plan, table.source))
    wanted = {Segment.of({"city": Equals(city), "kind": Equals("w")}) for city in cities}
    findings = [Finding(signal) for signal in run(table, **off).signals if signal.segment in wanted]
    assert len(findings) == len(cities)
    (one,) = siblings.merge(findings, inside)
    assert str(one.main.segment) == name
    assert {related.signal.segment for related in one.related} == wanted


def test_sets_can_be_switched_off() -> None:
    """Without unions of siblings each value is told."""
    table = moved({"A": 1.0, "C": 1.0})
    assert names(run(table, create_extra_adjacent_signals=False)) == ["city = A", "city = C"]
    assert names(run(table, create_extra_adjacent_signals=True)) == ["city in (A, C)"]


def test_outliers_are_told_one_by_one() -> None:
    """Each of two values that always differ from everybody is a finding of its own."""
    table = moved({})
    city = table.columns["city"]
    assert isinstance(city, Coded)
    table.columns["score"] = np.asarray(table.columns["score"]) + 2.0 * np.isin(city.codes, [1, 2])
    assert names(run(table, "AverageOutlier", min_anomaly_level=0.5)) == ["city = B", "city = C"]
