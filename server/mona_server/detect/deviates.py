"""Normal deviates of single changes: of totals, of one series. Pure functions over arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mona_server.detect.chance_parts import Windows
from mona_server.detect.chance_seasons import ENOUGH_CYCLES, without_season
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


def series_z(deviation: Floats, windows: Windows) -> tuple[float, float]:
    """(normal deviate, change) of one series: target against reference, with frames and seasons as units of noise.

    The deviate is that of the larger p of two t tests: between frames, and between whole cycles where there are enough.
    """
    from scipy.special import ndtri, stdtr

    reference, target, cycle = windows.reference, windows.target, windows.cycle
    here = deviation[reference]
    level = here.mean()
    change = float(deviation[target].sum() - len(target) * level)
    frames = len(reference)
    if frames < 3:
        return 0.0, change
    centred, lost = without_season((here - level)[None], frames, cycle)
    if lost > 1 and len(target) % cycle:
        place = (np.arange(len(deviation)) - reference[0]) % cycle
        season = np.array([here[np.arange(frames) % cycle == j].mean() - level for j in range(cycle)])
        change -= float(season[place[target]].sum())
    spread = len(target) * (1 + len(target) / frames)
    tests = [(float((centred**2).sum()) / max(frames - lost, 1), frames - lost)]
    if cycle > 1 and frames // cycle >= ENOUGH_CYCLES:
        weeks = here[frames % cycle :].reshape(-1, cycle).sum(axis=1)
        tests.append((float(weeks.var(ddof=1)) / cycle, len(weeks) - 1))
    worst = max(2 * float(stdtr(dof, -abs(change) / np.sqrt(max(v * spread, 1e-300)))) for v, dof in tests)
    return float(-np.sign(change) * ndtri(max(worst, 1e-300) / 2)), change
