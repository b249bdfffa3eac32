"""Levels from net values: where signed sums cannot tell a tiny variance from none.

Sums of squares of signed rows leave about 1e-8 of the metric's spread where 0 is right, so a divisor far below the
metric's own spread, or an enormous level, is computed again from the distinct values before it counts.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from mona_server.detect.levels import Levels, Mask, Scene, take_sizes
from mona_server.detect.source import GroupSums, NetValues, SumsSource
from mona_server.detect.verses.base import Statistic
from mona_server.segment import ALL, Segment

TINY = 1e-6
ENORMOUS = 1e6
NOISE = 1e-12
"""A difference below this share of the metric's spread is rounding."""


def doubtful(scene: Scene, levels: Levels, spread: float) -> Mask:
    """(S,): segments whose level has to be computed from net values. ``spread``: std of the metric in the baseline."""
    statistic = scene.verse.type.statistic
    if statistic not in (Statistic.AVERAGE, Statistic.STD, Statistic.SUM) or scene.verse.type.family == "Threshold":
        return np.zeros(levels.level.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        tiny = (levels.std < TINY * spread) & (np.abs(levels.value - levels.benchmark) > NOISE * spread)
        return levels.usable & (tiny | (levels.level > ENORMOUS) | levels.infinite)


def again(scene: Scene, row: int, source: SumsSource, segment: Segment) -> Levels:
    """The level of one segment from its net values, S = 1."""
    pieces = _pieces(scene)
    outlier = scene.verse.type.family == "Outlier"
    name = source.metrics[scene.metric]
    nets = _nets(source, segment, name, pieces)
    whole = _nets(source, ALL, name, pieces) if outlier else nets
    center = _center(whole)
    exact = replace(
        scene,
        groups=_summed(scene.groups.take(np.array([row])), scene.metric, pieces, nets, center),
        base=_summed(scene.base, scene.metric, pieces, whole, center) if outlier else scene.base,
        sizes=take_sizes(scene.sizes, np.array([row])),
        offset=center,
    )
    return scene.verse.type.levels(exact)


def patch(levels: Levels, row: int, exact: Levels) -> None:
    """Write one exact level over the approximate one, in place."""
    for name in ("value", "benchmark", "std", "level", "infinite", "usable", "count"):
        getattr(levels, name)[row] = getattr(exact, name)[0]


def _pieces(scene: Scene) -> list[tuple[int, int]]:
    """Runs of frames that the formula never looks into: windows, or single frames where it uses a series."""
    plan, frames = scene.plan, scene.groups.size.shape[1]
    statistic, family = scene.verse.type.statistic, scene.verse.type.family
    if family == "SuddenChange" or statistic is Statistic.SUM:
        return [(k, k + 1) for k in range(frames)]
    cuts = sorted({0, frames, *(edge for span in (plan.target, plan.benchmark) for edge in (span.first, span.last))})
    return [(a, b) for a, b in pairwise(cuts)]


def _nets(source: SumsSource, segment: Segment, name: str, pieces: list[tuple[int, int]]) -> list[NetValues]:
    return [source.net_values(segment, name, first, last) for first, last in pieces]


def _summed(
    groups: GroupSums, metric: int, pieces: list[tuple[int, int]], nets: list[NetValues], center: float
) -> GroupSums:
    """The same single segment with one metric's sums taken around ``center``; each piece stands in its first frame."""
    count, total, square = np.zeros((3, *groups.count.shape))
    for (first, _), net in zip(pieces, nets, strict=True):
        deviation = net.values - center
        count[metric, 0, first] = net.weights.sum()
        total[metric, 0, first] = (net.weights * deviation).sum()
        square[metric, 0, first] = (net.weights * deviation * deviation).sum()
    return GroupSums.of(groups.axes, groups.codes, groups.size, count, total, square)


def _center(nets: list[NetValues]) -> float:
    """The mean, so that deviations are as small as they can be."""
    weight = sum(float(net.weights.sum()) for net in nets)
    return sum(float((net.values * net.weights).sum()) for net in nets) / weight if weight else 0.0
