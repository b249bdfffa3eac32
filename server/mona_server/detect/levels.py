"""Sizes and levels of segments: what every formula shares. Arrays over segments, no loops over them.

A :class:`Scene` is one list of axes with its baseline and one metric. S segments, K frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats, Frames, GroupSums, whole_stretches
from mona_server.detect.windows import Plan

if TYPE_CHECKING:
    from mona_server.detect.verses.base import Verse

Mask = NDArray[np.bool_]

INFINITE = 1e9
"""Level and score of a signal whose divisor is zero."""
ROUNDING = 1e-14


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of S segments, and which of them pass the size filters of the verse."""

    size: Floats
    """(S,): contexts, the ``segment_size`` of a signal."""
    ratio: Floats
    """(S,): share of the baseline, the ``segment_ratio``."""
    target: Floats
    """(S,): contexts in the judged set; for SuddenChange, in the last frame."""
    benchmark: Floats
    """(S,): contexts in the set compared with; 0 where the type has none."""
    passed: Mask
    baseline_size: float
    target_ratio: Floats | None = None
    benchmark_ratio: Floats | None = None
    target_baseline: float | None = None
    benchmark_baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What a formula sees: sums of S segments over one list of axes, and of their baseline."""

    verse: Verse
    plan: Plan
    groups: GroupSums
    base: GroupSums
    """The baseline, S = 1."""
    sizes: Sizes
    metric: int = 0
    """Row of the metric in the sums; without meaning for sizes."""
    offset: float = 0.0
    own_baseline: bool = False
    """The segment is the baseline itself."""
    parts: Parts | None = None
    """The segments cut by the metric's own categories, for formulas over distributions."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Sizes of the cells (segment, category) that hold anything, P of them."""

    segment: NDArray[np.intp]
    """(P,): row of the segment."""
    size: Floats
    """(P, C)"""
    stretches: tuple[tuple[int, int], ...]
    """The C runs a..b-1 of all frames, see :attr:`Plan.stretches`."""

    def over(self, frames: Frames) -> Floats:
        """(P,) over some frames, which cut no stretch."""
        chosen = whole_stretches(self.stretches, self.stretches[-1][1], frames)
        return np.asarray(self.size[:, chosen].sum(axis=1), np.float64)


@dataclass(frozen=True, slots=True)
class Levels:
    """Exact levels of S segments for one metric, all of shape (S,)."""

    value: Floats
    benchmark: Floats
    std: Floats
    """The divisor; NaN where the formula has none."""
    level: Floats
    """``INFINITE`` where the divisor is zero and the numerator is not."""
    infinite: Mask
    usable: Mask
    """Enough data in every set that the formula uses."""
    count: Floats
    """Contexts with a value of the metric in all sets together."""
    min_level: Floats | None = None
    """Another limit than ``min_anomaly_level`` for some segments (no-STD mode)."""
    p_value: Floats | None = None
    """Where the formula itself says how probable the level is without any change."""

    @property
    def desc(self) -> Mask:
        return self.value < self.benchmark


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and population variance of one metric over some frames, (S,)."""

    count: Floats
    mean: Floats
    """NaN where nothing has a value."""
    variance: Floats

    @property
    def std(self) -> Floats:
        return np.sqrt(self.variance)


def moments(groups: GroupSums, metric: int, offset: float, frames: Frames) -> Moments:
    """Moments over frames. Source: mean = c + total/count, variance = square/count - (total/count)².

    The mean is computed as (total + c·count)/count, which for whole numbers is the correctly rounded mean.
    """
    count, total, square = groups.over(metric, frames)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (total + offset * count) / count
        # (n·Σd² - (Σd)²)/n² keeps whole numbers whole until the last division.
        variance = np.maximum((count * square - total * total) / (count * count), 0.0)
    return Moments(count, mean, variance)


def existence(groups: GroupSums, metric: int, frames: Frames) -> Moments:
    """Moments of the indicator "has a value"; its count are the contexts."""
    size = groups.size[:, frames].sum(axis=1)
    count = groups.count_of(metric)[:, frames].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = count / size
    return Moments(size, mean, np.maximum(mean * (1 - mean), 0.0))


def level(value: Floats, benchmark: Floats, divisor: Floats) -> tuple[Floats, Mask]:
    """|value - benchmark| / divisor, and where it is infinite (reported as 1e9). 0/0 is 0; NaN stays NaN.

    A difference or divisor below 1e-14 of the compared numbers is rounding, that is, zero.
    """
    noise = ROUNDING * np.fmax(np.abs(value), np.abs(benchmark))
    distance = np.abs(value - benchmark)
    distance = np.where(distance <= noise, 0.0, distance)
    flat = divisor <= noise
    infinite = flat & (distance > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = np.where(flat, 0.0, distance / divisor)
    result = np.where(infinite, INFINITE, result)
    return np.where(np.isnan(value - benchmark), np.nan, result), infinite


def round12(values: Floats) -> Floats:
    """12 significant digits: comparisons with limits use them, so that decisions do not hang on the last bits.

    >>> bool(round12(np.array([0.1 + 0.2]))[0] == 0.3)
    True
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (11 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, values)


def at_least(values: Floats, limit: Floats | float) -> Mask:
    """``round12(values) >= limit``, for which only those next to the limit have to be rounded. NaN is not.

    >>> at_least(np.array([0.1 + 0.2, 0.3 - 1e-13, 0.29]), 0.3).tolist()
    [True, True, False]
    """
    passed: Mask = values >= limit
    near = np.abs(values - limit) <= 1e-11 * np.abs(values)
    if near.any():
        passed = np.where(near, round12(values) >= limit, passed)
    return passed


def shares(parts: Floats, wholes: Floats | float) -> Floats:
    """parts / wholes, 0 where the whole is 0."""
    wholes = np.broadcast_to(np.asarray(wholes, dtype=np.float64), np.shape(parts))
    return np.divide(parts, wholes, out=np.zeros(np.shape(parts)), where=wholes != 0)


def within_limits(verse: Verse, prefix: str, size: Floats, ratio: Floats) -> Mask:
    """``<prefix>min/max_segment_size[_fraction]`` on these sizes."""
    passed: Mask = (size >= verse[f"{prefix}min_segment_size"]) & at_least(
        ratio, verse[f"{prefix}min_segment_size_fraction"]
    )
    if verse[f"{prefix}max_segment_size"] is not None:
        passed &= size <= verse[f"{prefix}max_segment_size"]
    if verse[f"{prefix}max_segment_size_fraction"] is not None:
        passed &= round12(ratio) <= verse[f"{prefix}max_segment_size_fraction"]
    return passed


def simple_sizes(verse: Verse, plan: Plan, groups: GroupSums, base: GroupSums) -> Sizes:
    """Outlier and Threshold: contexts in the one window."""
    size = groups.size[:, plan.target.frames].sum(axis=1)
    whole = float(base.size[:, plan.target.frames].sum())
    ratio = shares(size, whole)
    passed = within_limits(verse, "", size, ratio) & (whole >= verse["baseline_min_segment_size"])
    return Sizes(size, ratio, size, np.zeros_like(size), passed, whole)


def take_sizes(sizes: Sizes, rows: NDArray[np.intp] | Mask) -> Sizes:
    """Sizes of some of the segments."""
    return replace(
        sizes,
        size=sizes.size[rows],
        ratio=sizes.ratio[rows],
        target=sizes.target[rows],
        benchmark=sizes.benchmark[rows],
        passed=sizes.passed[rows],
        target_ratio=None if sizes.target_ratio is None else sizes.target_ratio[rows],
        benchmark_ratio=None if sizes.benchmark_ratio is None else sizes.benchmark_ratio[rows],
    )
