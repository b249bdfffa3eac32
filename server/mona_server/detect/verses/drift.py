"""Drift: a statistic over the recent target set against the benchmark set before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mona_server.detect.levels import (
    Levels,
    Moments,
    Scene,
    Sizes,
    existence,
    level,
    moments,
    shares,
    within_limits,
)
from mona_server.detect.parameters import (
    BOOLEAN,
    LEVEL,
    NUMBERS,
    PERIOD,
    PERIOD_OR_EMPTY,
    SEGMENT,
    SIZE,
    Derived,
    Group,
    Parameter,
    choice,
    optional,
)
from mona_server.detect.source import Floats, GroupSums
from mona_server.detect.verses.base import RESOLUTION_IN_FORMULA, Statistic, Verse, VerseType, common, set_sizes
from mona_server.detect.windows import Plan, drift_plan, unbroken

WINDOWS = (
    Parameter("target_set_period", PERIOD, "2w", Group.BASIC, "Length of the recent data that is judged."),
    Parameter(
        "benchmark_set_period",
        PERIOD_OR_EMPTY,
        "6w",
        Group.BASIC,
        "Length of the data it is compared with; empty = everything before the target.",
    ),
    Parameter(
        "benchmark_set_period_type",
        choice("previous_to_target", "latest"),
        "previous_to_target",
        Group.ADVANCED,
        "latest: the benchmark ends where the target ends.",
    ),
    Parameter(
        "target_baseline_segment", SEGMENT, SEGMENT.read({}), Group.ADVANCED, "Added to baseline_segment, target only."
    ),
    Parameter(
        "benchmark_baseline_segment",
        SEGMENT,
        SEGMENT.read({}),
        Group.ADVANCED,
        "Added to baseline_segment, benchmark only: for example production against training data.",
    ),
)
SETS = (*set_sizes("target"), *set_sizes("benchmark"))

NO_STD = (
    Parameter(
        "no_std_above_segment_size",
        optional(SIZE),
        None,
        Group.ADVANCED,
        "Larger segments are judged by the relative change of their distance to reference values, without a std.",
    ),
    Parameter("no_std_references", NUMBERS, (0,), Group.ADVANCED, "The reference values of that mode."),
    Parameter("no_std_min_anomaly_level", LEVEL, 0.25, Group.ADVANCED, "Least level of a signal in that mode."),
)


def _size_level(values: Any) -> float:
    if values["time_resolution"] != "":
        return 1
    return 0.1 if values["use_relative_sizes"] and values["normalize_relative_size_drift"] else 0.3


def drift_sizes(verse: Verse, plan: Plan, groups: GroupSums, base: GroupSums) -> Sizes:
    """Contexts of both sets together; the ratio weighs the share in each set by the set's size."""
    target, benchmark = (groups.size[:, span.frames].sum(axis=1) for span in (plan.target, plan.benchmark))
    whole_target, whole_benchmark = (float(base.size[:, s.frames].sum()) for s in (plan.target, plan.benchmark))
    target_ratio, benchmark_ratio = shares(target, whole_target), shares(benchmark, whole_benchmark)
    size = target + benchmark
    ratio = shares(target * target_ratio + benchmark * benchmark_ratio, size)
    passed = (
        within_limits(verse, "", size, ratio)
        & within_limits(verse, "target_", target, target_ratio)
        & within_limits(verse, "benchmark_", benchmark, benchmark_ratio)
        & (whole_target + whole_benchmark >= verse["baseline_min_segment_size"])
        & (whole_target >= verse["target_baseline_min_segment_size"])
        & (whole_benchmark >= verse["benchmark_baseline_min_segment_size"])
    )
    return Sizes(
        size,
        ratio,
        target,
        benchmark,
        passed,
        whole_target + whole_benchmark,
        target_ratio,
        benchmark_ratio,
        whole_target,
        whole_benchmark,
    )


def _sets(scene: Scene) -> tuple[Moments, Moments, Moments]:
    """Target, benchmark, and both together."""
    plan = scene.plan
    target, benchmark, union = (
        moments(scene.groups, scene.metric, scene.offset, frames)
        for frames in (plan.target.frames, plan.benchmark.frames, plan.union)
    )
    return target, benchmark, union


def mean_drift(scene: Scene) -> Levels:
    """|t - b| / S: means, and the std of both sets together. Source: AverageDrift, published insight.

    Above ``no_std_above_segment_size``: the largest ||t - r| - |b - r|| / |b - r| over the references r.
    """
    target, benchmark, union = _sets(scene)
    std, (levels, infinite) = union.std, level(target.mean, benchmark.mean, union.std)
    limit = None
    above = scene.verse.get("no_std_above_segment_size")
    if above is not None:
        large = scene.sizes.size > above
        changes, beyond = _relative_change(target.mean, benchmark.mean, scene.verse["no_std_references"])
        levels, infinite = np.where(large, changes, levels), np.where(large, beyond, infinite)
        std = np.where(large, np.nan, std)
        limit = np.where(large, scene.verse["no_std_min_anomaly_level"], scene.verse["min_anomaly_level"])
    usable = (target.count >= 2) & (benchmark.count >= 2)
    return Levels(target.mean, benchmark.mean, std, levels, infinite, usable, union.count, limit)


def _relative_change(target: Floats, benchmark: Floats, references: tuple[float, ...]) -> tuple[Floats, np.ndarray]:
    levels, infinite = np.zeros_like(target), np.zeros(target.shape, dtype=bool)
    for reference in references:
        distance = np.abs(benchmark - reference)
        one, beyond = level(np.abs(target - reference), distance, distance)
        levels, infinite = np.fmax(levels, one), infinite | beyond
    return np.where(np.isnan(target - benchmark), np.nan, levels), infinite


def std_drift(scene: Scene) -> Levels:
    """|std t - std b| / S, S the std of both sets together."""
    target, benchmark, union = _sets(scene)
    levels, infinite = level(target.std, benchmark.std, union.std)
    usable = (target.count >= 2) & (benchmark.count >= 2)
    return Levels(target.std, benchmark.std, union.std, levels, infinite, usable, union.count)


def ratio_drift(scene: Scene) -> Levels:
    """The drift of the mean of the 0/1 indicator "has a value"."""
    plan = scene.plan
    target, benchmark, union = (
        existence(scene.groups, scene.metric, frames)
        for frames in (plan.target.frames, plan.benchmark.frames, plan.union)
    )
    levels, infinite = level(target.mean, benchmark.mean, union.std)
    usable = (target.count >= 2) & (benchmark.count >= 2)
    count = scene.groups.count_of(scene.metric)[:, plan.union].sum(axis=1)
    return Levels(target.mean, benchmark.mean, union.std, levels, infinite, usable, count)


def series_drift(scene: Scene) -> Levels:
    """|mean of target frames - mean of benchmark frames| / std of all frames, over sums or sizes per frame.

    Empty frames count as 0; only whole frames are points.
    """
    plan, groups, m = scene.plan, scene.groups, scene.metric
    if scene.verse.type.has_metrics:
        series = groups.total[m] + scene.offset * groups.count_of(m)
        counts = groups.count_of(m)
    else:
        series = counts = groups.size
    first, second = plan.whole_of(plan.target), plan.whole_of(plan.benchmark)
    both = np.union1d(first, second)
    empty = np.full(len(series), np.nan)
    target, benchmark = (series[:, unbroken(f)].mean(axis=1) if len(f) else empty for f in (first, second))
    std = series[:, unbroken(both)].std(axis=1) if len(both) else empty
    levels, infinite = level(target, benchmark, std)
    usable = (counts[:, plan.target.frames].sum(axis=1) >= 2) & (counts[:, plan.benchmark.frames].sum(axis=1) >= 2)
    usable &= bool(len(first) and len(second))
    return Levels(target, benchmark, std, levels, infinite, usable, counts[:, plan.union].sum(axis=1))


def size_drift(scene: Scene) -> Levels:
    """Sizes: per frame as :func:`series_drift`; overall |t - b| / b; normalised |pt - pb| / sqrt(p (1 - p))."""
    verse, plan, sizes = scene.verse, scene.plan, scene.sizes
    if verse["time_resolution"] != "":
        return series_drift(scene)
    usable = (sizes.target >= 2) & (sizes.benchmark >= 2)
    if not verse["use_relative_sizes"]:
        target, benchmark = (
            scene.groups.size[:, span.frames].sum(axis=1) / plan.days(span) for span in (plan.target, plan.benchmark)
        )
        levels, infinite = level(target, benchmark, benchmark)
        return Levels(target, benchmark, benchmark, levels, infinite, usable, sizes.size)
    target, benchmark = (
        shares(sizes.target, sizes.target_baseline or 0),
        shares(sizes.benchmark, sizes.benchmark_baseline or 0),
    )
    divisor = benchmark
    if verse["normalize_relative_size_drift"]:
        pooled = shares(sizes.size, sizes.baseline_size)
        divisor = np.sqrt(np.maximum(pooled * (1 - pooled), 0.0))
    levels, infinite = level(target, benchmark, divisor)
    return Levels(target, benchmark, divisor, levels, infinite, usable, sizes.size)


AVERAGE_DRIFT = VerseType(
    type="AverageDrift",
    family="Drift",
    statistic=Statistic.AVERAGE,
    doc="The mean of a field has moved: |t - b| / S, in standard deviations of both sets together.",
    parameters=(*common(0.25), *WINDOWS, *SETS, *NO_STD),
    plan=drift_plan,
    sizes=drift_sizes,
    levels=mean_drift,
    with_baseline=True,
)
STANDARD_DEVIATION_DRIFT = VerseType(
    type="StandardDeviationDrift",
    family="Drift",
    statistic=Statistic.STD,
    doc="The spread of a field has changed: |std t - std b| / S.",
    parameters=(*common(0.25), *WINDOWS, *SETS),
    plan=drift_plan,
    sizes=drift_sizes,
    levels=std_drift,
    with_baseline=True,
)
EXISTENCE_RATIO_DRIFT = VerseType(
    type="ExistenceRatioDrift",
    family="Drift",
    statistic=Statistic.RATIO,
    doc="A field is present more or less often: the drift of the mean of its 0/1 indicator.",
    parameters=(*common(0.25), *WINDOWS, *SETS),
    plan=drift_plan,
    sizes=drift_sizes,
    levels=ratio_drift,
    with_baseline=True,
)
SUM_DRIFT = VerseType(
    type="SumDrift",
    family="Drift",
    statistic=Statistic.SUM,
    doc="The sum of a field per frame has moved, in standard deviations of all frames.",
    parameters=(*common(1, resolution=RESOLUTION_IN_FORMULA), *WINDOWS, *SETS),
    plan=drift_plan,
    sizes=drift_sizes,
    levels=series_drift,
    with_baseline=True,
)
SEGMENT_SIZE_DRIFT = VerseType(
    type="SegmentSizeDrift",
    family="Drift",
    statistic=Statistic.SIZE,
    doc="A segment has grown or shrunk: per frame, or (time_resolution empty) as one size or share per set.",
    parameters=(
        *common(
            Derived("1 per frame, 0.3 overall, 0.1 normalised", _size_level),
            metrics=False,
            resolution=Parameter(
                "time_resolution",
                PERIOD_OR_EMPTY,
                "1d",
                Group.BASIC,
                "Frame width of the series of sizes; empty = one size per set.",
            ),
        ),
        *WINDOWS,
        *SETS,
        Parameter(
            "use_relative_sizes",
            BOOLEAN,
            False,
            Group.BASIC,
            "Overall mode: shares of the baseline, not contexts a day.",
        ),
        Parameter(
            "normalize_relative_size_drift",
            BOOLEAN,
            True,
            Group.ADVANCED,
            "Relative sizes are divided by sqrt(p (1 - p)), p the pooled share.",
        ),
    ),
    plan=drift_plan,
    sizes=drift_sizes,
    levels=size_drift,
    with_baseline=True,
    ignored=("metrics",),
)

TYPES = (AVERAGE_DRIFT, STANDARD_DEVIATION_DRIFT, EXISTENCE_RATIO_DRIFT, SUM_DRIFT, SEGMENT_SIZE_DRIFT)
