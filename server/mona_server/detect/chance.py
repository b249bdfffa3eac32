"""How surprising is a change? Pure functions over arrays of C candidates; no verse, no source.

A candidate's change is a sum of deviations over the judged frames, ``x``, with variance ``D·(E_T + E_T²/E_R)``: D is its
dispersion per unit of exposure (a context, mostly), E_T and E_R the exposure in the judged and in the reference frames.

- **Frames, not rows.** D is measured between frames, so what moves all rows of a day together counts once.
- **Pooling.** One segment's D from a few weeks is noise itself. :mod:`chance_dispersion` shrinks it towards what its
  rows alone would give times a factor that depends on size and is learnt from all candidates (empirical Bayes).
- **Many tests.** :func:`tail_score` is ``-log p + log prior``; priors sum to one over all candidates, so accepting
  scores above ``-log α`` keeps the chance of any false one below α (weighted Bonferroni).
- **Heavy tails, dependence.** The same statistic over placebo windows of the reference frames has the same tails and
  the same dependence between candidates; :func:`calibrate` raises the limit to what their maxima ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats
from mona_server.threads import in_threads

Digits = TypeVar("Digits", np.float32, np.float64)

EULER = 0.5772156649015329


def log_two_sided(z: Floats) -> Floats:
    """log of the two-sided normal p of z, accurate far out."""
    from scipy.special import log_ndtr

    return np.asarray(np.minimum(np.log(2.0) + log_ndtr(-np.abs(z)), 0.0), np.float64)


def tail_score(z: Floats, log_prior: Floats) -> Floats:
    """``-log p + log prior``: evidence beyond what the search for it costs."""
    return log_prior - log_two_sided(z)


def depth_prior(depth: NDArray[np.intp]) -> Floats:
    """(C,) log prior: each number of conditions has the same mass, shared evenly by its candidates.

    So a segment with one condition, of which there are few, needs less evidence than one of thousands with three.

    >>> np.exp(depth_prior(np.array([1, 2, 2, 2, 2]))).round(12).tolist()
    [0.5, 0.125, 0.125, 0.125, 0.125]
    """
    if not len(depth):
        return np.zeros(0)
    there, place, counts = np.unique(depth, return_inverse=True, return_counts=True)
    return np.asarray(-np.log(len(there) * counts[place]), np.float64)


def heavy_tailed(z: NDArray[Digits], inverse_dof: NDArray[Digits]) -> NDArray[Digits]:
    """Normal deviate with the same p as z under Student's t with ``1/inverse_dof`` degrees of freedom (0: normal).

    ``(8ν+1)/(8ν+3) · sqrt(ν·log(1 + z²/ν))``, in the precision that both have. Source: Wallace (1959), Annals of
    Mathematical Statistics 30.

    >>> np.round(heavy_tailed(np.array([2.0, 8.61]), np.array([0.0, 0.25])), 2).tolist()
    [2.0, 3.25]
    """
    dof = 1 / np.maximum(inverse_dof, 1e-6)
    bent = (8 * dof + 1) / (8 * dof + 3) * np.sqrt(dof * np.log1p(z * z / dof))
    return np.where(inverse_dof > 1e-6, np.sign(z) * bent, z)


NEARLY = 0.95
"""So near to the furthest are few."""


def furthest(z: NDArray[np.float32], tails: Tails, rows: NDArray[np.intp] | slice = slice(None)) -> Floats:
    """(W,) the largest of the deviates (C, W) once bent by the tails of their ``rows``, without its sign.

    Bending never takes a deviate further out, so only those at least as far as a bent one have to be bent. NaN is nowhere.
    """
    weights = tails.weights[rows]
    alone = None if tails.alone is None or tails.furthest is None else (tails.alone[rows], tails.furthest[rows])
    best = np.zeros(z.shape[1])

    def bend(least: Floats) -> None:
        """Those at least as far out."""
        row, window = np.nonzero((z >= least) | (z <= -least))
        value = z[row, window].astype(np.float64)
        side = (value >= 0).astype(np.intp)
        inverse = weights[row, side]
        if alone is not None:
            inverse = np.where(alone[1][row] == window, alone[0][row, side], inverse)
        np.maximum.at(best, window, np.abs(heavy_tailed(value, inverse)))

    bend(NEARLY * np.fmax(np.fmax.reduce(z), -np.fmin.reduce(z)))
    bend(best)
    return best


def skewed(z: Floats, skewness: Floats) -> Floats:
    """Normal deviate with the same p as z under a gamma law (Pearson III) with this skewness, never further out than z.

    ``6/g · ((g·z/2 + 1)^(1/3) - 1) + g/6``. Source: Wilson and Hilferty (1931), PNAS 17. The mean of n independent values
    with skewness γ has about ``γ/√n``. The lighter tail is not trusted, because its z hangs on the variance.

    >>> np.round(skewed(np.array([6.0, -3.0]), np.array([0.5, 0.5])), 2).tolist()
    [4.37, -3.0]
    """
    g = np.where(np.abs(skewness) < 1e-4, 1e-4, skewness)
    bent = 6 / g * (np.cbrt(np.maximum(g * z / 2 + 1, 1e-3)) - 1) + g / 6
    return np.asarray(np.sign(z) * np.clip(np.sign(z) * bent, 0.0, np.abs(z)), np.float64)


def count_z(change: Floats, expected: Floats, reference: Floats) -> Floats:
    """Signed root of the deviance of a count against its share of target and reference together.

    Given both, the target's count is binomial with odds expected : reference. The signed root is close to normal far
    into the tails and for small counts, where the plain z is skewed.
    """
    now = np.maximum(expected + change, 0.0)
    whole = now + reference
    share = expected / np.maximum(expected + reference, 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(now > 0, now * np.log(now / np.maximum(whole * share, 1e-300)), 0.0)
        second = np.where(reference > 0, reference * np.log(reference / np.maximum(whole * (1 - share), 1e-300)), 0.0)
    return np.asarray(np.sign(change) * np.sqrt(np.maximum(2 * (first + second), 0.0)), np.float64)


ENOUGH_TO_SPREAD = 2**14
"""Of so many candidates the median is known to a hundredth."""


def alike(size: Floats) -> NDArray[np.intp]:
    """(C,) the number of each candidate's bin, one of a few of about the same size; -1 where there are too few of them."""
    bins = min(len(size) // TAIL_BIN, 4)
    which = np.full(len(size), -1, np.intp)
    for number, part in enumerate(np.array_split(np.argsort(size, kind="stable"), bins) if bins else ()):
        which[part] = number
    return which


def turmoil(z: Floats | NDArray[np.float32], bins: NDArray[np.intp], threads: int = 1) -> Floats:
    """(B + 1, W) how much wider than usual all candidates of about the same size scatter in a window; at least 1.

    On the day of a storm everything moves, each in its own way. A candidate stands out when it moves more than the
    others do. The spread is 1.4826 times the median of ``|z|`` (C, W), so a few real changes do not hide themselves.
    ``bins`` (C,) are those of :func:`alike`; in no bin, -1, nothing is known of a storm.
    """
    out = np.ones((int(bins.max(initial=-1)) + 2, z.shape[1]))

    def spread(number: int) -> None:
        part = np.flatnonzero(bins == number)
        some = part[:: max(len(part) // ENOUGH_TO_SPREAD, 1)]
        out[number] = np.maximum(1.4826 * np.median(np.abs(z[some]), axis=0), 1.0)

    in_threads(spread, range(len(out) - 1), threads)
    return out


def weighted_median(values: Floats, weights: Floats) -> float:
    """The least value below or at which half of the weight lies; 0 of nothing.

    >>> weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0]))
    2.0
    """
    if not len(values):
        return 0.0
    order = np.argsort(values, kind="stable")
    summed = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(summed, summed[-1] / 2)]])


TAIL_LEVELS = (0.999, 0.9999)
TAIL_BIN = 150
"""Least number of candidates from which one point of the tail curve is learnt."""
HEAVIEST = 1 / 3


def tail_weights(placebo: NDArray[np.float32], size: Floats, inside: NDArray[np.bool_] | None = None) -> Floats:
    """(C, 2) inverse degrees of freedom of the lower and the upper tail, learnt from placebo deviates (C, W).

    ``inside`` (C, W): those to learn from, None: all.

    Small segments have heavier tails: few rows, of which one can be large, or bursts. In bins of about equal size the
    quantiles far out are matched with those of Student's t; a straight line over log size smooths them.
    """
    candidates, windows = placebo.shape
    some = np.arange(candidates) if inside is None else np.flatnonzero(inside.any(axis=1))
    bins = min(candidates // TAIL_BIN, 8) if inside is None else max(int(inside.sum()) // windows // TAIL_BIN, 1)
    if bins < 1 or windows < 4 or not len(some):
        return np.zeros((candidates, 2))
    log_size = np.log(np.maximum(size, 1.0))
    order = some[np.argsort(log_size[some], kind="stable")]
    out = np.zeros((candidates, 2))
    parts = np.array_split(order, bins)
    middles = [float(log_size[part].mean()) for part in parts]
    far = [far_quantiles(placebo[part].ravel() if inside is None else placebo[part][inside[part]]) for part in parts]
    for side in range(2):
        weights = []
        for levels, quantiles in far:
            each = [_weight_of(quantile, q) for quantile, q in zip(quantiles[side], levels, strict=True)]
            weights.append(float(np.mean(each)) if each else 0.0)
        if bins >= 3 and middles[-1] > middles[0]:
            slope, level = np.polyfit(middles, weights, 1)
            curve = level + slope * np.clip(log_size, middles[0], middles[-1])
        else:
            curve = np.full(candidates, max(weights))
        out[:, side] = np.clip(curve, 0.0, HEAVIEST)
    return out


CALM = (0.5, 0.875)
"""Candidates are calm, lively or wild, by the furthest they ever were: so many of them are calmer than each step."""
LEAST_WILD = 6000
"""Least number of deviates of the wild ones: fewer do not show a quantile of 0.999."""


@dataclass(frozen=True, slots=True)
class Tails:
    """Inverse degrees of freedom, (C, 2) for the lower and the upper side, as the law of each candidate has them.

    ``alone`` (C, 2) and ``furthest`` (C,): the same for the placebo window in which a candidate was furthest out, as if
    that one had not been seen; None where they do not differ.
    """

    weights: Floats
    alone: Floats | None = None
    furthest: NDArray[np.intp] | None = None


def tails_of(placebo: NDArray[np.float32], size: Floats, usual: NDArray[np.intp], *, apart: bool) -> Tails:
    """The tails of candidates (C, W); ``usual``: the windows to learn from.

    Where windows have nothing in common (``apart``), a candidate's own past tells more than those of others of its size:
    where one advertiser starts and stops campaigns, countries may be steady. So tails are learnt for candidates that
    were never far out, or were, in the *other* windows, which says nothing about the window itself.
    """
    values = placebo[:, usual]
    if not apart or values.size * (1 - CALM[-1]) < LEAST_WILD:
        return Tails(tail_weights(values, size))
    away = np.abs(values)
    place = away.argmax(axis=1)
    every = np.arange(len(values))
    most = away[every, place]
    away[every, place] = -1.0
    second = away.max(axis=1)
    del away
    steps = np.quantile(most, CALM)
    group, group_alone = np.searchsorted(steps, most), np.searchsorted(steps, second)
    weights, alone = np.zeros((len(values), 2)), np.zeros((len(values), 2))
    for one in range(len(steps) + 1):
        inside = np.repeat((group == one)[:, None], values.shape[1], axis=1)
        inside[every, place] = group_alone == one
        learnt = tail_weights(values, size, inside)
        weights[group == one], alone[group_alone == one] = learnt[group == one], learnt[group_alone == one]
    return Tails(weights, alone, usual[place])


FAR = 2.0
"""What is looked for is further out than so many standard deviations, if there is enough."""


def far_quantiles(values: NDArray[np.float32]) -> tuple[list[float], tuple[list[float], list[float]]]:
    """The levels that so many values can tell, and the distance from 0 of the lower and of the upper quantile at each."""
    count = len(values)
    levels = [q for q in TAIL_LEVELS if count * (1 - q) >= 3]
    places = [count - 1 - int(q * count) for q in levels]  # from the end
    if not places:
        return levels, ([], [])

    def side(sign: int) -> list[float]:
        far = sign * values[values < -FAR if sign > 0 else values > FAR]
        ordered = np.partition(far if len(far) > places[0] else sign * values, places)
        return [-float(ordered[place]) for place in places]

    return levels, (side(1), side(-1))


def _weight_of(quantile: float, level: float) -> float:
    """Inverse degrees of freedom of the Student law whose quantile at ``level`` is this one; 0 for lighter tails."""
    from scipy.special import ndtri

    low, high = 0.0, HEAVIEST
    wanted = float(ndtri(level))
    if quantile <= wanted:
        return 0.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if heavy_tailed(np.array(quantile), np.array(middle)) > wanted else (low, middle)
    return (low + high) / 2


LEAST_BOUND = 2.0
"""Candidates share contexts, so the best of them is further out less often than the Bonferroni bound says. How much less, placebo
windows show; they are few, so no more than this factor is believed, and of fewer than :data:`ENOUGH_PLACEBOS` none."""
ENOUGH_PLACEBOS = 24
"""Fifteen pairs of six weeks are hardly more than six windows."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """From scores to adjusted p: the tail of placebo maxima, at least half of the Bonferroni bound, or all of it."""

    location: float
    scale: float
    placebos: int
    tests: int = 1
    """Metrics that share the rate. Each has its own placebo maxima: a wild one does not silence the others."""

    def adjusted_p(self, score: Floats) -> Floats:
        """Chance that the best of all candidates scores this high when nothing happened."""
        bound = np.exp(-np.maximum(score, 0.0))
        if not self.placebos:
            return np.asarray(bound, np.float64)
        bound = bound / self.believed
        gumbel = -np.expm1(-np.exp(-(score - self.location) / self.scale))
        return np.asarray(np.maximum(bound, np.minimum(self.tests * gumbel, 1.0)), np.float64)

    @property
    def believed(self) -> float:
        """How many times less often than the bound says the best may be as far out."""
        return LEAST_BOUND if self.placebos >= ENOUGH_PLACEBOS else 1.0

    def limit(self, rate: float) -> float:
        """The score from which the adjusted p is at most ``rate``."""
        bound = -np.log(rate)
        if not self.placebos:
            return float(bound)
        return float(
            max(bound - np.log(self.believed), self.location - self.scale * np.log(-np.log1p(-rate / self.tests)))
        )


def calibrate(maxima: Floats, tests: int = 1, *, contaminated: bool = False) -> Calibration:
    """Gumbel law of the best score of a window, fitted to those of placebo windows.

    If scores were exact, the best of many would follow a Gumbel law with scale 1; heavier tails only widen it, so the
    scale is at least 1. By moments, or, where some windows hold changes of their own (``contaminated``), by the lower
    quartile and the median. Fewer than four placebos tell nothing, then the Bonferroni bound stands alone.
    """
    found = maxima[np.isfinite(maxima)]
    if len(found) < 4:
        return Calibration(0.0, 1.0, 0)
    if contaminated:
        low, middle = np.quantile(found, [0.25, 0.5])
        scale = max(float(middle - low) / float(np.log(np.log(4) / np.log(2))), 1.0)
        return Calibration(float(middle) + scale * float(np.log(np.log(2))), scale, len(found), tests)
    scale = max(float(found.std(ddof=1)) * np.sqrt(6) / np.pi, 1.0)
    return Calibration(float(found.mean()) - EULER * scale, scale, len(found), tests)
