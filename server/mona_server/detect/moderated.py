"""Dispersions of single candidates, moderated by those of all: pure functions over arrays of C candidates.

One segment's dispersion from a few weeks is noise itself, and that of all together is not everybody's. How far own
dispersions may be trusted is seen in how much more they vary than their noise lets expect (empirical Bayes): own variances
with d degrees of freedom around a true one, true ones around a trend over size with d0, so

    s̃² = (d0·s0² + d·s²) / (d0 + d)

Where all segments are alike d0 is infinite and luck of one segment's few weeks costs nothing; where they differ, each
has its own. Source: Smyth (2004), Statistical Applications in Genetics and Molecular Biology 3(1), article 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats

Own = Floats | NDArray[np.float32]

BIN = 150
"""Least number of candidates from which one point of a curve over size is learnt."""
ENOUGH = 20
"""With fewer candidates there is nothing to learn from."""
UNTAUGHT = 10.0
"""Weight of "cycles are no noisier than frames" against own degrees of freedom, where nothing can be learnt."""
MANY = 1e6
"""Degrees of freedom that stand for infinitely many."""


@dataclass(frozen=True, slots=True)
class Moderation:
    """What all candidates together say of each one's dispersion per unit of exposure."""

    prior: Floats
    """(C,) s0²: what the size of a candidate lets expect between frames."""
    prior_freedom: Floats
    """(C,) d0."""
    freedom: Floats
    """(C,) d of an own estimate between frames."""
    least: Floats
    """(C,) nothing is smaller than this."""
    cycle_ratio: float = 1.0
    """Dispersion between cycles over that between frames, of all candidates together; at least 1."""
    cycle_prior_freedom: float = MANY
    cycle_freedom: Floats | None = None
    """(C,) of an own estimate between cycles; None where there is none."""

    def dispersion(self, between: Own, weekly: Own, frames: Floats | float = 1.0) -> Floats:
        """(C, ...) moderated dispersion from own estimates of a share of the frames: all, or those outside of a window."""

        def each(values: Floats) -> Floats:
            return values.reshape((-1,) + (1,) * (between.ndim - 1))

        lean, own = each(self.prior_freedom), each(self.freedom) * frames
        found = (lean * each(self.prior) + own * between) / (lean + own)
        if self.cycle_freedom is not None:
            cycle_lean, own = self.cycle_prior_freedom, each(self.cycle_freedom) * frames
            found = (cycle_lean * self.cycle_ratio * found + own * weekly) / (cycle_lean + own)
        return np.asarray(np.maximum(found, each(self.least)), np.float64)


def moderation(
    between: Floats,
    rows: Floats,
    size: Floats,
    frames: Floats,
    halves: tuple[Floats, Floats],
    dof: float,
    weekly: tuple[Floats, float] | None = None,
    seasons: float = 0.0,
) -> Moderation:
    """Learn from all candidates.

    ``between`` (C,): own estimates between frames, with ``dof`` degrees of freedom; ``rows`` what independent rows would
    give; ``size`` contexts; ``frames`` how many frames like one another would hold them; ``halves`` the own estimate from
    every other cycle: how much two halves differ shows how noisy own estimates are, also where single contexts are large;
    ``weekly`` own estimates between cycles and their degrees of freedom; ``seasons``: how many frames share one of the
    means that were taken off.
    """
    floor = 1e-12 * max(float(rows.max(initial=0.0)), 1e-300)
    usable = (rows > floor) & (between > floor) & (halves[0] > floor) & (halves[1] > floor)
    if int(usable.sum()) < ENOUGH or dof < 3:
        # Too few candidates or frames to learn from: the own estimate, never below the rows'.
        none = np.zeros(len(rows))
        cycle = None if weekly is None else none + weekly[1]
        return Moderation(rows, none, none + 1, np.maximum(rows, floor), 1.0, UNTAUGHT, cycle)
    # Beyond what could be learnt from, curves stay level: a parabola would run away.
    log_size, log_frames = (
        np.clip(one, one[usable].min(), one[usable].max())
        for one in (np.log(np.maximum(size, 1.0)), np.log(np.maximum(frames, 1.0)))
    )
    # Two halves share the means that were taken off: the variance of n - 1 is (n - 1)/(n - 2) times what they show.
    shared = (seasons - 1) / max(seasons - 2, 1.0)
    apart = np.log(halves[0][usable]) - np.log(halves[1][usable])
    noise = _curve(apart**2 / 4 * shared, np.ones(len(apart)), log_frames[usable])
    noise = replace(noise, values=np.maximum(noise.values, trigamma(dof / 2)))
    degrees = replace(noise, values=2 * inverse_trigamma(noise.values))
    known = noise(log_frames[usable])
    sure = 1 / known**2
    lowered = replace(degrees, values=_bias(degrees.values))
    log_ratio = np.log(between[usable]) - np.log(rows[usable]) - lowered(log_frames[usable])
    # Contexts that come in lumps fill few frames for their number, and vary more.
    design = np.column_stack([np.vander(log_size, 3), log_frames])
    scale = np.maximum(np.abs(design[usable]).max(axis=0), 1e-9)  # else powers of log size are nearly collinear
    spread = np.zeros(len(known))
    for _ in range(2):
        weight = 1 / np.sqrt(known + spread)
        found = np.linalg.lstsq(design[usable] / scale * weight[:, None], log_ratio * weight, rcond=None)[0]
        fit = design / scale @ found
        beyond = _curve((log_ratio - fit[usable]) ** 2 - known, sure, log_size[usable])
        spread = np.maximum(beyond(log_size[usable]), 0.0)
    lean = replace(beyond, values=2 * inverse_trigamma(beyond.values))
    prior = rows * np.exp(fit + replace(lean, values=_bias(lean.values))(log_size))
    prior_freedom, freedom = (
        1 / replace(curve, values=1 / curve.values)(at) for curve, at in ((lean, log_size), (degrees, log_frames))
    )
    least = np.full(len(rows), floor)
    if weekly is None:
        return Moderation(prior, prior_freedom, freedom, least)
    cycles, cycle_dof = weekly
    ratio = np.log(np.maximum(cycles[usable], floor)) - np.log(between[usable])
    # Cycles are a part of the frames, so the ratio varies less than two independent estimates would.
    part = (dof - cycle_dof) / dof
    expected = part * float(_bias(np.array(cycle_dof)) - _bias(np.array(dof - cycle_dof)))
    middle = float(np.average(ratio, weights=sure))
    away = float(np.average((ratio - middle) ** 2, weights=sure))
    away -= part**2 * (trigamma(cycle_dof / 2) + trigamma((dof - cycle_dof) / 2))
    cycle_lean = 2 * inverse_trigamma(np.array(away))
    level = float(np.exp(middle - expected + _bias(cycle_lean)))
    own = np.minimum(cycle_dof, freedom)
    return Moderation(prior, prior_freedom, freedom, least, max(level, 1.0), float(cycle_lean), own)


@dataclass(frozen=True, slots=True)
class _Curve:
    """Values at places, joined by straight lines."""

    places: Floats
    values: Floats

    def __call__(self, at: Floats) -> Floats:
        return np.asarray(np.interp(at, self.places, self.values), np.float64)


def _curve(values: Floats, weights: Floats, at: Floats) -> _Curve:
    """Weighted means of ``values`` in bins of at least 150 along ``at``."""
    parts = np.array_split(np.argsort(at, kind="stable"), max(min(len(at) // BIN, 8), 1))
    return _Curve(
        np.array([at[part].mean() for part in parts]),
        np.array([np.average(values[part], weights=weights[part]) for part in parts]),
    )


def _bias(freedom: Floats) -> Floats:
    """How far the mean log of a variance estimate lies from the log of the variance."""
    from scipy.special import digamma

    half = freedom / 2
    return np.asarray(digamma(half) - np.log(half), np.float64)


def trigamma(x: float) -> float:
    from scipy.special import polygamma

    return float(polygamma(1, x))


def inverse_trigamma(y: Floats) -> Floats:
    """x with ψ'(x) = y, by Newton steps on 1/ψ'; where y is 0 or less, as many as stand for infinity.

    >>> inverse_trigamma(np.array([trigamma(0.5), trigamma(20.0)])).round(9).tolist()
    [0.5, 20.0]
    """
    from scipy.special import polygamma

    least = trigamma(MANY / 2)
    wanted = np.maximum(np.asarray(y, np.float64), least)
    x = 0.5 + 1 / wanted
    for _ in range(12):
        found = polygamma(1, x)
        x = np.maximum(x + found * (1 - found / wanted) / polygamma(2, x), 1e-3)
    return np.asarray(x, np.float64)
