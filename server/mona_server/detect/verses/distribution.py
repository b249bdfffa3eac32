"""Distribution drift: the shape of a field has changed, not only its mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.levels import Levels, Scene
from mona_server.detect.source import AxisRequest, Floats, NetValues
from mona_server.detect.verses.base import Statistic, Verse, VerseType, common
from mona_server.detect.verses.drift import SETS, WINDOWS, drift_sizes
from mona_server.detect.windows import Look, Plan, drift_plan
from mona_server.segment import ALL

FEW = 30
"""Categories with at most so many contexts: their noise is summed exactly, above it a chi-square form is close."""


BINS = 64


def distribution_plan(verse: Verse, at_ms: int, data_start_ms: int, look: Look) -> Plan | None:
    """The windows of a drift, with one more axis per metric: its values, or 64 bins of equal counts where it has more."""
    plan = drift_plan(verse, at_ms, data_start_ms, look)
    if plan is None:
        return None
    source = look(replace(plan.questions[0], axes=()))
    extra = []
    for metric in verse.metrics:
        net = source.net_values(ALL, metric, 0, len(source.edges_ms) - 1)
        extra.append(AxisRequest(metric, boundaries=_boundaries(net)))
    questions = tuple(replace(ask, axes=(*ask.axes, *extra)) for ask in plan.questions)
    return replace(plan, questions=questions)


def _boundaries(net: NetValues) -> tuple[float, ...]:
    """Bin edges; none for texts (a single net value), whose own values are the categories."""
    if len(net.values) <= BINS:
        return tuple(float(value) for value in net.values[1:])
    below = np.cumsum(net.weights) - net.weights
    places = np.searchsorted(below, net.weights.sum() * np.arange(1, BINS) / BINS)
    return tuple(float(v) for v in np.unique(net.values[np.minimum(places, len(net.values) - 1)]) if v > net.values[0])


def divergence(target: Floats, benchmark: Floats) -> Floats:
    """Each category's part of the Jensen-Shannon divergence, base 2. Shares in, same shape out."""
    middle = (target + benchmark) / 2
    parts = np.zeros_like(middle)
    for share in (target, benchmark):
        some = share > 0
        parts[some] += share[some] * np.log2(share[some] / middle[some]) / 2
    return parts


def expected_divergence(both: Floats, wholes: tuple[Floats, Floats]) -> Floats:
    """The part that each category is expected to add when nothing has changed.

    ``both`` (P,) contexts of the category in both sets, ``wholes`` (P,) sizes of target and benchmark. The split of
    a category is binomial; few contexts: the exact sum, many: (1 - share)(1/T + 1/B)/(8 ln 2), the second-order form.
    """
    from scipy.special import gammaln, xlog1py, xlogy  # only where such a verse runs: it is large

    target, benchmark = wholes
    total = target + benchmark
    expected: Floats = (1 - both / total) * (1 / target + 1 / benchmark) / (8 * np.log(2))
    for n in range(1, FEW + 1):
        rows = np.flatnonzero(both == n)
        if len(rows):
            chance = target[rows] / total[rows]
            exact = np.zeros(len(rows))
            for k in range(n + 1):
                split = divergence(k / target[rows], (n - k) / benchmark[rows])
                log_pmf = (
                    gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + xlogy(k, chance) + xlog1py(n - k, -chance)
                )
                exact += np.exp(log_pmf) * split
            expected[rows] = exact
    return expected


def distribution_drift(scene: Scene) -> Levels:
    """Jensen-Shannon distance (base 2, 0..1) minus what sampling noise alone makes, floored at 0.

    The expected distance is the root of the expected divergence, times E[chi]/sqrt(E[chi²]) of the categories' degrees
    of freedom, because the mean of a root is below the root of the mean.
    """
    from scipy.special import chdtrc, gammaln

    assert scene.parts is not None
    plan, segment = scene.plan, scene.parts.segment
    segments = len(scene.groups.codes)
    target, benchmark = (scene.parts.over(span.frames) for span in (plan.target, plan.benchmark))
    wholes: list[Floats] = [np.bincount(segment, part, segments).astype(np.float64) for part in (target, benchmark)]
    usable = (wholes[0] >= 2) & (wholes[1] >= 2)
    some = usable[segment] & (target + benchmark > 0)
    segment, target, benchmark = segment[some], target[some], benchmark[some]
    around = (wholes[0][segment], wholes[1][segment])
    found = _add(segment, divergence(target / around[0], benchmark / around[1]), segments)
    expected = _add(segment, expected_divergence(target + benchmark, around), segments)
    distance, noise = np.sqrt(found), np.sqrt(expected)
    freedom = np.maximum(np.bincount(segment, minlength=segments) - 1.0, 1.0)
    noise *= np.exp(gammaln((freedom + 1) / 2) - gammaln(freedom / 2)) * np.sqrt(2 / freedom)
    levels = np.maximum(distance - noise, 0.0)
    nothing = np.zeros(segments, dtype=bool)
    ratio = np.divide(found, expected, out=np.zeros(segments), where=expected > 0) * freedom
    p = chdtrc(freedom, ratio / burst(scene))
    nan = np.full(segments, np.nan)
    return Levels(distance, noise, nan, levels, nothing, usable, wholes[0] + wholes[1], p_value=p)


def burst(scene: Scene) -> float:
    """How much more than independent rows would the distributions of every other week of the benchmark differ.

    The divergence of both halves over its expected value, all segments together, at least 1.
    """
    assert scene.parts is not None
    halves = [scene.parts.over(frames) for frames in scene.plan.halves()]
    segments = len(scene.groups.codes)
    segment = scene.parts.segment
    wholes: list[Floats] = [np.bincount(segment, half, segments)[segment].astype(np.float64) for half in halves]
    some = (wholes[0] >= 2) & (wholes[1] >= 2) & (halves[0] + halves[1] > 0)
    if not some.any():
        return 1.0
    one, other, within = halves[0][some], halves[1][some], (wholes[0][some], wholes[1][some])
    found = divergence(one / within[0], other / within[1]).sum()
    return max(1.0, float(found / expected_divergence(one + other, within).sum()))


def _add(segment: NDArray[np.intp], parts: Floats, segments: int) -> Floats:
    return np.maximum(np.bincount(segment, parts, segments), 0.0)


DISTRIBUTION_DRIFT = VerseType(
    type="DistributionDrift",
    family="Drift",
    statistic=Statistic.DISTRIBUTION,
    doc="The distribution of a field has changed: Jensen-Shannon distance beyond what sampling noise explains.",
    parameters=(*common(0.1, depth=1), *WINDOWS, *SETS),
    plan=distribution_plan,
    sizes=drift_sizes,
    levels=distribution_drift,
    with_baseline=True,
)

TYPES = (DISTRIBUTION_DRIFT,)
