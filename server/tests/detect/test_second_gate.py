"""The second gate: what is no chance, what is told elsewhere, what only repeats, and which frames count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mona_server.detect import SearchResult
from mona_server.detect.signal import Signal
from mona_server.detect.table_columns import Coded
from mona_server.segment import Equals, Segment
from tests.detect.ten_weeks import AT_MS, DAY_MS, DAYS, codes, names, recent, run, table
from tests.detect.tutorial import Table


@pytest.mark.parametrize(
    "type_name", ["AverageDrift", "SumDrift", "SegmentSizeDrift", "AverageSuddenChange", "StandardDeviationDrift"]
)
def test_nothing_happened_nothing_is_said(type_name: str) -> None:
    """Days with shocks of their own: at most one of eight sets has a finding; what is held back says why."""
    found = 0
    for seed in range(10, 18):
        result = run(table(seed), type_name)
        found += bool(result.findings)
        for signal in result.held_back:
            gate = signal.to_json()["gates"]["chance"]
            assert not gate["passed"]
            assert gate["reason"]
            assert 0 <= gate["p_value"] <= gate["q_value"] <= 1
    assert found <= 1


def test_one_planted_change_is_one_finding() -> None:
    """A shift in one segment of two fields: that segment, its relatives folded under it."""
    for seed in range(5):
        data = table(seed)
        inside = recent(data) & (codes(data, "a") == 1) & (codes(data, "b") == 2)
        data.columns["score"] = np.asarray(data.columns["score"]) + 0.6 * inside
        result = run(data)
        assert names(result) == ["a = B and b = y"]
        main = result.signals[0]
        assert main.chance.passed
        assert main.chance.q_value is not None
        assert main.chance.q_value < 0.01
        assert {one.signal.folded_into for one in result.findings[0].related} <= {main.id}


@pytest.mark.parametrize("days_ago", [1, 6])
def test_a_burst_of_one_day_is_no_drift(days_ago: int) -> None:
    """It is held back and says why; on its day it is a sudden change. The same total over all judged days is a drift."""
    data = table(3)
    inside = (codes(data, "a") == 1) & (codes(data, "b") == 2)
    score = np.asarray(data.columns["score"])
    on_day = recent(data, days_ago) & ~recent(data, days_ago - 1)
    data.columns["score"] = score + 12.0 * (inside & on_day)
    result = run(data)
    assert not result.findings
    reasons = {str(signal.segment): signal.to_json()["gates"]["chance"]["reason"] for signal in result.held_back}
    assert reasons["a = B and b = y"].startswith("one frame alone")
    if days_ago == 1:
        assert names(run(data, "AverageSuddenChange")) == ["a = B and b = y"]
    data.columns["score"] = score + 12.0 / 14 * (inside & recent(data))
    assert names(run(data)) == ["a = B and b = y"]


def test_everybody_moved_is_said_of_everybody() -> None:
    """Not of the parts."""
    data = table()
    data.columns["score"] = np.asarray(data.columns["score"]) + 1.0 * recent(data)
    assert names(run(data)) == ["all data"]


@pytest.mark.parametrize("seed", range(3))
def test_a_wider_spread_of_one_percent_of_the_rows_is_found(seed: int) -> None:
    """By a factor of 1.5, in 1 % of 42,000 rows; nothing else is said."""
    data = table(seed, per_day=600)
    rare = np.random.default_rng(seed).choice(8, len(data.time_ms), p=[0.01, 0.14, *[0.85 / 6] * 6])
    data.columns["c"] = Coded(rare.astype(np.int32), tuple("ABCDEFGH"))
    score = data.columns["score"]
    assert isinstance(score, np.ndarray)
    score[recent(data) & (rare == 0)] *= 1.5
    assert names(run(data, "StandardDeviationDrift", segment_by=["a", "b", "c"])) == ["c = A"]


def by_price(seed: int) -> Table:
    """The level of each value of a lies far from those of others."""
    data = table(seed)
    data.columns["score"] = np.asarray(data.columns["score"]) + np.array([0.0, 0.0, 1.0, 1.0, 5.0])[codes(data, "a")]
    return data


def noisier(data: Table, rng: np.random.Generator) -> None:
    """Values spread wider, and fields explain most of them."""
    score = data.columns["score"]
    assert isinstance(score, np.ndarray)
    score[recent(data)] += rng.normal(0, 0.8, int(recent(data).sum()))


def more_of_a_far_level(data: Table, rng: np.random.Generator) -> None:
    """Everybody's values spread wider, those of no segment do."""
    score, a = data.columns["score"], codes(data, "a")
    assert isinstance(score, np.ndarray)
    moved = recent(data) & (a < 2) & (rng.random(len(a)) < 0.3)
    a[moved], score[moved] = 4, score[moved] + 5.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("change", "said"), [(noisier, True), (more_of_a_far_level, False)])
def test_a_wider_spread_of_everybody_is_said_of_everybody(
    change: Callable[[Table, np.random.Generator], None], said: bool, seed: int
) -> None:
    """Also where fields explain most of it; but a change of mix is not a change."""
    data = by_price(seed)
    change(data, np.random.default_rng(seed))
    assert ("all data" in names(run(data, "StandardDeviationDrift"))) is said


@pytest.mark.parametrize("seed", range(6))
def test_rows_that_spread_wider_than_before_are_no_change_of_their_mean(seed: int) -> None:
    """Their noise is that of the judged rows, not of those before."""
    data = table(seed)
    score = data.columns["score"]
    assert isinstance(score, np.ndarray)
    wide = recent(data) & (codes(data, "a") == 1)
    score[wide] += np.random.default_rng(seed).normal(0, 8, int(wide.sum()))
    assert set(names(run(data))) <= {"all data"}


def test_one_segment_that_moved_far_is_no_storm_for_the_others() -> None:
    """Everybody's mean moves with a large segment, so all others move alike beside it: a small one still stands out."""
    data = table(4)
    score = data.columns["score"]
    assert isinstance(score, np.ndarray)
    large, small = (
        recent(data) & (codes(data, "b") == 0),
        recent(data) & (codes(data, "a") == 2) & (codes(data, "b") == 3),
    )
    score[large] += 6.0
    score[small] -= 0.6
    assert set(names(run(data))) == {"b = w", "a = C and b = z"}


def purchases(seed: int) -> Table:
    """Ten weeks of purchases: all lines of a basket share the store, the household and the number of lines."""
    rng = np.random.default_rng(seed)
    lines = rng.geometric(0.08, 1_500)
    basket = np.repeat(np.arange(len(lines)), lines)
    day = rng.integers(0, DAYS, len(lines))[basket]
    order = np.argsort(day, kind="stable")
    basket, day = basket[order], day[order]
    store, home = (rng.integers(0, size, len(lines)).astype(np.int32)[basket] for size in (40, 30))
    names_of = {"a": tuple(f"s{k}" for k in range(40)), "b": tuple(f"h{k}" for k in range(30))}
    columns: dict[str, Any] = {
        "a": Coded(store, names_of["a"]),
        "b": Coded(home, names_of["b"]),
        "score": lines[basket].astype(float),
    }
    return Table(columns, AT_MS - (DAYS - day) * DAY_MS + rng.integers(0, DAY_MS, len(day)))


@pytest.mark.parametrize("seed", range(4))
def test_a_few_baskets_are_no_change(seed: int) -> None:
    """A hundred rows of three baskets are three draws: what is known of their noise is next to nothing."""
    assert set(names(run(purchases(seed)))) <= {"all data"}


def test_the_gate_can_be_switched_off() -> None:
    """Rate 1 and no folding: every candidate that passes the level, and no test."""
    off = run(table(), max_false_discovery_rate=1, fold_redundant=False, min_anomaly_level=0)
    assert len(off.signals) == 1 + 5 + 4 + 20
    assert off.held_back == ()
    assert off.report.expected_false is None
    assert {signal.chance.method for signal in off.signals} == {"off"}


def test_folding_without_a_test() -> None:
    """With the gate off a child without more of it, and a parent that lives from it, fold under the strongest."""
    data = table()
    inside = recent(data) & (codes(data, "a") == 1)
    data.columns["score"] = np.asarray(data.columns["score"]) + 3.0 * inside
    result = run(data, max_false_discovery_rate=1, min_anomaly_level=0.4)
    assert names(result) == ["a = B"]
    assert {one.relation for one in result.findings[0].related} <= {"child", "parent", "overlap"}


@pytest.mark.parametrize("seed", range(3))
def test_sizes_that_only_what_is_new_enlarges_are_not_told_whatever_the_level(seed: int) -> None:
    """Contexts of the pair were added, nothing else happened: the parents grew, all others shrank beside them."""
    data = table(seed)
    a, b = codes(data, "a"), codes(data, "b")
    kept = ~((a == 1) & (b == 2) & ~recent(data))
    columns: dict[str, Any] = {"a": Coded(a[kept], tuple("ABCDE")), "b": Coded(b[kept], tuple("wxyz"))}
    new = Segment.of({"a": Equals("B"), "b": Equals("y")})
    grown = Table(columns, data.time_ms[kept])
    assert names(run(grown, "SegmentSizeDrift", min_anomaly_level=0, known=[new])) == []


def test_a_size_that_only_what_is_new_enlarges_is_told_once() -> None:
    """Known new segments explain their parents."""
    data = table()
    a, b = codes(data, "a"), codes(data, "b")
    pair = (a == 1) & (b == 2)
    data.columns["b"] = Coded(np.where(pair & ~recent(data), 3, b).astype(np.int32), tuple("wxyz"))
    new = Segment.of({"a": Equals("B"), "b": Equals("y")})
    assert names(run(data, "NewSegments")) == [str(new)]
    without = {signal.segment for signal in run(data, "SegmentSizeDrift").signals}
    with_known = {signal.segment for signal in run(data, "SegmentSizeDrift", known=[new]).signals}
    assert Segment.of({"b": Equals("y")}) in without
    assert Segment.of({"b": Equals("y")}) not in with_known


def test_a_new_value_is_new_once() -> None:
    """Its combinations with others are folded under it."""
    data = table()
    a = codes(data, "a").copy()
    a[recent(data) & (np.arange(len(a)) % 20 == 0)] = 5
    data.columns["a"] = Coded(a, tuple("ABCDEF"))
    (finding,) = run(data, "NewSegments").findings
    assert str(finding.main.segment) == "a = F"
    assert len(finding.related) == 4
    assert {one.relation for one in finding.related} == {"child"}


def test_rare_combinations_are_not_new() -> None:
    """Thousands of possible combinations, a few contexts each: some are seen for the first time by chance."""
    rng = np.random.default_rng(1)
    data = table()
    length = len(data.time_ms)
    for name in ("c", "d"):
        data.columns[name] = Coded(rng.integers(0, 60, length).astype(np.int32), tuple(f"{name}{i}" for i in range(60)))
    result = run(data, "NewSegments", segment_by=["c", "d"], min_anomaly_level=0)
    assert result.report.passed_level > 50
    assert names(result) == []


def baskets(days: int) -> Table:
    """Shopping: the pair (A, w) was never seen before; 60 contexts of it on so many of the last 28 days."""
    data = table(per_day=400)
    pair = (codes(data, "a") == 0) & (codes(data, "b") == 0)
    data.columns["b"] = Coded(np.where(pair, 1, codes(data, "b")).astype(np.int32), tuple("wxyz"))
    day = (AT_MS - data.time_ms - 1) // DAY_MS
    b = codes(data, "b").copy()
    for back in np.linspace(0, 27, days).astype(int):
        b[np.flatnonzero((day == back) & pair)[: 60 // days]] = 0
    data.columns["b"] = Coded(b, tuple("wxyz"))
    return data


@pytest.mark.parametrize(("days", "found"), [(1, []), (3, []), (15, ["a = A and b = w"])])
def test_what_one_customer_does_on_one_day_is_one_event(days: int, found: list[str]) -> None:
    """A combination of known values in many contexts of a few days is a coincidence, on many days it is new."""
    assert names(run(baskets(days), "NewSegments", min_anomaly_level=0)) == found


def test_a_value_of_its_own_is_new_on_its_first_day() -> None:
    """A version that was deployed yesterday: its days count from the first one."""
    data = table()
    last = recent(data, 1) & (np.arange(len(data.time_ms)) % 3 == 0)
    data.columns["a"] = Coded(np.where(last, 5, codes(data, "a")).astype(np.int32), tuple("ABCDEF"))
    assert names(run(data, "NewSegments")) == ["a = F"]


def test_a_hard_limit_needs_no_evidence() -> None:
    """The baseline's violation is reported whatever chance says; segments inside of it are tested."""
    data = table()
    result = run(data, "AverageThreshold", threshold=-10, time_period="1w")
    assert names(result) == ["all data"]
    inside = recent(data, 7) & (codes(data, "a") == 1)
    data.columns["score"] = np.asarray(data.columns["score"]) + 4.0 * inside
    result = run(data, "AverageThreshold", threshold=2.0, time_period="1w")
    assert names(result) == ["a = B"]


def test_an_outlier_is_told_from_noise() -> None:
    """One value differs from everybody in every week."""
    data = table()
    data.columns["score"] = np.asarray(data.columns["score"]) + 0.8 * (codes(data, "b") == 3)
    assert names(run(data, "AverageOutlier", min_anomaly_level=0.2)) == ["b = z"]


def test_late_values_are_no_change() -> None:
    """Labels that arrive with delay, the early ones lower: the last frames are left out, and the finding says so."""
    data = table()
    score = np.asarray(data.columns["score"]).copy()
    rng = np.random.default_rng(5)
    young = recent(data, 4)
    early = young & (rng.random(len(score)) < 0.1)
    score[young] = np.nan
    score[early] = -6.0
    data.columns["score"] = score
    assert names(run(data)) == []
    inside = recent(data) & (codes(data, "a") == 1)
    data.columns["score"] = score + 1.5 * inside
    result = run(data)
    assert names(result) == ["a = B"]
    assert "4 judged frames left out" in result.signals[0].chance.reason


def test_baselines_share_the_rate() -> None:
    """Split into baselines, the expected number of false findings stays the verse's."""
    result = run(table(), always_segment_baseline_by=["b"], segment_by=["a"])
    assert result.report.expected_false == pytest.approx(0.05)
    assert names(result) == []


def test_a_shape_that_changed() -> None:
    """Same mean, two humps: DistributionDrift finds it where it is, not by chance elsewhere."""
    data = table(per_day=200)
    score = np.asarray(data.columns["score"]).copy()
    inside = recent(data) & (codes(data, "a") == 1)
    score[inside] = np.sign(score[inside]) * 1.0 + score[inside] * 0.1
    data.columns["score"] = score
    result = run(data, "DistributionDrift", segment_by=["a"], min_anomaly_level=0.1)
    assert names(result)[0] == "a = B"
    assert len(result.findings) == 1


def test_the_same_table_gives_the_same_bits() -> None:
    """Twice the same search: equal to the last digit, q-values included."""

    def numbers(result: SearchResult) -> list[tuple[Any, ...]]:
        every: list[Signal] = [*result.signals, *result.held_back]
        return [(s.id, s.level, s.score, s.chance.q_value, s.chance.passed) for s in every]

    assert numbers(run(table(3))) == numbers(run(table(3)))


def test_a_daily_run_that_fails_twice_is_no_change() -> None:
    """A job that comes exactly once a day has no noise to speak of; a count is known to one context all the same."""
    rng = np.random.default_rng(6)
    data = table(6)
    kept = rng.random(len(data.time_ms)) < 0.9

    def with_jobs(missing: int) -> Table:
        daily = np.tile(AT_MS - np.arange(DAYS, 0, -1) * DAY_MS + 1, 30)
        job = np.repeat(np.arange(30), DAYS)
        run_at = (job > 0) | (np.tile(np.arange(DAYS), 30) < DAYS - missing)
        kind = np.concatenate([np.full(kept.sum(), 30), job[run_at]]).astype(np.int32)
        labels = (*(f"job{k}" for k in range(30)), "other")
        return Table({"a": Coded(kind, labels)}, np.concatenate([data.time_ms[kept], daily[run_at]]))

    asked: dict[str, Any] = {"segment_by": ["a"], "min_segment_size_fraction": 0.0005}
    assert names(run(with_jobs(2), "SegmentSizeDrift", **asked)) == []
    assert names(run(with_jobs(9), "SegmentSizeDrift", **asked)) == ["a = job0"]


def test_a_size_among_siblings_is_told_from_counting_noise() -> None:
    """Sixty values, all as frequent: some are two standard deviations larger by chance; one is larger indeed."""
    rng = np.random.default_rng(4)
    data = table()
    length = len(data.time_ms)
    code = rng.integers(0, 60, length).astype(np.int32)
    data.columns["c"] = Coded(code, tuple(f"c{i}" for i in range(60)))
    result = run(data, "SegmentSizeOutlier", segment_by=["c"], min_anomaly_level=2)
    assert result.report.passed_level > 0
    assert names(result) == []
    assert all(signal.chance.q_value is not None for signal in result.held_back)
    code = np.where(rng.random(length) < 0.02, 7, code).astype(np.int32)
    data.columns["c"] = Coded(code, tuple(f"c{i}" for i in range(60)))
    assert names(run(data, "SegmentSizeOutlier", segment_by=["c"], min_anomaly_level=2)) == ["c = c7"]
