"""Normal deviates of single changes: of totals, of one series. Pure functions over arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mona_server.detect.chance_parts import Windows
from mona_server.detect.chance_seasons import ENOUGH_CYCLES
from mona_server.detect.source import Floats


def joint_z(each: Sequence[Floats]) -> Floats:
    """Normal deviate with the p of ``Σ z²`` (chi square), signed by the sum of the parts.

    A total moves as its contexts and its mean do together; where these pull against each other it does not move, so
    the deviate of their sum bounds it.
    """
    from scipy.special import ndtri_exp

    square = np.sum([z * z for z in each], axis=0)
    together = np.sum(each, axis=0)
    # Two degrees of freedom: log p = -square/2, of which each side has half.
    deviate = -ndtri_exp(-square / 2 - np.log(2))
    opposed = np.abs(together) < 0.5 * np.sqrt(square)
    return np.asarray(np.where(opposed, 0.0, np.sign(together) * deviate), np.float64)


def series_z(deviation: Floats, exposure: Floats, windows: Windows) -> tuple[float, float]:
    """(normal deviate, change) of one series (K,): target against reference, with frames and seasons as units of noise.

    The deviate is that of the largest p of t tests: between frames, and between whole cycles where there are enough; and
    with the variance of a frame taken to grow as its ``exposure`` (K,), which rows alone make, or as the square of it, which
    days that move as a whole make. A busy day is no change because its total is further from what it should be.
    """
    from scipy.special import ndtri, stdtr

    reference, target, cycle = windows.reference, windows.target, windows.cycle
    frames, ahead, seen = len(reference), exposure[target], exposure[reference]
    whole = max(float(seen.sum()), 1e-9)
    rate = np.full(len(deviation), deviation[reference].sum() / whole)
    change = float((deviation - rate * exposure)[target].sum())
    if frames < 3:
        return 0.0, change
    lost = 1
    if cycle > 1 and frames >= 3 * cycle:
        lost, place = cycle, np.arange(frames) % cycle
        left = (deviation - rate * exposure)[reference]
        season = np.bincount(place, left, cycle) / np.maximum(np.bincount(place, seen, cycle), 1e-9)
        rate = rate + season[(np.arange(len(deviation)) - reference[0]) % cycle]
        if len(target) % cycle:
            change = float((deviation - rate * exposure)[target].sum())
    left = (deviation - rate * exposure)[reference]
    units = [(left, seen, lost, 1)]
    if cycle > 1 and frames // cycle >= ENOUGH_CYCLES:
        weeks, sizes = (part[frames % cycle :].reshape(-1, cycle).sum(axis=1) for part in (left, seen))
        units.append((weeks - sizes * (weeks.sum() / max(float(sizes.sum()), 1e-9)), sizes, 1, cycle))
    worst = 0.0
    for noise, size, free, length in units:
        for power in (1, 2):
            weight = size**power
            summed = max(float(weight.sum()), 1e-300)
            spread = float((ahead**power).sum() + ahead.sum() ** 2 * (seen**power).sum() / whole**2)
            variance = float((noise**2).sum()) / summed * length ** (power - 1) * spread
            known = 1 - free / len(noise)
            dof = summed**2 / max(float((weight**2).sum()), 1e-300) * known
            deviate = abs(change) / np.sqrt(max(variance / max(known, 1e-9), 1e-300))
            worst = max(worst, 2 * float(stdtr(dof, -deviate)))
    return float(-np.sign(change) * ndtri(max(worst, 1e-300) / 2)), change
