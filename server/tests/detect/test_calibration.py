"""Nothing is found where nothing happened, what was planted is found, and twice the same.

The small versions run always; the ones of the specification (40 sets of 20 fields with 40 segments, five seeds of
100,000 rows) are slow.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from mona_server.detect.search import search
from mona_server.detect.signal import SearchResult
from mona_server.detect.table_columns import Coded, Column
from mona_server.detect.verses import VERSES, resolve
from tests.detect.tutorial import Table

DAY_MS = 86_400_000
START_MS = 19_723 * DAY_MS  # a Monday
DAYS = 56
UNTESTED = ("StandardDeviationThreshold", "SumThreshold", "SegmentSizeThreshold")
"""Facts rather than estimates: no chance is asked for."""
TESTED = tuple(name for name in VERSES if name not in UNTESTED)


def world(
    seed: int,
    rows: int,
    fields: int,
    values: int,
    *,
    season: float = 0.0,
    levels: float = 0.1,
    basket: int = 1,
    skew: float = 0.5,
) -> Table:
    """Skewed fields, a metric with heavy tails, days that are noisy for everybody; nothing changes.

    With ``basket`` > 1 so many rows of one day share a household, which has a level and half of the fields of its own.
    """
    rng = np.random.default_rng(seed)
    day_weight = np.exp(0.05 * rng.standard_normal(DAYS) + season * np.sin(2 * np.pi * np.arange(DAYS) / 7))
    household = np.arange(rows) // basket
    day = rng.choice(DAYS, household[-1] + 1, p=day_weight / day_weight.sum())[household]
    columns: dict[str, Column] = {}
    shock = 0.1 * rng.standard_normal(DAYS)
    level = shock[day] + (0.5 * rng.standard_normal(household[-1] + 1)[household] if basket > 1 else 0.0)
    for j in range(fields):
        p = 1 / (1 + np.arange(values)) ** skew
        code = rng.choice(values, rows, p=p / p.sum()).astype(np.int32)
        if j % 2 == 0:
            code = code[household * basket]
        columns[f"f{j}"] = Coded(code, tuple(f"v{i}" for i in range(values)))
        level = level + levels * rng.standard_normal(values)[code]
    metric = np.asarray(10 + level + rng.standard_t(5, rows), np.float64)
    columns["m"] = metric
    columns["sometimes"] = np.where(rng.random(rows) < 0.7 + 0.1 * np.tanh(5 * shock[day]), metric, np.nan)
    newer = rng.random(rows) < np.clip((day - 37) / 9, 0, 1)
    columns["version"] = Coded(newer.astype(np.int32), ("v1", "v2"))
    return Table(columns, START_MS + day * DAY_MS + rng.integers(0, DAY_MS, rows))


def run(table: Table, type_name: str, fields: int, **given: Any) -> SearchResult:
    """One verse with its defaults, but no least level: chance alone decides."""
    asked: dict[str, Any] = {"segment_by": [f"f{j}" for j in range(fields)], "min_anomaly_level": 0}
    if VERSES[type_name].has_metrics:
        asked["metrics"] = ["sometimes" if type_name.startswith("ExistenceRatio") else "m"]
    if type_name.endswith("Threshold"):
        # A little beyond everybody: segments differ from it by chance.
        asked |= {"threshold": 0.78 if type_name.startswith("ExistenceRatio") else 10.2, "time_period": "2w"}
    if type_name == "AverageDriftAcrossVersions":
        asked["version_field"] = "version"
    verse, problems = resolve(VERSES[type_name], asked | given, context_class="C", stanza="s")
    assert verse is not None, problems
    now = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=DAYS, minutes=30)
    return search(verse, table.source, now, data_start_ms=START_MS)


def speaks(type_name: str, seed: int, rows: int, fields: int, values: int, **given: Any) -> bool:
    """Is anything found in an unchanged set? Segments that differ all the time are outliers, so for those they do not."""
    skew = 0.0 if type_name == "SegmentSizeOutlier" else 0.5
    levels = 0.0 if VERSES[type_name].family in ("Outlier", "Threshold") else 0.1
    basket = given.pop("basket", 1)
    depth = 1 if type_name == "DistributionDrift" else 2
    table = world(seed, rows, fields, values, levels=levels, basket=basket, skew=skew)
    return bool(run(table, type_name, fields, max_segment_depth=depth, **given).findings)


def plant(table: Table, by: float, seed: int) -> str:
    """Move the metric in the last two weeks in a two-way segment of about 0.5 % of the rows; its canonical text."""
    rng = np.random.default_rng(seed)
    first, second = table.columns["f0"], table.columns["f1"]
    assert isinstance(first, Coded)
    assert isinstance(second, Coded)
    counts = np.zeros((len(first.values), len(second.values)))
    np.add.at(counts, (first.codes, second.codes), 1)
    a, b = np.unravel_index(
        np.argsort(np.abs(counts / len(first.codes) - 0.005), axis=None)[rng.integers(3)], counts.shape
    )
    inside = (first.codes == a) & (second.codes == b) & (table.time_ms >= START_MS + (DAYS - 14) * DAY_MS)
    values = table.columns["m"]
    assert isinstance(values, np.ndarray)
    table.columns["m"] = np.where(inside, values + by, values)
    return f'{{"f0": [{{"value": "v{a}"}}], "f1": [{{"value": "v{b}"}}]}}'


@pytest.mark.parametrize("type_name", TESTED)
def test_unchanged_data_is_silent(type_name: str) -> None:
    """Four unchanged sets, no finding in any (each may have one with 5 %)."""
    assert sum(speaks(type_name, seed, 15_000, 5, 8) for seed in range(4)) <= 1


@pytest.mark.parametrize(
    "type_name",
    ["AverageDrift", "StandardDeviationDrift", "AverageOutlier", "ExistenceRatioOutlier", "NewSegments"],
)
def test_households_are_no_findings(type_name: str) -> None:
    """Ten rows of a day belong together: what one household does is one event, not ten."""
    assert sum(speaks(type_name, seed, 15_000, 6, 12, basket=10) for seed in range(4)) <= 1


def test_what_fields_let_expect_fits_its_own_past_best_and_that_is_no_wider_spread() -> None:
    """480 values learnt from 4,500 rows leave squares a tenth too small there, and a tenth too large in later rows."""
    found = [run(world(seed, 6_000, 12, 40), "StandardDeviationDrift", 12, max_segment_depth=1) for seed in range(6)]
    assert sum(bool(result.findings) for result in found) <= 1


@pytest.mark.parametrize("type_name", ["SegmentSizeDrift", "SegmentSizeSuddenChange", "SumDrift"])
def test_seasons_are_no_findings(type_name: str) -> None:
    """Eight weeks with nothing but a strong weekly rhythm."""
    found = [run(world(seed, 12_000, 3, 6, season=0.5), type_name, 3, max_segment_depth=2).findings for seed in (1, 2)]
    assert not any(found), found


def test_a_planted_change_is_found_once_and_nothing_else() -> None:
    """One standard deviation in one two-way segment of 75 judged contexts, by exactly its name."""
    table = world(11, 60_000, 5, 12)
    text = plant(table, 1.3, 11)
    result = run(table, "AverageDrift", 5)
    assert [finding.main.segment.text for finding in result.findings] == [text]
    assert result.findings[0].main.chance.q_value is not None
    assert result.findings[0].main.chance.q_value < 0.05
    assert result.report.expected_false == 0.05


def test_the_same_data_gives_the_same_bits() -> None:
    """Twice the same signals, to the last digit, and for any order of the rows the same findings."""
    table = world(12, 30_000, 4, 8)
    plant(table, 1.5, 12)
    first, second = (run(table, "AverageDrift", 4) for _ in range(2))
    assert first.findings
    assert [s.to_json() for s in first.signals] == [s.to_json() for s in second.signals]
    order = np.random.default_rng(0).permutation(len(table.time_ms))
    turned = {
        name: Coded(c.codes[order], c.values) if isinstance(c, Coded) else c[order]  # type: ignore[index]
        for name, c in table.columns.items()
        if name != "MONA_TIMESTAMP"
    }
    other = run(Table(turned, table.time_ms[order]), "AverageDrift", 4)
    assert [s.segment for s in other.signals] == [s.segment for s in first.signals]
    assert [s.level for s in other.signals] == pytest.approx([s.level for s in first.signals], rel=1e-12)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("type_name", TESTED)
def test_forty_unchanged_sets_of_twenty_fields_with_forty_segments(type_name: str) -> None:
    """At most 5 % of the sets hold any finding. Segments of 0.1 % of the rows: smaller ones only use up the rate."""
    least = 1 if type_name == "NewSegments" else 50
    assert sum(speaks(type_name, seed, 50_000, 20, 40, min_segment_size=least) for seed in range(40)) <= 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_a_small_shift_in_half_a_percent_of_the_rows_is_found(seed: int) -> None:
    """0.3 standard deviations in one two-way segment of 0.5 % of 100,000 judged rows, and nothing else."""
    table = world(seed, 400_000, 8, 10)
    values = table.columns["m"]
    assert isinstance(values, np.ndarray)
    text = plant(table, 0.3 * float(values.std()), seed)
    result = run(table, "AverageDrift", 8, max_segment_depth=2)
    assert [finding.main.segment.text for finding in result.findings] == [text]
