"""Outlier: a segment that differs from the whole population within one period."""

from __future__ import annotations

import numpy as np

from mona_server.detect.levels import Levels, Scene, existence, level, moments, simple_sizes
from mona_server.detect.parameters import PERIOD, Group, Parameter
from mona_server.detect.verses.base import Statistic, VerseType, common
from mona_server.detect.windows import period_plan

PERIOD_4W = Parameter("time_period", PERIOD, "4w", Group.BASIC, "The data considered, up to now.")

LEAST_SIBLINGS = 5


def mean_outlier(scene: Scene) -> Levels:
    """|m - B| / std of the baseline, the segment included in it."""
    frames = scene.plan.target.frames
    inside = moments(scene.groups, scene.metric, scene.offset, frames)
    whole = moments(scene.base, scene.metric, scene.offset, frames)
    benchmark, std = (np.full_like(inside.mean, number) for number in (whole.mean[0], whole.std[0]))
    levels, infinite = level(inside.mean, benchmark, std)
    return Levels(inside.mean, benchmark, std, levels, infinite, inside.count >= 2, inside.count)


def std_outlier(scene: Scene) -> Levels:
    """|std of the segment - std B| / std B."""
    frames = scene.plan.target.frames
    inside = moments(scene.groups, scene.metric, scene.offset, frames)
    whole = moments(scene.base, scene.metric, scene.offset, frames)
    std = np.full_like(inside.std, whole.std[0])
    levels, infinite = level(inside.std, std, std)
    return Levels(inside.std, std, std, levels, infinite, inside.count >= 2, inside.count)


def ratio_outlier(scene: Scene) -> Levels:
    """|ratio - ratio B| / std of the indicator in the baseline."""
    frames = scene.plan.target.frames
    inside, whole = (existence(groups, scene.metric, frames) for groups in (scene.groups, scene.base))
    benchmark, std = (np.full_like(inside.mean, number) for number in (whole.mean[0], whole.std[0]))
    levels, infinite = level(inside.mean, benchmark, std)
    count = scene.groups.count_of(scene.metric)[:, frames].sum(axis=1)
    return Levels(inside.mean, benchmark, std, levels, infinite, inside.count >= 2, count)


def size_outlier(scene: Scene) -> Levels:
    """|size - mean of sibling sizes| / std of sibling sizes.

    Siblings are the segments over the same list of fields that the search looks at, the segment itself included.
    """
    size = scene.sizes.size
    enough = len(size) >= LEAST_SIBLINGS
    benchmark, std = (np.full_like(size, f(size) if enough else np.nan) for f in (np.mean, np.std))
    levels, infinite = level(size, benchmark, std)
    return Levels(size, benchmark, std, levels, infinite, (size >= 2) & enough, size)


AVERAGE_OUTLIER = VerseType(
    type="AverageOutlier",
    family="Outlier",
    statistic=Statistic.AVERAGE,
    doc="The mean of a field differs from the baseline's: |m - B| / std of the baseline.",
    parameters=(*common(0.5), PERIOD_4W),
    plan=period_plan,
    sizes=simple_sizes,
    levels=mean_outlier,
)
STANDARD_DEVIATION_OUTLIER = VerseType(
    type="StandardDeviationOutlier",
    family="Outlier",
    statistic=Statistic.STD,
    doc="The spread of a field differs from the baseline's, relative to it.",
    parameters=(*common(0.5), PERIOD_4W),
    plan=period_plan,
    sizes=simple_sizes,
    levels=std_outlier,
)
EXISTENCE_RATIO_OUTLIER = VerseType(
    type="ExistenceRatioOutlier",
    family="Outlier",
    statistic=Statistic.RATIO,
    doc="A field is present more or less often than in the baseline.",
    parameters=(*common(0.5), PERIOD_4W),
    plan=period_plan,
    sizes=simple_sizes,
    levels=ratio_outlier,
)
SEGMENT_SIZE_OUTLIER = VerseType(
    type="SegmentSizeOutlier",
    family="Outlier",
    statistic=Statistic.SIZE,
    doc="A segment is much larger or smaller than its siblings over the same fields (at least five).",
    parameters=(*common(2, metrics=False), PERIOD_4W),
    plan=period_plan,
    sizes=simple_sizes,
    levels=size_outlier,
    ignored=("metrics",),
)

TYPES = (AVERAGE_OUTLIER, STANDARD_DEVIATION_OUTLIER, EXISTENCE_RATIO_OUTLIER, SEGMENT_SIZE_OUTLIER)
