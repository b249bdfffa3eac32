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
from numpy.typing import NDArray

from mona_server.detect.source import Effects, Floats, Frames, GroupSums, SumsSource
from mona_server.detect.windows import runs

LIMIT = 4.0
"""Residuals are cut off at so many of their standard deviations."""
RIDGE = 5.0
"""Contexts of prior weight for "no effect": values with fewer than this many contexts hardly move."""
ENOUGH = 1_000_000
"""Effects, and where residuals are cut off, are learnt from about so many contexts: a segment is compared with its own past,
so what an effect is wrong by is in both, and the noise of a mean of so many is none."""
PIECES = 8
"""The frames to learn from are summed in about so many pieces."""


def fit_effects(
    source: SumsSource, axes: Sequence[int], base: GroupSums, frames: Frames, metrics: Sequence[int]
) -> dict[int, Effects]:
    """Effects of each value of each axis on each metric, ready for :meth:`SumsSource.residual`.

    ``axes`` are the searched ones (array fields are left out, because their values overlap), ``base`` the sums of
    everybody, ``frames`` those to learn from. Contexts without the metric are not told apart from those with it when
    pairs are counted. Solves (N + ridge·I) β = t, N = how often values i and j meet, t = Σ (x - mean) per value; of a
    share of the contexts (:data:`ENOUGH`) the ridge is the same share.
    """
    whole, some = base, source.sampled(ENOUGH)
    if some is not source:
        source, base = some, some.sums(())
    ridge = RIDGE * min(float(base.size.sum()) / max(float(whole.size.sum()), 1.0), 1.0)
    chosen = [axis for axis in axes if not source.axes[axis].overlapping]
    width = [len(source.axes[axis].conditions) for axis in chosen]
    start = np.concatenate([[0], np.cumsum(width)]).astype(int)
    meets = np.zeros((start[-1], start[-1]))
    totals = np.zeros((len(metrics), start[-1]))
    means = [_mean(base, m, frames) for m in metrics]
    spans = in_pieces(np.arange(base.size.shape[1])[frames])
    for i, groups in enumerate(source.spans_of([(axis,) for axis in chosen], spans)):
        rows = start[i] + groups.codes[:, 0]
        meets[rows, rows] = groups.size.sum(axis=1)
        for k, m in enumerate(metrics):
            totals[k, rows] = groups.total[m].sum(axis=1) - means[k] * groups.count_of(m).sum(axis=1)
    pairs = [
        (i, j)
        for i, j in combinations(range(len(chosen)), 2)
        if source.axes[chosen[i]].field != source.axes[chosen[j]].field
    ]
    together = source.without_metrics().spans_of([(chosen[i], chosen[j]) for i, j in pairs], spans)
    for (i, j), groups in zip(pairs, together, strict=True):
        first, second = start[i] + groups.codes[:, 0], start[j] + groups.codes[:, 1]
        meets[first, second] = meets[second, first] = groups.size.sum(axis=1)
    effects = np.asarray(np.linalg.solve(meets + ridge * np.eye(len(meets)), totals.T).T, np.float64)
    # At most so many effects were free: one per value, less for rare ones, of each field one less, as the mean is known.
    seen = np.diagonal(meets)
    free = max(float((seen / (seen + ridge)).sum()) - len(chosen), 0.0)
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
            leverage=free / max(float(whole.count_of(m)[0, frames].sum()), free, 1.0),
        )
        for k, m in enumerate(metrics)
    }
    return _cut(source, fitted, frames)


def fit_level(source: SumsSource, base: GroupSums, frames: Frames, metrics: Sequence[int]) -> dict[int, Effects]:
    """Everybody's mean and the cut alone: what is compared with everybody keeps what its fields let expect."""
    none = tuple(np.zeros(len(axis.conditions)) for axis in source.axes)
    fitted = {m: Effects(none, constant=_mean(base, m, frames)) for m in metrics}
    return _cut(source.sampled(ENOUGH), fitted, frames)


def in_pieces(frames: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Ascending frames as spans a..b-1: the runs that they make, the long ones in pieces, so that several threads have work.

    >>> in_pieces(np.array([0, 1, 2, 7, 8]))
    [(0, 1), (1, 2), (2, 3), (7, 8), (8, 9)]
    >>> in_pieces(np.arange(10, 80))[:2]
    [(10, 19), (19, 28)]
    """
    most = -(-len(frames) // PIECES)
    return [(start, min(start + most, b)) for a, b in runs(frames) for start in range(a, b, most)]


def _cut(source: SumsSource, effects: dict[int, Effects], frames: Frames) -> dict[int, Effects]:
    """The same with residuals cut off at some standard deviations of them, as a first, wider cut leaves them.

    Where all rows of a frame moved, the cut moves along with their mean; where a segment moved far enough to take the
    mean with it, it stays. What leaves the smaller squares of the cut residuals counts, frame by frame.
    """
    wide = {m: replace(effects[m], limit=limit, centre=mean) for m, limit, mean, _ in _spread(source, effects, frames)}
    still = {m: replace(expected, centre=np.zeros_like(expected.centre)) for m, expected in wide.items()}
    out = {}
    for (m, limit, mean, along), (_, other, held, fixed) in zip(
        _spread(source, wide, frames), _spread(source, still, frames), strict=True
    ):
        out[m] = replace(effects[m], limit=min(limit, other), centre=np.where(along < fixed, mean, held))
    return out


def _spread(source: SumsSource, effects: dict[int, Effects], frames: Frames) -> list[tuple[int, float, Floats, Floats]]:
    """Of each metric the limit that its residuals ask for, and per frame their mean and squares around the centre."""
    everybody = source.everybody(effects)
    out = []
    for k, (m, expected) in enumerate(effects.items()):
        count, total = np.maximum(everybody.count[k], 0.0), everybody.total[k]
        mean = total / np.maximum(count, 1.0)
        centre = mean if expected.centre is None else expected.centre
        squares = np.maximum(everybody.square[k] - 2 * centre * total + centre**2 * count, 0.0)
        variance = float(squares[frames].sum()) / max(float(count[frames].sum()), 1.0)
        out.append((m, LIMIT * float(np.sqrt(variance)) if variance else np.inf, mean, squares))
    return out


def _mean(base: GroupSums, metric: int, frames: Frames) -> float:
    """Mean of x - offset over the frames; 0 where there is no value."""
    count = base.count_of(metric)[0, frames].sum()
    return float(base.total[metric][0, frames].sum() / count) if count else 0.0
