"""The search: which segments are candidates, inside of which baselines, and how they are named."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from mona_server.detect import SearchResult, search
from mona_server.detect.candidates import Limits, Tally, blocks
from mona_server.detect.levels import INFINITE
from mona_server.detect.source import AxisRequest, GroupSums, SourceQuestion, SumsSource
from mona_server.detect.table_columns import Coded, Elements, coded
from mona_server.detect.table_source import Segmentations, TableSource
from mona_server.segment import ALL, Equals, Range, Segment
from tests.detect.tutorial import Table, verse

DAY_MS = 86_400_000
AT_MS = 20_000 * DAY_MS
NOW = datetime.fromtimestamp(AT_MS / 1000, UTC)


def people(days: int = 70, per_day: int = 40, seed: int = 0) -> Table:
    """Rows of cities in states, ages and a score; every city lies in one state."""
    rng = np.random.default_rng(seed)
    length = days * per_day
    city = rng.integers(0, 6, length)
    age = rng.uniform(0, 50, length)
    age[rng.random(length) < 0.1] = np.nan
    return Table(
        {
            "city": Coded(city.astype(np.int32), tuple("ABCDEF")),
            "state": Coded((city // 3).astype(np.int32), ("north", "south")),
            "kind": coded([["x", "y", None][i] for i in rng.integers(0, 3, length)]),
            "age": age,
            "score": rng.normal(0, 1, length),
        },
        np.sort(AT_MS - rng.integers(1, days * DAY_MS, length)),
    )


def run(table: Table, type_name: str = "AverageDrift", **given: Any) -> SearchResult:
    if not type_name.startswith(("SegmentSize", "New")):
        given = {"metrics": ["score"]} | given
    asked = verse(type_name, **({"min_anomaly_level": 0} | given))
    segmentations: Segmentations = {("age", None): (*(Range(10 * i, 10 * i + 10) for i in range(5)), Equals(None))}

    def source(question: SourceQuestion) -> SumsSource:
        return TableSource(table.columns, table.time_ms, question, segmentations)

    return search(asked, source, NOW, data_start_ms=table.start_ms)


def texts(result: SearchResult) -> set[str]:
    return {str(signal.segment) for signal in result.signals}


def test_all_values_and_intersections_are_candidates() -> None:
    """Each value of each field, missing ones included, each pair, and everybody."""
    found = texts(run(people(), segment_by=["city", "kind"]))
    assert len(found) == 1 + 6 + 3 + 18
    assert {"all data", "kind is missing", "city = A and kind = x"} <= found


def test_depth_bounds_the_intersections() -> None:
    """With depth 1 there are no pairs."""
    assert len(texts(run(people(), segment_by=["city", "kind"], max_segment_depth=1))) == 1 + 6 + 3


def test_missing_can_be_left_out() -> None:
    """No segment of a missing value, in pairs neither."""
    found = texts(run(people(), segment_by=["city", "kind"], avoid_segmenting_on_missing=True))
    assert not any("missing" in text for text in found)


def test_a_metric_is_not_searched_in_its_own_segments() -> None:
    """Unless the verse wants it."""
    given: dict[str, Any] = {"metrics": ["age"], "segment_by": ["age", "city"], "create_extra_adjacent_signals": False}
    assert not any("age" in text for text in texts(run(people(), **given)))
    allowed = texts(run(people(), **given, avoid_same_field_for_segment_and_metric=False))
    assert "10 <= age < 20" in allowed


def test_neighbouring_buckets_are_united() -> None:
    """Two touching buckets make one more candidate; missing is no neighbour."""
    found = {s.segment for s in run(people(), segment_by=["age"]).signals}
    assert Segment.of({"age": Range(0, 20)}) in found
    assert Segment.of({"age": Range(30, 50)}) in found
    assert len(found) == 1 + 6 + 4
    alone = run(people(), segment_by=["age"], create_extra_adjacent_signals=False)
    assert len(alone.signals) == 1 + 6


def test_unions_have_the_sums_of_both_buckets() -> None:
    """The level of a union is that of its contexts."""
    table = people()
    union = next(s for s in run(table, segment_by=["age"]).signals if s.segment == Segment.of({"age": Range(0, 20)}))
    table.columns["young"] = coded([bool(a < 20) if a == a else None for a in np.asarray(table.columns["age"])])
    young = next(
        s for s in run(table, segment_by=["young"]).signals if s.segment == Segment.of({"young": Equals(True)})
    )
    assert union.level == pytest.approx(young.level, rel=1e-12)
    assert (union.size, union.ratio) == (young.size, young.ratio)


def test_children_that_repeat_their_parent_are_left_out() -> None:
    """A city lies in one state, so city and state together say no more than the city."""
    table = people()
    assert len(texts(run(table, segment_by=["city", "state"]))) == 1 + 6 + 2 + 6
    question = SourceQuestion((AxisRequest("city"), AxisRequest("state")), (), (AT_MS - 70 * DAY_MS, AT_MS))
    source, tally = table.source(question), Tally()
    found = list(blocks(source, (0, 1), source.sums(()), Limits(depth=3, min_size=4), tally))
    assert [len(block) for block in found] == [6, 2]
    assert tally.pruned == 6


def test_a_segment_equal_to_its_baseline_is_no_candidate() -> None:
    """A field with one value adds nothing."""
    table = people()
    table.columns["same"] = Coded(np.zeros(len(table.time_ms), np.int32), ("s",))
    assert texts(run(table, segment_by=["same"])) == {"all data"}


def test_small_segments_are_left_out() -> None:
    """By contexts, by share, and by the size in one of the sets."""
    table = people()
    everything = run(table, segment_by=["city", "kind"]).signals
    for given in (
        {"min_segment_size": 200},
        {"max_segment_size": 200},
        {"min_segment_size_fraction": 0.1},
        {"max_segment_size_fraction": 0.1},
        {"target_min_segment_size": 60},
        {"benchmark_max_segment_size": 150},
        {"baseline_min_segment_size": 10_000},
    ):
        kept = {s.segment for s in run(table, segment_by=["city", "kind"], **given).signals}
        name, limit = next(iter(given.items()))
        wanted = set()
        for s in everything:
            number = (
                s.ratio
                if "fraction" in name
                else s.target_size
                if name.startswith("target")
                else s.benchmark_size
                if name.startswith("benchmark")
                else s.baseline_size
                if name.startswith("baseline")
                else s.size
            )
            if number <= limit if "max" in name else number >= limit:
                wanted.add(s.segment)
        assert kept == wanted, name
        assert kept != {s.segment for s in everything}


def test_deep_segments_need_support() -> None:
    """Three fields together need fifty contexts."""
    result = run(people(), segment_by=["city", "kind", "age"], create_extra_adjacent_signals=False)
    deep = [s for s in result.signals if len(s.segment) == 3]
    assert all(s.size >= 50 for s in deep)
    assert result.report.max_depth_used in (2, 3)


def test_directions_can_be_chosen() -> None:
    """Only rises, or only falls."""
    everything = run(people(), segment_by=["city"]).signals
    rises = run(people(), segment_by=["city"], trend_directions=["asc"]).signals
    falls = run(people(), segment_by=["city"], trend_directions=["desc"]).signals
    assert {s.segment for s in rises} == {s.segment for s in everything if not s.desc}
    assert {s.segment for s in falls} == {s.segment for s in everything if s.desc}


def test_signals_come_strongest_first() -> None:
    """By score, and twice the same."""
    first, second = (run(people(), segment_by=["city", "kind"]).signals for _ in range(2))
    assert [s.score for s in first] == sorted((s.score for s in first), reverse=True)
    assert first == second


def test_baselines_are_split_by_field() -> None:
    """Each value of the splitting field is searched on its own; always-fields never together."""
    result = run(people(), segment_by=["city", "kind"], segment_baseline_by=["kind"])
    baselines = {str(s.baseline) for s in result.signals}
    assert baselines == {"all data", "kind = x", "kind = y", "kind is missing"}
    inside = [s for s in result.signals if s.baseline]
    assert all("kind" not in s.segment.fields for s in inside)
    always = run(people(), segment_by=["city"], always_segment_baseline_by=["kind"], segment_baseline_by=["state"])
    assert len({str(s.baseline) for s in always.signals}) == 3 + 3 * 2
    assert all("kind" in s.baseline.fields for s in always.signals)


def test_a_split_baseline_equals_a_filtered_one() -> None:
    """The numbers inside of a baseline are those of a verse that sees only its contexts."""
    split = run(people(), segment_by=["city"], always_segment_baseline_by=["kind"]).signals
    filtered = run(people(), segment_by=["city"], baseline_segment={"kind": [{"value": "x"}]}).signals
    wanted = {s.segment: s for s in filtered}
    mine = {s.segment: s for s in split if s.baseline == Segment.of({"kind": Equals("x")})}
    assert set(mine) == set(wanted)
    for segment, signal in mine.items():
        assert signal.level == pytest.approx(wanted[segment].level, rel=1e-9)
        assert (signal.size, signal.ratio) == (wanted[segment].size, wanted[segment].ratio)


def test_overlapping_windows_of_different_contexts() -> None:
    """``latest`` with a filter compares the target with the filtered contexts of the same time."""
    table = people()
    given: dict[str, Any] = {
        "target_set_period": "2w",
        "benchmark_set_period": "2w",
        "benchmark_set_period_type": "latest",
    }
    signal = run(
        table,
        **given,
        target_baseline_segment={"state": [{"value": "north"}]},
        benchmark_baseline_segment={"state": [{"value": "south"}]},
    ).signals[0]
    state = table.columns["state"]
    assert isinstance(state, Coded)
    recent = table.time_ms >= AT_MS - 14 * DAY_MS
    score = np.asarray(table.columns["score"])
    north, south = (score[recent & (state.codes == k)] for k in (0, 1))
    assert signal.value == pytest.approx(north.mean(), rel=1e-12)
    assert signal.benchmark == pytest.approx(south.mean(), rel=1e-12)
    assert signal.std == pytest.approx(score[recent].std(), rel=1e-12)


def test_array_fields_count_in_each_of_their_segments() -> None:
    """A context with two tags is in both; two array fields never meet in one segment."""
    table = people()
    length = len(table.time_ms)
    rows = np.repeat(np.arange(length), 2)
    table.columns["tags"] = Elements(rows, np.tile(np.array([0, 1], np.int32), length), ("red", "blue"), length)
    result = run(table, segment_by=["city", "tags"])
    pair = next(s for s in result.signals if str(s.segment) == "city = A and tags = red")
    alone = next(s for s in result.signals if str(s.segment) == "city = A")
    assert pair.size == alone.size


def test_too_many_candidates_lower_the_depth() -> None:
    """The run says so, and the shallow segments are still searched."""
    table = people()
    asked = verse("AverageDrift", metrics=["score"], segment_by=["city", "kind"], min_anomaly_level=0)
    result = search(asked, table.source, NOW, data_start_ms=table.start_ms, max_candidates=15)
    assert max(len(s.segment) for s in result.signals) == 1
    assert result.report.max_depth_used == 1
    assert any("depth" in note for note in result.report.notes)


def test_zero_over_zero_is_level_zero() -> None:
    """A constant that did not move is no anomaly."""
    table = people()
    table.columns["score"] = np.full(len(table.time_ms), 0.1)
    assert {s.level for s in run(table, "AverageOutlier", segment_by=["city"]).signals} == {0}


class Blurred(TableSource):
    """Sums with the rounding that signed rows leave behind."""

    def sums(self, axes: Sequence[int], min_size: float = 1) -> GroupSums:
        exact = super().sums(axes, min_size)
        return dataclasses.replace(exact, square=exact.square + 1e-14, total=exact.total + 1e-13)


def test_tiny_variance_is_computed_again_from_values() -> None:
    """What signed sums blur does not become a signal, and a real one keeps its exact level."""
    table = people()
    recent = table.time_ms >= AT_MS - 14 * DAY_MS
    first_city = np.asarray(table.columns["city"].codes) == 0  # type: ignore[union-attr]
    score = np.asarray(table.columns["score"]).copy()
    score[first_city] = np.where(recent[first_city], 1.0 + 1e-9, 1.0)
    table.columns["score"] = score
    asked = verse("AverageDrift", metrics=["score"], segment_by=["city"], min_anomaly_level=1)
    result = search(
        asked,
        lambda question: Blurred(table.columns, table.time_ms, question),
        NOW,
        data_start_ms=table.start_ms,
    )
    inside = score[first_city & (table.time_ms >= AT_MS - 56 * DAY_MS)]
    expected = 1e-9 / inside.std()
    signal = next(s for s in result.signals if s.segment == Segment.of({"city": Equals("A")}))
    assert signal.level == pytest.approx(expected, rel=1e-6)


def test_large_segments_without_std() -> None:
    """b 0.4, t 0.1, references 0 and 1 → 0.75."""
    time = np.concatenate([np.full(10, AT_MS - 20 * DAY_MS), np.full(10, AT_MS - DAY_MS)])
    values = np.array([1.0] * 4 + [0.0] * 6 + [1.0] + [0.0] * 9)
    table = Table({"x": values}, time)
    signal = run(table, metrics=["x"], no_std_above_segment_size=5, no_std_references=[0, 1]).signals[0]
    assert signal.level == pytest.approx(0.75)
    assert signal.std is None
    assert signal.min_level == 0.25
    table.columns["x"] = np.array([1.0] * 4 + [0.0] * 6 + [1.0] * 5 + [0.0] * 5)
    assert not run(table, metrics=["x"], no_std_above_segment_size=5, no_std_references=[0]).signals[1:]


@pytest.mark.parametrize(("limit", "levels"), [(0.2, {"city = X": 0.11}), (0.05, {"all data": 0.05, "city = X": 0.21})])
def test_thresholds(limit: float, levels: dict[str, float]) -> None:
    """Ratio 0.31 in city X, 0.10 for everybody."""
    have = np.array([1.0] * 31 + [np.nan] * 69 + [1.0] * 39 + [np.nan] * 561)
    table = Table({"x": have, "city": coded(["X"] * 100 + ["Y"] * 600)}, np.full(700, AT_MS - 1000))
    result = run(table, "ExistenceRatioThreshold", metrics=["x"], segment_by=["city"], threshold=limit)
    found = {str(s.segment): s.level for s in result.signals}
    assert ("all data" in found) == ("all data" in levels)
    for name, level in levels.items():
        assert found[name] == pytest.approx(level, rel=1e-12)


def test_short_series_of_sizes() -> None:
    """Ten points of which the last is 30: P 22.35, M 11.5."""
    counts = [10, 12, 11, 13, 12, 11, 10, 12, 11, 30]
    days = np.repeat(np.arange(10), counts)
    table = Table({}, AT_MS - (10 - days) * DAY_MS)
    signal = run(table, "SegmentSizeSuddenChange", time_series_points=10).signals[0]
    assert signal.value == 30
    assert signal.benchmark == pytest.approx(22.35)
    assert signal.std == pytest.approx(22.35 - 11.5)
    assert signal.level == pytest.approx(0.7050691, abs=1e-7)


def test_flat_series_with_a_jump_is_infinite() -> None:
    """All but the last frame equal and many points: percentile and median coincide."""
    days = np.repeat(np.arange(40), [10] * 39 + [30])
    table = Table({}, AT_MS - (40 - days) * DAY_MS)
    signal = run(table, "SegmentSizeSuddenChange", time_series_points=40).signals[0]
    assert signal.infinite
    assert (signal.level, signal.score) == (INFINITE, INFINITE)
    assert signal.to_json()["is_score_inf"] is True


def test_new_combination_of_known_values() -> None:
    """Values seen before, together for the first time."""
    table = people()
    city, kind = table.columns["city"], table.columns["kind"]
    assert isinstance(city, Coded)
    assert isinstance(kind, Coded)
    pair = (city.codes == 0) & (kind.codes == 0)
    fresh = table.time_ms >= AT_MS - 7 * DAY_MS
    table.columns["kind"] = Coded(np.where(pair & ~fresh, 1, kind.codes).astype(np.int32), kind.values)
    signals = run(table, "NewSegments", segment_by=["city", "kind"]).signals
    assert [str(s.segment) for s in signals] == ["city = A and kind = x"]
    assert signals[0].level == pytest.approx((pair & fresh).sum() / fresh.sum())


def test_distribution_drift_sees_a_shape_change() -> None:
    """The mean stays, the spread doubles; unchanged data stays below the level."""
    table = people(per_day=100)
    before = run(table, "DistributionDrift", metrics=["score", "kind"], segment_by=["city"], min_anomaly_level=0.1)
    assert before.signals == ()
    score = np.asarray(table.columns["score"]).copy()
    score[table.time_ms >= AT_MS - 14 * DAY_MS] *= 2
    table.columns["score"] = score
    after = run(table, "DistributionDrift", metrics=["score", "kind"], segment_by=["city"], min_anomaly_level=0.1)
    assert {s.segment for s in after.signals} == {ALL, *(Segment.of({"city": Equals(c)}) for c in "ABCDEF")}
    assert {s.metric for s in after.signals} == {"score"}


def test_distribution_noise_is_taken_off() -> None:
    """Over many unchanged sets the level is near zero, though the distance itself is not."""
    levels, distances = [], []
    for seed in range(8):
        signals = run(people(per_day=10, seed=seed), "DistributionDrift", segment_by=["city"]).signals
        levels += [s.level for s in signals]
        distances += [s.value for s in signals]
    assert np.mean(distances) > 0.2
    assert np.mean(levels) < 0.02


def test_nothing_to_judge_is_said() -> None:
    """No data before T: an empty result with a note, not an error."""
    table = people()
    table.start_ms = AT_MS + DAY_MS
    result = run(table)
    assert result.signals == ()
    assert result.report.notes
