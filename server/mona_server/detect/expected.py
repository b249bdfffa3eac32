"""What is expected of a context, given the values of its fields: an additive model fitted from sums.

A segment whose mix of other fields changes from day to day has a noisy mean although nothing happened. So the search
looks at *residuals*: the value minus what the context's own fields let expect,

    expected(x) = Σ_j effect_j(value of field j),        (mean taken off first)

fitted by least squares over the reference frames. The normal equations of an additive model hold only sums of one and
of two fields (how often two values meet, and the total of each value), so no row is read for the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from mona_server.detect.source import Effects, Frames, GroupSums, SumsSource

LIMIT = 4.0
"""Residuals are cut off at so many of their standard deviations."""
CUTS = 2
"""Times that the standard deviation is taken again after cutting off: the first is that of the extremes."""
RIDGE = 5.0
"""Contexts of prior weight for "no effect": values with fewer than this many contexts hardly move."""


def fit_effects(
    source: SumsSource, axes: Sequence[int], base: GroupSums, frames: Frames, metrics: Sequence[int]
) -> dict[int, Effects]:
    """Effects of each value of each axis on each metric, ready for :meth:`SumsSource.residual`.

    ``axes`` are the searched ones (array fields are left out, because their values overlap), ``base`` the sums of
    everybody, ``frames`` those to learn from. Contexts without the metric are not told apart from those with it when
    pairs are counted. Solves (N + ridge·I) β = t, N = how often values i and j meet, t = Σ (x - mean) per value.
    """
    chosen = [axis for axis in axes if not source.axes[axis].overlapping]
    width = [len(source.axes[axis].conditions) for axis in chosen]
    start = np.concatenate([[0], np.cumsum(width)]).astype(int)
    meets = np.zeros((start[-1], start[-1]))
    totals = np.zeros((len(metrics), start[-1]))
    means = [_mean(base, m, frames) for m in metrics]
    for i, axis in enumerate(chosen):
        groups = source.sums((axis,))
        rows = start[i] + groups.codes[:, 0]
        meets[rows, rows] = groups.size[:, frames].sum(axis=1)
        for k, m in enumerate(metrics):
            totals[k, rows] = groups.total[m][:, frames].sum(axis=1) - means[k] * groups.count[m][:, frames].sum(axis=1)
    for i, j in combinations(range(len(chosen)), 2):
        if source.axes[chosen[i]].field == source.axes[chosen[j]].field:
            continue
        groups = source.sums((chosen[i], chosen[j]))
        first, second = start[i] + groups.codes[:, 0], start[j] + groups.codes[:, 1]
        meets[first, second] = meets[second, first] = groups.size[:, frames].sum(axis=1)
    effects = np.asarray(np.linalg.solve(meets + RIDGE * np.eye(len(meets)), totals.T).T, np.float64)
    places = {axis: i for i, axis in enumerate(chosen)}
    fitted = {
        m: Effects(
            tuple(
                np.asarray(effects[k, start[places[a]] : start[places[a] + 1]], np.float64)
                if a in places
                else np.zeros(len(axis.conditions))
                for a, axis in enumerate(source.axes)
            ),
            constant=means[k],
        )
        for k, m in enumerate(metrics)
    }
    for _ in range(CUTS):
        fitted = _cut_off(source, fitted, frames)
    return fitted


def _cut_off(source: SumsSource, effects: dict[int, Effects], frames: Frames) -> dict[int, Effects]:
    """The same with the limit at some standard deviations of the residuals, as the limit so far leaves them."""
    everybody = source.residual(effects).sums(())
    out = {}
    for k, (m, expected) in enumerate(effects.items(), start=len(source.metrics)):
        count = max(float(everybody.count[k][0, frames].sum()), 1.0)
        mean = float(everybody.total[k][0, frames].sum()) / count
        variance = max(float(everybody.square[k][0, frames].sum()) / count - mean * mean, 0.0)
        out[m] = replace(expected, limit=LIMIT * float(np.sqrt(variance)) if variance else np.inf)
    return out


def _mean(base: GroupSums, metric: int, frames: Frames) -> float:
    """Mean of x - offset over the frames; 0 where there is no value."""
    count = base.count[metric][0, frames].sum()
    return float(base.total[metric][0, frames].sum() / count) if count else 0.0
