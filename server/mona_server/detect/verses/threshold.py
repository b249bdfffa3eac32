"""Threshold: a statistic lies beyond a limit that people set."""

from __future__ import annotations

import numpy as np

from mona_server.detect.levels import Levels, Mask, Scene, existence, moments, simple_sizes
from mona_server.detect.parameters import BOOLEAN, NUMBER, PERIOD, Group, Parameter, optional
from mona_server.detect.source import Floats, GroupSums
from mona_server.detect.verses.base import Statistic, Verse, VerseType, common
from mona_server.detect.windows import Plan, period_plan

LIMIT = (
    Parameter("threshold", NUMBER, None, Group.BASIC, "The limit.", required=True),
    Parameter("over_threshold", BOOLEAN, True, Group.BASIC, "true: values above it violate; false: below it."),
    Parameter("time_period", PERIOD, "1d", Group.BASIC, "The data considered, up to now."),
    Parameter(
        "high_urgency_threshold",
        optional(NUMBER),
        None,
        Group.URGENCY,
        "Urgent when the value is beyond this limit too.",
    ),
)


def statistic_of(scene: Scene, groups: GroupSums) -> tuple[Floats, Floats]:
    """(S,) the statistic over the period, and the number of contexts it stands on."""
    frames, m = scene.plan.target.frames, scene.metric
    match scene.verse.type.statistic:
        case Statistic.SIZE:
            size = groups.size[:, frames].sum(axis=1)
            return size, size
        case Statistic.RATIO:
            indicator = existence(groups, m, frames)
            return indicator.mean, indicator.count
        case Statistic.SUM:
            count = groups.count_of(m)[:, frames].sum(axis=1)
            return groups.total[m][:, frames].sum(axis=1) + scene.offset * count, count
        case Statistic.STD:
            inside = moments(groups, m, scene.offset, frames)
            return inside.std, inside.count
        case _:
            inside = moments(groups, m, scene.offset, frames)
            return inside.mean, inside.count


def threshold(scene: Scene) -> Levels:
    """|value - threshold| of segments that violate it.

    Where the baseline itself violates it, segments are compared with the baseline's value instead, and the
    baseline's own signal with the threshold.
    """
    limit, over = float(scene.verse["threshold"]), scene.verse["over_threshold"]

    def violates(values: Floats) -> Mask:
        return values > limit if over else values < limit

    value, count = statistic_of(scene, scene.groups)
    whole, _ = statistic_of(scene, scene.base)
    reference = whole[0] if violates(whole)[0] and not scene.own_baseline else limit
    benchmark = np.full_like(value, reference)
    nothing = np.zeros(value.shape, dtype=bool)
    usable = violates(value) & (count >= 2)
    return Levels(value, benchmark, np.full_like(value, np.nan), np.abs(value - benchmark), nothing, usable, count)


def beyond(verse: Verse, plan: Plan, base: GroupSums, metric: int, offset: float) -> bool:
    """Does the baseline itself violate the threshold?"""
    sizes = simple_sizes(verse, plan, base, base)
    value, _ = statistic_of(Scene(verse, plan, base, base, sizes, metric, offset), base)
    return bool(value[0] > verse["threshold"] if verse["over_threshold"] else value[0] < verse["threshold"])


def _threshold(statistic: Statistic, name: str, doc: str) -> VerseType:
    metrics = statistic is not Statistic.SIZE
    return VerseType(
        type=f"{name}Threshold",
        family="Threshold",
        statistic=statistic,
        doc=f"{doc} is beyond a limit; where everybody is, segments are compared with everybody.",
        parameters=(*common(0, metrics=metrics), *LIMIT),
        plan=period_plan,
        sizes=simple_sizes,
        levels=threshold,
        with_baseline=True,
        ignored=() if metrics else ("metrics",),
    )


TYPES = (
    _threshold(Statistic.AVERAGE, "Average", "The mean"),
    _threshold(Statistic.STD, "StandardDeviation", "The standard deviation"),
    _threshold(Statistic.RATIO, "ExistenceRatio", "The share of contexts with a value"),
    _threshold(Statistic.SUM, "Sum", "The sum"),
    _threshold(Statistic.SIZE, "SegmentSize", "The number of contexts"),
)
