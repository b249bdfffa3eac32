"""When runs happen, and which frames are which window."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.detect.parameters import CADENCES, DAY_MS, HOUR_MS, period_ms
from mona_server.detect.source import SourceQuestion, SumsSource, whole_stretches
from mona_server.detect.windows import Plan, Span, unbroken, window_end, window_ends
from mona_server.errors import BadRequest
from mona_server.segment import Equals, Segment
from tests.detect.tutorial import verse

T_MS = 18_746 * DAY_MS
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))


def unused(question: SourceQuestion) -> SumsSource:
    raise AssertionError("these plans look at no data")


def plan(type_name: str, *, at_ms: int = T_MS, start_ms: int = 0, **given: Any) -> Plan:
    asked = verse(type_name, **({} if "Size" in type_name or "New" in type_name else {"metrics": ["x"]}), **given)
    found = asked.type.plan(asked, at_ms, start_ms, unused)
    assert found is not None
    return found


@given(st.sampled_from(CADENCES), MOMENTS)
def test_window_ends_are_aligned(cadence: str, now: datetime) -> None:
    """The window end is the latest aligned moment, and lies less than one cadence back."""
    end = window_end(cadence, now)
    assert end <= now
    assert now - end < timedelta(milliseconds=period_ms(cadence))
    assert window_end(cadence, end) == end
    if cadence[-1] in "dw":
        assert (end.hour, end.minute, end.second, end.microsecond) == (0, 0, 0, 0)
    if cadence[-1] == "w":
        assert end.weekday() == 0


@pytest.mark.parametrize(
    ("cadence", "now", "end"),
    [
        ("1d", "2021-04-29T00:00:00", "2021-04-29T00:00:00"),
        ("1d", "2021-04-28T23:59:59", "2021-04-28T00:00:00"),
        ("2d", "1970-01-04T12:00:00", "1970-01-03T00:00:00"),
        ("1w", "2021-04-28T12:00:00", "2021-04-26T00:00:00"),
        ("2w", "1970-01-13T12:00:00", "1970-01-05T00:00:00"),
        ("8h", "2021-04-28T23:10:00", "2021-04-28T16:00:00"),
        ("20m", "2021-04-28T23:59:00", "2021-04-28T23:40:00"),
    ],
)
def test_known_window_ends(cadence: str, now: str, end: str) -> None:
    """Days count from 1970-01-01, weeks from the Monday after it, hours within the day, minutes within the hour."""
    assert window_end(cadence, datetime.fromisoformat(now + "+00:00")) == datetime.fromisoformat(end + "+00:00")


def test_all_ends_between_two_moments() -> None:
    """Each window end after the first and up to the second moment, ascending."""
    first, last = datetime(2021, 4, 26, tzinfo=UTC), datetime(2021, 4, 29, 3, tzinfo=UTC)
    assert [end.day for end in window_ends("1d", first, last)] == [27, 28, 29]


def test_drift_windows_follow_each_other() -> None:
    """Target ends at T, the benchmark ends where the target begins; frames are days."""
    found = plan("AverageDrift", target_set_period="2w", benchmark_set_period="6w")
    assert (found.target, found.benchmark) == (Span(42, 56), Span(0, 42))
    assert found.target_ms == (T_MS - 14 * DAY_MS, T_MS)
    assert found.benchmark_ms == (T_MS - 56 * DAY_MS, T_MS - 14 * DAY_MS)
    assert found.whole == tuple(range(56))
    assert not found.overlap
    assert found.union == slice(0, 56)


@pytest.mark.parametrize(
    ("target", "benchmark", "frames", "overlap"),
    [
        (Span(5, 8), Span(0, 3), [0, 1, 2, 5, 6, 7], False),
        (Span(3, 8), Span(0, 3), [0, 1, 2, 3, 4, 5, 6, 7], False),
        (Span(2, 8), Span(0, 3), [0, 1, 2, 3, 4, 5, 6, 7], True),
        (Span(4, 6), Span(3, 8), [3, 4, 5, 6, 7], True),
        (Span(4, 6), Span(0, 0), [4, 5], False),
    ],
)
def test_frames_of_both_windows_count_once(target: Span, benchmark: Span, frames: list[int], overlap: bool) -> None:
    """The union of two spans, with or without a gap; a slice where there is none."""
    found = replace(plan("AverageDrift", target_set_period="2w"), target=target, benchmark=benchmark)
    assert np.arange(10)[found.union].tolist() == frames
    assert isinstance(found.union, slice) == (frames == list(range(frames[0], frames[-1] + 1)))
    assert found.overlap == overlap


def test_frames_are_a_slice_where_none_is_left_out() -> None:
    """So that what is taken of an array is no copy."""
    assert unbroken(np.array([3, 4, 5])) == slice(3, 6)
    assert unbroken(np.array([3])) == slice(3, 4)
    for frames in (np.zeros(0, np.intp), np.array([3, 5])):
        assert unbroken(frames) is frames


def test_latest_benchmark_holds_the_target() -> None:
    """With ``latest`` both windows end at T and share frames."""
    found = plan("AverageDrift", target_set_period="1w", benchmark_set_period="4w", benchmark_set_period_type="latest")
    assert (found.target, found.benchmark) == (Span(21, 28), Span(0, 28))
    assert found.overlap
    assert found.union == slice(0, 28)


def test_latest_with_a_filter_asks_two_questions() -> None:
    """Overlapping windows of different contexts cannot share frames."""
    segment = {"stage": [{"value": "train"}]}
    found = plan(
        "AverageDrift",
        target_set_period="1w",
        benchmark_set_period="4w",
        benchmark_set_period_type="latest",
        benchmark_baseline_segment=segment,
    )
    assert (found.benchmark, found.target) == (Span(0, 28), Span(28, 35))
    assert found.questions[0].frame_filters == ((0, 28, Segment.of({"stage": Equals("train")})),)
    assert found.questions[1].frame_filters == ()


def test_filters_of_the_sets_hold_for_their_frames() -> None:
    """The target's own segment filters the target's frames only."""
    found = plan("AverageDrift", target_baseline_segment={"stage": [{"value": "inference"}]})
    assert found.questions[0].frame_filters == ((42, 56, Segment.of({"stage": Equals("inference")})),)


def test_frames_partly_before_the_data_are_no_points() -> None:
    """A series begins with the first whole frame; a first context within the first hour does not spoil its day."""
    late = plan("SumDrift", start_ms=T_MS - 20 * DAY_MS + 5 * HOUR_MS)
    assert len(late.whole) == 19
    assert (late.target, len(late.benchmark)) == (Span(6, 20), 6)
    early = plan("SumDrift", start_ms=T_MS - 20 * DAY_MS + 5 * 60_000)
    assert len(early.whole) == 20


def test_empty_benchmark_period_is_everything_before() -> None:
    """All data before the target is the benchmark."""
    found = plan("AverageDrift", benchmark_set_period="", start_ms=T_MS - 100 * DAY_MS - HOUR_MS)
    assert found.benchmark_ms == (T_MS - 100 * DAY_MS - HOUR_MS, T_MS - 14 * DAY_MS)


def test_windows_that_no_frame_divides_keep_their_edges() -> None:
    """A target of 36 hours is 36 hours, whatever the frames; the pieces of a cut frame are no points of a series."""
    found = plan("SumDrift", target_set_period="36h", benchmark_set_period="3d")
    edges = found.questions[0].edges_ms
    assert edges[found.target.first] == T_MS - 36 * HOUR_MS
    assert edges[found.benchmark.first] == T_MS - 108 * HOUR_MS
    assert found.whole_of(found.target).size == 1
    assert found.whole_of(found.benchmark).size == 2


def test_long_windows_of_frequent_runs_begin_at_a_full_hour() -> None:
    """With a cadence below an hour the far ends of windows above two days are floored to the hour."""
    at = T_MS + 17 * 60_000
    found = plan("AverageOutlier", at_ms=at, cadence="1m", time_period="3d")
    assert found.target_ms == (T_MS - 72 * HOUR_MS, at)
    short = plan("AverageOutlier", at_ms=at, cadence="1m", time_period="2d")
    assert short.target_ms == (at - 48 * HOUR_MS, at)


def test_points_may_be_a_period() -> None:
    """60d of half days are 120 points."""
    found = plan("AverageSuddenChange", time_series_points="60d", time_resolution="12h")
    assert len(found.whole) == 120


def test_new_segments_see_the_whole_history() -> None:
    """Periods go back to the start of data, the first may be cut; the judged ones are cut into days."""
    found = plan("NewSegments", time_period="1w", backfill_points=2, start_ms=T_MS - 30 * DAY_MS)
    assert (found.target, found.benchmark) == (Span(3, 17), Span(0, 3))
    assert (found.bounds_ms[:, 1] - found.bounds_ms[:, 0]).tolist() == [7 * DAY_MS] * 3 + [DAY_MS] * 14
    short = plan("NewSegments", time_period="7m", backfill_points=3, start_ms=T_MS - DAY_MS)
    assert (len(short.target), short.frames) == (21, 203 + 21)
    asked = verse("NewSegments", time_period="1w")
    assert asked.type.plan(asked, T_MS, T_MS - 20 * DAY_MS, unused) is None


def test_too_many_frames_are_refused() -> None:
    """A verse that would need a hundred thousand frames is told so, with what to change."""
    with pytest.raises(BadRequest, match="choose a longer time_resolution"):
        plan("SumDrift", time_resolution="1m")


@pytest.mark.parametrize(("target", "benchmark"), [("14d", "56d"), ("7d", "21d"), ("3d", "1d"), ("1d", "28d")])
def test_stretches_hold_what_comparisons_ask(target: str, benchmark: str) -> None:
    """Every frame lies in one stretch, and both sets and both halves are made of whole ones; weeks are halved by turns."""
    found = plan("AverageDrift", target_set_period=target, benchmark_set_period=benchmark)
    assert [a for a, _ in found.stretches] == [0, *(b for _, b in found.stretches[:-1])]
    assert found.stretches[-1][1] == found.frames
    halves = found.halves()
    assert sorted([*halves[0], *halves[1]]) == found.whole_of(found.benchmark).tolist()
    for frames in (found.target.frames, found.benchmark.frames, *halves):
        chosen = whole_stretches(found.stretches, found.frames, frames)
        inside = [k for a, b in (found.stretches[i] for i in chosen) for k in range(a, b)]
        assert inside == np.arange(found.frames)[frames].tolist()
    if len(found.benchmark) >= 28:
        assert np.diff(halves[0])[6] == 8
        assert len(found.stretches) <= 2 + len(found.benchmark) / 7
