"""Sudden change: the last frame of a time series lies far outside of all frames."""

from __future__ import annotations

import numpy as np

from mona_server.detect.levels import Levels, Scene, Sizes, level, shares, within_limits
from mona_server.detect.parameters import PERCENTILE, POINTS, SIZE, Group, Parameter
from mona_server.detect.source import Floats, GroupSums
from mona_server.detect.verses.base import RESOLUTION_IN_FORMULA, Statistic, Verse, VerseType, common, high_urgency
from mona_server.detect.windows import Plan, points_plan

POINT_PARAMETERS = (
    Parameter(
        "time_series_points", POINTS, 30, Group.BASIC, "Number of frames, the last included, or a period such as 60d."
    ),
    Parameter("min_culprit_size", SIZE, 10, Group.BASIC, "Least number of contexts in the last frame."),
    Parameter("percentile", PERCENTILE, 95, Group.ADVANCED, "Top percentile; the bottom one is 100 minus it."),
    *high_urgency(("min_culprit_size", "number of contexts in the last frame")),
)


LEAST_POINTS = 5


def point_sizes(verse: Verse, plan: Plan, groups: GroupSums, base: GroupSums) -> Sizes:
    """Contexts over all points; the culprit is the last one."""
    size = groups.size[:, plan.target.frames].sum(axis=1)
    culprit = groups.size[:, plan.target.last - 1]
    whole = float(base.size[:, plan.target.frames].sum())
    ratio = shares(size, whole)
    passed = within_limits(verse, "", size, ratio) & (culprit >= verse["min_culprit_size"])
    passed &= whole >= verse["baseline_min_segment_size"]
    return Sizes(size, ratio, culprit, size - culprit, passed, whole)


def series_of(scene: Scene) -> Floats:
    """(S, K): the statistic per frame; NaN where a mean or ratio has no value, 0 for empty sums and sizes."""
    groups, m = scene.groups, scene.metric
    statistic = scene.verse.type.statistic
    if statistic is Statistic.SIZE:
        return groups.size
    count = groups.count_of(m)
    total: Floats = groups.total[m] + scene.offset * count
    if statistic is Statistic.SUM:
        return total
    part, whole = (count, groups.size) if statistic is Statistic.RATIO else (total, count)
    series: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return series


def quantile(ordered: Floats, present: Floats, q: float) -> Floats:
    """Linearly interpolated quantile of each row; ``ordered`` (S, K) ascending with NaN last, ``present`` (S,)."""
    place = q * (present - 1)
    low = np.clip(np.floor(place), 0, None).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(present - 1, 0).astype(np.intp))
    rows = np.arange(len(ordered))
    a, b, t = ordered[rows, low], ordered[rows, high], place - low
    # The end from which numpy interpolates, so that both give the same bits.
    return np.where(t >= 0.5, b - (b - a) * (1 - t), a + (b - a) * t)


def sudden_change(scene: Scene) -> Levels:
    """|x - P| / |P - M|: x the last frame, P the percentile beyond which it lies, M the median of all frames."""
    span = scene.plan.target
    series = series_of(scene)[:, span.frames]
    ordered = np.sort(series, axis=1)
    present = (~np.isnan(series)).sum(axis=1).astype(np.float64)
    top, bottom = scene.verse["percentile"] / 100, (100 - scene.verse["percentile"]) / 100
    last, median = series[:, -1], quantile(ordered, present, 0.5)
    high, low = (quantile(ordered, present, q) for q in (top, bottom))
    limit = np.where(last > high, high, np.where(last < low, low, np.nan))
    std = np.abs(limit - median)
    levels, infinite = level(last, limit, std)
    counts = scene.groups.count_of(scene.metric) if scene.verse.type.has_metrics else scene.groups.size
    if scene.verse.type.statistic is Statistic.RATIO:
        counts = scene.groups.size
    count = counts[:, span.frames].sum(axis=1)
    usable = (present >= max(LEAST_POINTS, len(span) / 2)) & (count >= 2) & ~np.isnan(limit)
    return Levels(last, limit, std, levels, infinite, usable, count)


def _sudden(statistic: Statistic, name: str, doc: str) -> VerseType:
    metrics = statistic is not Statistic.SIZE
    return VerseType(
        type=f"{name}SuddenChange",
        family="SuddenChange",
        statistic=statistic,
        doc=f"{doc} of the last frame is far from the percentile of all frames: |x - P| / |P - median|.",
        parameters=(*common(2, metrics=metrics, resolution=RESOLUTION_IN_FORMULA), *POINT_PARAMETERS),
        plan=points_plan,
        sizes=point_sizes,
        levels=sudden_change,
        with_baseline=True,
        ignored=() if metrics else ("metrics",),
    )


TYPES = (
    _sudden(Statistic.AVERAGE, "Average", "The mean"),
    _sudden(Statistic.SUM, "Sum", "The sum"),
    _sudden(Statistic.RATIO, "ExistenceRatio", "The share of contexts with a value"),
    _sudden(Statistic.SIZE, "SegmentSize", "The number of contexts"),
)
