"""Dispersion per unit of exposure, learnt from all C candidates together. Pure functions over arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats

LEAST_FREEDOM = 0.5
"""Contexts of one frame alone tell next to nothing of the noise between frames."""
GRID = 4096
"""Places between which a straight line will do."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """(C,) pooled dispersion, and how much weight each candidate's own frames got (0 = none, 1 = all)."""

    value: Floats
    own_weight: Floats


def pooled_dispersion(
    between: Floats,
    rows: Floats,
    size: Floats,
    halves: tuple[Floats, Floats],
    weekly: Floats | None,
    dof: float,
    kind: NDArray[np.intp],
    frames: Floats,
) -> Dispersion:
    """Dispersion per unit of exposure, shrunk over candidates.

    ``between`` (C,) is each candidate's own estimate between frames, with ``dof`` degrees of freedom; ``rows`` what
    independent rows would give; ``size`` contexts; ``halves`` the own estimate from every other cycle, which shows
    how noisy it is; ``weekly`` the estimate between cycles, where there are enough; ``kind`` numbers what it is made of
    (the fields of its conditions); ``frames`` how many frames like one another would hold its contexts.

    log(between/rows) = f(log size) + own part; f is a parabola fitted over all candidates; own parts keep the share
    ``1 - sampling variance / variance`` (empirical Bayes), and less where contexts came in few frames, because the log of an
    estimate with ν degrees of freedom has variance ψ'(ν/2): three visits that were alike are no quiet segment. The ratio of
    weekly to daily dispersion, which is above one where days of a week move together, is shrunk towards that of its kind
    and counts where above one.
    """
    floor = 1e-12 * max(float(rows.max(initial=0.0)), 1e-300)
    log_ratio = np.log(np.maximum(between, floor)) - np.log(np.maximum(rows, floor))
    usable = (rows > floor) & (between > floor)
    if int(usable.sum()) < 20 or dof < 3:
        # Too few candidates or frames to learn from: the larger of the two, never below the rows'.
        return Dispersion(np.maximum(np.maximum(between, rows), floor), np.ones(len(between)))
    design = np.vander(np.log(np.maximum(size, 1.0)), 3)
    # Orders of magnitude apart, the powers of log size are nearly collinear: scale them for the fit.
    scale = np.abs(design[usable]).max(axis=0)
    fit = design / scale @ np.linalg.lstsq(design[usable] / scale, log_ratio[usable], rcond=None)[0]
    fit = fit + kind_effects(log_ratio - fit, usable, kind)
    first, second = (np.log(np.maximum(h[usable], floor)) for h in halves)
    sampling = float(np.var(first - second)) / 4
    spread = float(np.var((log_ratio - fit)[usable]))
    true = max(spread - sampling, 0.0)
    few = _trigamma(np.clip(frames - 1, LEAST_FREEDOM, dof) / 2) - _trigamma(np.array([dof / 2]))
    own = true / np.maximum(true + sampling + few, 1e-300)
    shrunk = fit + own * np.where(usable, log_ratio - fit, 0.0)
    # Means of logarithms lie below logarithms of means, so the level is set by the mean; single bursts count as five.
    ratio = np.minimum(np.exp(log_ratio - shrunk)[usable], 5.0)
    shrunk = shrunk + np.log(max(float(ratio.mean()), 1.0))
    if weekly is not None:
        log_weekly = np.log(np.maximum(weekly, floor)) - np.log(np.maximum(between, floor))
        shrunk = shrunk + np.maximum(_shrink(log_weekly, usable, dof, kind), 0.0)
    return Dispersion(np.maximum(rows, floor) * np.exp(shrunk), own)


def _shrink(log_ratio: Floats, usable: NDArray[np.bool_], dof: float, kind: NDArray[np.intp]) -> Floats:
    """Ratios of two dispersions towards those of their kind, and these towards the median.

    The sampling variance of log F is about 2/dof1 + 2/dof2. What a line makes changes by the week, who stands at it does
    not: so candidates of the same fields are alike.
    """
    weeks = max((dof + 7) / 7 - 1, 1.0)
    sampling = 2 / weeks + 2 / dof
    middle = float(np.median(log_ratio[usable]))
    alike = kind_effects(log_ratio - middle, usable, kind)
    left = np.where(usable, log_ratio - middle - alike, 0.0)
    spread = float(np.var(left[usable]))
    own = float(np.clip(1 - sampling / spread, 0.0, 1.0)) if spread > 0 else 0.0
    return np.asarray(middle + alike + own * left, np.float64)


def kind_effects(values: Floats, usable: NDArray[np.bool_], kind: NDArray[np.intp]) -> Floats:
    """(C,) what the values of each kind have in common, shrunk by how much kinds differ (random effects of one factor).

    Of the mean of n values the share ``n·τ²/(n·τ² + σ²)`` is kept, σ² the variance within kinds, τ² that between them.

    >>> kind_effects(np.array([1.0, 3.0, -1.0, -3.0]), np.ones(4, bool), np.array([0, 0, 1, 1])).round(2).tolist()
    [1.75, 1.75, -1.75, -1.75]
    """
    number = np.bincount(kind[usable], minlength=int(kind.max(initial=0)) + 1).astype(np.float64)
    mean = np.bincount(kind[usable], values[usable], len(number)) / np.maximum(number, 1.0)
    whole, groups = float(number.sum()), int((number > 0).sum())
    if groups < 2 or whole <= groups:
        return np.zeros(len(values))
    within = float(((values - mean[kind])[usable] ** 2).sum()) / (whole - groups)
    level = float(number @ mean) / whole
    between = float(number @ (mean - level) ** 2) - (groups - 1) * within
    variance = max(between / (whole - float(number @ number) / whole), 0.0)
    return np.asarray((mean * number * variance / np.maximum(number * variance + within, 1e-300))[kind], np.float64)


def unsure_of_dispersion(ratio: Floats, freedom: Floats, kurtosis: Floats) -> Floats:
    """Excess kurtosis of deviates, because the dispersion behind each is an estimate.

    ``ratio`` (C,): own over pooled dispersion, ``freedom`` (C,): degrees of freedom of the own one, ``kurtosis`` (C,): excess
    one of a mean of its rows. The log of an estimate with ν degrees of freedom has variance s = ψ'(ν/2) + kurtosis; what the
    ratios vary beyond that is how segments really differ, τ². Of it v = 1/(1/τ² + 1/s) stays unknown, and a mixture of
    normal laws whose log variance has variance v has the excess kurtosis 3·(exp(v) - 1).
    """
    from scipy.special import digamma

    known = (ratio > 0) & (freedom >= 1)
    if int(known.sum()) < 20:
        return np.zeros(len(ratio))
    half = np.maximum(freedom, 1.0) / 2
    sampling = _trigamma(half) + kurtosis
    away = np.log(np.where(known, ratio, 1.0)) - (digamma(half) - np.log(half))
    weight = known / sampling**2
    spread = float(weight @ (away**2 - sampling) / weight.sum())
    if spread <= 0:
        return np.zeros(len(ratio))
    return np.asarray(3 * np.expm1(1 / (1 / spread + 1 / sampling)), np.float64)


def _trigamma(places: Floats) -> Floats:
    """ψ' at many places, which takes long and is smooth in 1/x; relative error below 1e-5."""
    from scipy.special import polygamma

    inverse = 1 / places
    if len(places) <= GRID:
        return np.asarray(polygamma(1, places), np.float64)
    grid = np.linspace(float(inverse.min()), float(inverse.max()), GRID)
    return np.interp(inverse, grid, polygamma(1, 1 / grid))
