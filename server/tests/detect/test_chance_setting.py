"""What a verse asks of the evidence: its frames, what they are compared with, and the law of everybody's rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from mona_server.detect.chance_setting import law_of_rows, mature_target, setting_of, windows_of
from mona_server.detect.gate import Inside
from mona_server.detect.search import opened
from mona_server.detect.shape import Shape
from mona_server.detect.table_columns import Coded
from mona_server.segment import ALL, Equals, Segment
from tests.detect.tutorial import Table, verse

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
AT_MS = 20_000 * DAY_MS
METRICS = ["score", "late"]


def table(
    first_ms: int = AT_MS - 56 * DAY_MS, until_ms: int = AT_MS, every_ms: int = HOUR_MS, gap_days: tuple[int, ...] = ()
) -> Table:
    """A context at each full hour, with a field and two skewed metrics; none on the days that are so many days ago."""
    time_ms = np.arange(first_ms, until_ms, every_ms)
    time_ms = time_ms[~np.isin((AT_MS - 1 - time_ms) // DAY_MS + 1, gap_days)]
    rng = np.random.default_rng(1)
    values = rng.gamma(2.0, 10.0, (2, len(time_ms)))
    field = Coded((np.arange(len(time_ms)) % 3).astype(np.int32), ("x", "y", "z"))
    return Table({"field": field, "score": values[0], "late": values[1]}, time_ms)


def inside_of(data: Table, type_name: str, metrics: list[str] | None = None, **given: Any) -> Inside:
    if not type_name.startswith("SegmentSize"):
        given["metrics"] = metrics or ["score"]
    asked = verse(type_name, segment_by=["field"], **given)
    plan = asked.type.plan(asked, AT_MS, data.start_ms, data.source)
    assert plan is not None
    source = opened(plan, data.source)
    return Inside(asked, plan, source, source.sums(()), ALL, (0,))


def days_ago(inside: Inside, frames: np.ndarray) -> list[float]:
    """How long before the end of the window each frame begins."""
    return [float(ms) for ms in (AT_MS - inside.plan.bounds_ms[frames, 0]) / DAY_MS]


def test_a_drift_is_judged_against_the_days_before() -> None:
    """Two weeks against the six before, with a weekly season; none where the reference has less than two weeks."""
    inside = inside_of(table(), "AverageDrift", target_set_period="14d", benchmark_set_period="42d")
    windows = windows_of(inside.plan, inside.verse)
    assert days_ago(inside, windows.target) == list(range(14, 0, -1))
    assert days_ago(inside, windows.reference) == list(range(56, 14, -1))
    assert windows.cycle == 7
    short = inside_of(table(), "AverageDrift", target_set_period="14d", benchmark_set_period="13d")
    assert windows_of(short.plan, short.verse).cycle == 1


def test_a_day_that_began_before_the_data_tells_nothing() -> None:
    """Half of a first day is no frame of the reference."""
    inside = inside_of(table(AT_MS - 30 * DAY_MS + 12 * HOUR_MS), "SegmentSizeDrift", target_set_period="7d")
    assert days_ago(inside, windows_of(inside.plan, inside.verse).reference)[0] == 29


def test_a_sudden_change_is_judged_by_its_last_frame() -> None:
    """The last day against those before; hours have a season of a day, once there are more than two."""
    days = inside_of(table(), "AverageSuddenChange", time_resolution="1d", time_series_points=20)
    windows = windows_of(days.plan, days.verse)
    assert days_ago(days, windows.target) == [1]
    assert days_ago(days, windows.reference) == list(range(20, 1, -1))
    assert windows.cycle == 7
    for points, cycle in ((48, 1), (49, 24)):
        hours = inside_of(table(), "AverageSuddenChange", time_resolution="1h", time_series_points=points)
        windows = windows_of(hours.plan, hours.verse)
        assert len(windows.reference) == points - 1
        assert windows.cycle == cycle


def test_days_without_any_context_count_for_sizes_alone() -> None:
    """Empty days at the ends of the windows: means are told by the days that have one, sizes by all.

    Of the two weeks of the reference one day is empty, so means have no weekly season left.
    """
    data = table(gap_days=(1, 2, 3, 4, 28))
    for type_name, last, first, cycle in (("AverageDrift", 5, 27, 1), ("SegmentSizeDrift", 1, 28, 7)):
        inside = inside_of(data, type_name, target_set_period="14d", benchmark_set_period="14d")
        setting = setting_of(inside, 0.05)
        assert setting is not None
        assert days_ago(inside, setting.windows.target) == list(range(14, last - 1, -1))
        assert days_ago(inside, setting.windows.reference) == list(range(first, 14, -1))
        assert setting.windows.cycle == cycle


@pytest.mark.parametrize(
    ("type_name", "given", "comparison"),
    [
        ("AverageDrift", {}, "reference"),
        ("SegmentSizeDrift", {}, "reference"),
        ("SumSuddenChange", {}, "reference"),
        ("AverageOutlier", {}, "everybody"),
        ("ExistenceRatioOutlier", {}, "everybody"),
        ("AverageThreshold", {"threshold": 1000, "time_period": "14d"}, "threshold"),
        ("AverageThreshold", {"threshold": 1, "time_period": "14d"}, "everybody"),
        ("SumThreshold", {"threshold": 1, "time_period": "14d"}, None),
        ("SegmentSizeThreshold", {"threshold": 1, "time_period": "14d"}, None),
        ("StandardDeviationThreshold", {"threshold": 1, "time_period": "14d"}, None),
        ("AverageThreshold", {"threshold": 1000, "metrics": METRICS}, None),
        ("SegmentSizeOutlier", {}, None),
        ("AverageDrift", {"benchmark_set_period": "2d"}, None),
    ],
)
def test_what_segments_are_compared_with(type_name: str, given: dict[str, Any], comparison: str | None) -> None:
    """With their past, with everybody or with the limit, from which everybody may be far; else frames cannot tell."""
    setting = setting_of(inside_of(table(), type_name, **given), 0.02)
    assert (setting and setting.comparison) == comparison
    if setting is None:
        return
    assert setting.rate == 0.02
    assert (len(setting.windows.reference) > 0) == (comparison == "reference")
    assert setting.metrics == (() if type_name.startswith("SegmentSize") else (0,))


def test_a_limit_is_told_from_where_sums_are_counted() -> None:
    """Sums are kept around an offset, so the limit of a mean is too; the limit of a share of contexts is not."""
    data = table()
    mean = inside_of(data, "AverageThreshold", threshold=1000)
    setting = setting_of(mean, 0.05)
    assert setting is not None
    assert mean.source.offsets[0] > 0
    assert setting.threshold + mean.source.offsets[0] == pytest.approx(1000)
    share = setting_of(inside_of(data, "ExistenceRatioThreshold", threshold=0.5, over_threshold=False), 0.05)
    assert share is not None
    assert share.threshold == 0.5


def test_what_is_new_explains_sizes_alone() -> None:
    """New segments take the contexts of others, not their values."""
    new = Segment.of({"field": (Equals("x"),)})
    for type_name, known in (("SegmentSizeDrift", (new,)), ("SumDrift", (new,)), ("AverageDrift", ())):
        setting = setting_of(inside_of(table(), type_name), 0.05, [new])
        assert setting is not None
        assert setting.known == known


@pytest.mark.parametrize(
    ("there", "judged"),
    [
        ({1: 0.0, 2: 0.0}, 12),
        ({1: 0.4}, 13),
        ({1: 0.6}, 14),
        ({1: 0.9, 2: 0.0}, 14),
        (dict.fromkeys(range(1, 15), 0.0), 14),
    ],
    ids=["two late days", "most is missing", "most is there", "a hole before the end", "nothing came"],
)
def test_judged_days_whose_values_are_still_arriving_are_left_out(there: dict[int, float], judged: int) -> None:
    """Days at the end with less than half of the usual share of values; of two metrics, the later one decides."""
    data = table(every_ms=HOUR_MS // 10)
    values = np.array(data.columns["late"])
    for day, share in there.items():
        begin = np.searchsorted(data.time_ms, AT_MS - day * DAY_MS)
        values[begin + round(240 * share) : begin + 240] = np.nan
    data.columns["late"] = values
    for metrics in (["late"], METRICS):
        inside = inside_of(data, "AverageDrift", metrics, target_set_period="14d", benchmark_set_period="28d")
        setting = setting_of(inside, 0.05)
        assert setting is not None
        assert days_ago(inside, mature_target(inside, setting)) == list(range(14, 14 - judged, -1))
    followed = inside_of(data, "ExistenceRatioDrift", ["late"], target_set_period="14d", benchmark_set_period="28d")
    setting = setting_of(followed, 0.05)
    assert setting is not None
    assert len(mature_target(followed, setting)) == 14


def test_the_law_of_rows_is_that_of_the_judged_values() -> None:
    """Variance, skewness and excess kurtosis of what the mean is taken of, in the judged frames; none beyond a limit."""
    data = table()
    data.columns["score"] = np.where(data.time_ms < AT_MS - 14 * DAY_MS, 1e6, np.array(data.columns["score"]))
    judged = np.array(data.columns["score"])[data.time_ms >= AT_MS - 14 * DAY_MS]
    for type_name, rows in (
        ("AverageOutlier", judged),
        ("StandardDeviationOutlier", (judged - judged.mean()) ** 2),
    ):
        inside = inside_of(data, type_name, time_period="14d")
        setting = setting_of(inside, 0.05)
        assert setting is not None
        law = law_of_rows(inside, setting, 0)
        assert law.variance == pytest.approx(np.var(rows))
        assert law.skewness == pytest.approx(stats.skew(rows))
        assert law.kurtosis == pytest.approx(stats.kurtosis(rows))
    inside = inside_of(data, "AverageThreshold", threshold=1e5, time_period="14d")
    setting = setting_of(inside, 0.05)
    assert setting is not None
    assert setting.comparison == "threshold"
    assert law_of_rows(inside, setting, 0) == Shape()
