"""When a verse runs, and which frames are its windows. Pure: time comes in as an argument.

All windows are half open and end at T, the run's window end. Frames are counted backwards from T.

>>> window_end("1d", datetime(2021, 4, 29, 0, 30, tzinfo=UTC)).isoformat()
'2021-04-29T00:00:00+00:00'
>>> window_end("1w", datetime(2021, 4, 29, 0, 30, tzinfo=UTC)).isoformat()
'2021-04-26T00:00:00+00:00'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.parameters import DAY_MS, HOUR_MS, MINUTE_MS, period_ms
from mona_server.detect.source import AxisRequest, SourceQuestion, SumsSource
from mona_server.errors import BadRequest
from mona_server.segment import Segment

if TYPE_CHECKING:
    from mona_server.detect.verses.base import Verse

Look = Callable[[SourceQuestion], SumsSource]
"""Opens what a question asks for."""

FIRST_MONDAY_MS = 4 * DAY_MS
MAX_FRAMES = 3_000
LONG_MS = 2 * DAY_MS
"""Windows longer than this begin at a full hour when the cadence is below one hour."""


@dataclass(frozen=True, slots=True)
class Span:
    """Frames first..last-1 of a plan."""

    first: int
    last: int

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    @property
    def frames(self) -> slice:
        return slice(self.first, self.last)


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be summed for a run, and how its frames are read.

    One question, or two where target and benchmark overlap in time but not in contexts; the frames of two questions
    follow each other (see ``stacked.py``), the benchmark's first.
    """

    questions: tuple[SourceQuestion, ...]
    at_ms: int
    target: Span
    """The judged frames; for a series, all of its frames."""
    benchmark: Span
    """The frames compared with; empty where the type has none."""
    whole: tuple[int, ...]
    """Frames of full width that do not begin before the data: the points of series. Ascending."""
    target_ms: tuple[int, int]
    benchmark_ms: tuple[int, int] | None = None
    data_start_ms: int = 0

    @property
    def frames(self) -> int:
        return sum(len(question.edges_ms) - 1 for question in self.questions)

    @property
    def bounds_ms(self) -> NDArray[np.int64]:
        """(K, 2): begin and end of each frame."""
        parts = [np.stack([q.edges_ms[:-1], q.edges_ms[1:]], axis=1) for q in self.questions]
        return np.concatenate(parts).astype(np.int64)

    def days(self, span: Span) -> float:
        """Length of a span in days, without what lies before the start of data; at least one minute."""
        bounds = self.bounds_ms[span.frames]
        begins = np.maximum(bounds[:, 0], _start(self.data_start_ms, HOUR_MS))
        return float(max(np.maximum(bounds[:, 1] - begins, 0).sum(), MINUTE_MS)) / DAY_MS

    def whole_of(self, span: Span) -> NDArray[np.intp]:
        """The whole frames inside of a span."""
        return np.array([k for k in self.whole if span.first <= k < span.last], dtype=np.intp)

    def halves(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The whole frames of every other week of the benchmark, and the others; below four weeks every other frame."""
        frames = self.whole_of(self.benchmark)
        week = np.arange(len(frames)) // (7 if len(frames) >= 28 else 1)
        return frames[week % 2 == 0], frames[week % 2 == 1]

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """Runs a..b-1 of all frames: those of a run are in the same of target, benchmark and its halves."""
        sets = np.zeros((4, self.frames), bool)
        chosen: tuple[NDArray[np.intp] | slice, ...] = (self.target.frames, self.benchmark.frames, *self.halves())
        for inside, frames in zip(sets, chosen, strict=True):
            inside[frames] = True
        cuts = np.flatnonzero((sets[:, 1:] != sets[:, :-1]).any(axis=0)) + 1
        return tuple(pairwise((0, *cuts.tolist(), self.frames)))

    @property
    def union(self) -> NDArray[np.intp] | slice:
        """Frames of target or benchmark, each once."""
        first, second = sorted((self.target, self.benchmark), key=lambda span: span.first)
        if not len(first) or not len(second):
            return first.frames if len(first) else second.frames
        if second.first <= first.last:
            return slice(first.first, max(first.last, second.last))
        return np.concatenate([np.arange(span.first, span.last) for span in (first, second)])

    @property
    def overlap(self) -> bool:
        """Is a frame in both target and benchmark?"""
        return max(self.target.first, self.benchmark.first) < min(self.target.last, self.benchmark.last)


def unbroken(frames: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """Ascending frames as a slice where none is left out, because what a slice takes is not copied."""
    if len(frames) and int(frames[-1]) - int(frames[0]) + 1 == len(frames):
        return slice(int(frames[0]), int(frames[-1]) + 1)
    return frames


def runs(frames: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Ascending frames as runs a..b-1 that follow each other.

    >>> runs(np.array([2, 3, 4, 7]))
    [(2, 5), (7, 8)]
    """
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]


def window_end(cadence: str, now: datetime) -> datetime:
    """T: the latest aligned moment at or before ``now`` (aware).

    Minutes align within the hour, hours within the day, n days to days whose number since 1970-01-01 is divisible by
    n, n weeks to Mondays whose number since 1970-01-05 is.
    """
    if now.tzinfo is None:
        raise ValueError("now must carry a time zone")
    now_ms = int(now.timestamp() * 1000)
    step = period_ms(cadence)
    if cadence.endswith("m"):
        start = now_ms - now_ms % HOUR_MS
    elif cadence.endswith("h"):
        start = now_ms - now_ms % DAY_MS
    else:
        start = FIRST_MONDAY_MS if cadence.endswith("w") else 0
    return datetime.fromtimestamp((start + (now_ms - start) // step * step) / 1000, UTC)


def window_ends(cadence: str, after: datetime, until: datetime) -> list[datetime]:
    """Every T with ``after < T <= until``, ascending."""
    ends = []
    end = window_end(cadence, until)
    while end > after:
        ends.append(end)
        end = window_end(cadence, datetime.fromtimestamp(end.timestamp() - 0.001, UTC))
    return ends[::-1]


def axes_of(verse: Verse) -> tuple[AxisRequest, ...]:
    """The axes of all questions of a verse: ``segment_by`` first, then those of the baselines."""
    return tuple(
        dict.fromkeys((*verse["segment_by"], *verse["always_segment_baseline_by"], *verse["segment_baseline_by"]))
    )


def question(
    verse: Verse, edges_ms: NDArray[np.int64], filters: tuple[tuple[int, int, Segment], ...] = ()
) -> SourceQuestion:
    """The question of a verse over these frames."""
    if len(edges_ms) - 1 > MAX_FRAMES:
        raise BadRequest(
            f"verse {verse.name} needs {len(edges_ms) - 1} frames, at most {MAX_FRAMES} are possible",
            hint="choose a longer time_resolution or shorter windows",
        )
    return SourceQuestion(
        axes=axes_of(verse),
        metrics=verse.metrics,
        edges_ms=tuple(int(edge) for edge in edges_ms),
        within=verse["baseline_segment"],
        excluded=tuple(verse["exclude_segments"]),
        frame_filters=tuple(entry for entry in filters if entry[2]),
        timestamp_field=verse["timestamp_field_name"],
    )


def evidence_resolution_ms(span_ms: int) -> int:
    """Frame width where the formula needs none: days, or less where there would be fewer than eight frames."""
    return next((width for width in (DAY_MS, HOUR_MS, 5 * MINUTE_MS) if span_ms >= 8 * width), MINUTE_MS)


def drift_plan(verse: Verse, at_ms: int, data_start_ms: int, look: Look) -> Plan | None:
    """Target ``[T - target, T)`` and benchmark before it, or (``latest``) also up to T."""
    del look
    target_from = _far_end(verse, at_ms, period_ms(verse["target_set_period"]))
    latest = verse["benchmark_set_period_type"] == "latest"
    benchmark_to = at_ms if latest else target_from
    length = verse["benchmark_set_period"]
    benchmark_from = (
        _far_end(verse, at_ms, at_ms - benchmark_to + period_ms(length)) if length else min(data_start_ms, benchmark_to)
    )
    in_formula = verse.type.statistic in ("sum", "size") and verse["time_resolution"] != ""
    width = (
        period_ms(verse["time_resolution"])
        if in_formula
        else evidence_resolution_ms(at_ms - min(target_from, benchmark_from))
    )
    windows = ((target_from, at_ms), (benchmark_from, benchmark_to))
    filters = (verse["target_baseline_segment"], verse["benchmark_baseline_segment"])
    if latest and any(filters):
        parts = [_frames(at_ms, width, data_start_ms, (window,)) for window in reversed(windows)]
        return _stack(
            verse, at_ms, data_start_ms, parts=parts, windows=(windows[1], windows[0]), filters=(filters[1], filters[0])
        )
    edges, whole = _frames(at_ms, width, data_start_ms, windows)
    target, benchmark = (_span(edges, window) for window in windows)
    ask = question(
        verse, edges, ((target.first, target.last, filters[0]), (benchmark.first, benchmark.last, filters[1]))
    )
    return Plan((ask,), at_ms, target, benchmark, whole, windows[0], windows[1], data_start_ms)


def period_plan(verse: Verse, at_ms: int, data_start_ms: int, look: Look) -> Plan | None:
    """The last ``time_period``."""
    del look
    window = (_far_end(verse, at_ms, period_ms(verse["time_period"])), at_ms)
    edges, whole = _frames(at_ms, evidence_resolution_ms(at_ms - window[0]), data_start_ms, (window,))
    return Plan((question(verse, edges),), at_ms, _span(edges, window), Span(0, 0), whole, window, None, data_start_ms)


def points_plan(verse: Verse, at_ms: int, data_start_ms: int, look: Look) -> Plan | None:
    """The last ``time_series_points`` frames; those partly before the start of data are dropped."""
    del look
    width, points = period_ms(verse["time_resolution"]), verse["time_series_points"]
    count = points if isinstance(points, int) else max(1, period_ms(points) // width)
    edges = at_ms - width * np.arange(count, -1, -1, dtype=np.int64)
    edges = edges[edges >= _start(data_start_ms, width)]
    if len(edges) < 2:
        return None
    whole = tuple(range(len(edges) - 1))
    window = (int(edges[0]), at_ms)
    return Plan((question(verse, edges),), at_ms, Span(0, len(whole)), Span(0, 0), whole, window, None, data_start_ms)


def new_plan(verse: Verse, at_ms: int, data_start_ms: int, look: Look) -> Plan | None:
    """The last ``backfill_points`` periods, and everything before them as benchmark.

    The judged periods are cut into days (or less, where they are short): days, not contexts, are the unit of evidence.
    """
    del look
    width = period_ms(verse["time_period"])
    target_from = at_ms - width * int(verse["backfill_points"])
    periods = max(1, -((data_start_ms - at_ms) // width))
    if data_start_ms >= target_from:
        return None
    fine = min(evidence_resolution_ms(at_ms - target_from), width)
    by_period = at_ms - width * np.arange(periods, -1, -1, dtype=np.int64)
    recent = at_ms - fine * np.arange((at_ms - target_from) // fine, -1, -1, dtype=np.int64)
    edges = np.union1d(by_period, recent)
    whole = tuple(k for k in range(len(edges) - 1) if edges[k] >= _start(data_start_ms, width))
    first = int(np.searchsorted(edges, target_from))
    target, benchmark = Span(first, len(edges) - 1), Span(0, first)
    ask = question(verse, edges)
    benchmark_ms = (int(edges[0]), target_from)
    return Plan((ask,), at_ms, target, benchmark, whole, (target_from, at_ms), benchmark_ms, data_start_ms)


def _far_end(verse: Verse, at_ms: int, length_ms: int) -> int:
    start = at_ms - length_ms
    if period_ms(verse["cadence"]) < HOUR_MS and length_ms > LONG_MS:
        start -= start % HOUR_MS
    return start


def _start(data_start_ms: int, width: int) -> int:
    """The start of data, to the hour: a first context some minutes after midnight does not spoil the day."""
    return data_start_ms - data_start_ms % min(width, HOUR_MS)


def _frames(
    at_ms: int, width: int, data_start_ms: int, windows: tuple[tuple[int, int], ...]
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Edges that hold the windows and the grid of frames back from T, and which frames are whole frames of that grid.

    What lies wholly before the start of data is cut off.
    """
    lowest = min(window[0] for window in windows)
    highest = max(window[1] for window in windows)
    first = max(lowest, at_ms + (data_start_ms - at_ms) // width * width)
    grid = at_ms - width * np.arange(max(0, (at_ms - first) // width), -1, -1, dtype=np.int64)
    inner = [edge for window in windows for edge in window if edge >= first]
    edges = np.unique(np.concatenate([grid, np.array([first, *inner], dtype=np.int64)]))
    edges = edges[(edges >= first) & (edges <= highest)]
    begins = edges[:-1]
    whole = (np.diff(edges) == width) & ((at_ms - begins) % width == 0) & (begins >= _start(data_start_ms, width))
    return edges, tuple(int(k) for k in np.flatnonzero(whole))


def _span(edges: NDArray[np.int64], window: tuple[int, int]) -> Span:
    first, last = np.searchsorted(edges, window)
    return Span(int(first), max(int(first), int(min(last, len(edges) - 1))))


def _stack(
    verse: Verse,
    at_ms: int,
    data_start_ms: int,
    *,
    parts: list[tuple[NDArray[np.int64], tuple[int, ...]]],
    windows: tuple[tuple[int, int], tuple[int, int]],
    filters: tuple[Segment, Segment],
) -> Plan | None:
    """Benchmark and target as two questions whose frames follow each other."""
    if any(len(edges) < 2 for edges, _ in parts):
        return None
    lengths = [len(edges) - 1 for edges, _ in parts]
    asks = tuple(
        question(verse, edges, ((0, length, only),))
        for (edges, _), length, only in zip(parts, lengths, filters, strict=True)
    )
    whole = (*parts[0][1], *(lengths[0] + k for k in parts[1][1]))
    benchmark, target = Span(0, lengths[0]), Span(lengths[0], sum(lengths))
    return Plan(asks, at_ms, target, benchmark, whole, windows[1], windows[0], data_start_ms)


def versions_plan(verse: Verse, at_ms: int, data_start_ms: int, look: Look) -> Plan | None:
    """Newest version against the preceding ones, both over the last ``benchmark_set_period``."""
    from mona_server.detect.version_order import newest_first

    length = period_ms(verse["benchmark_set_period"])
    window = (_far_end(verse, at_ms, length), at_ms)
    frames = _frames(at_ms, evidence_resolution_ms(length), data_start_ms, (window,))
    if len(frames[0]) < 2:
        return None
    versions = newest_first(verse, frames[0], look)[: 1 + int(verse["num_versions_benchmark"])]
    if len(versions) < 2:
        return None
    target, benchmark = (Segment.of({verse["version_field"]: group}) for group in (versions[:1], versions[1:]))
    return _stack(
        verse, at_ms, data_start_ms, parts=[frames, frames], windows=(window, window), filters=(benchmark, target)
    )
