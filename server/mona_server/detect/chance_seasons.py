"""What repeats with the cycle in deviations: told from noise, taken out of them, and how much of it is unsure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.chance_parts import Part, Windows
from mona_server.detect.source import Floats

ENOUGH_CYCLES = 4
"""A season can be told from noise from so many cycles on."""
LEAST_KNOWN = 1.0
"""Least exposure from which a season counts as learnt: nothing is known from no context."""


def has_season(windows: Windows) -> bool:
    """Is there a season to take out: one that can be learnt, and that the target does not hold as a whole?"""
    cycle = windows.cycle
    return cycle > 1 and len(windows.reference) >= ENOUGH_CYCLES * cycle and len(windows.target) % cycle > 0


def without_season(values: Floats, frames: int, cycle: int) -> tuple[Floats, int]:
    """Values minus their mean at the same place of the cycle, and how many degrees of freedom that costs."""
    if cycle <= 1 or frames < 3 * cycle:
        return values, 1
    place = np.arange(frames) % cycle
    at = np.eye(cycle)[place]
    return values - (values @ (at / at.sum(axis=0)))[:, place], cycle


def seasonless(part: Part, windows: Windows) -> Floats:
    """(S, K) deviations without their mean rate at the same place of the cycle in the reference frames."""
    reference, cycle = windows.reference, windows.cycle
    if cycle <= 1 or len(reference) < ENOUGH_CYCLES * cycle:
        return part.deviation
    place, rate, _ = _seasonal_rate(part, windows)
    return np.asarray(part.deviation - rate[:, place] * part.exposure, np.float64)


def learn_season(part: Part, windows: Windows) -> Season | None:
    """What repeats with the cycle; None where it cannot be learnt, or where the target holds whole cycles.

    The rate of each place of the cycle is learnt from the reference frames and shrunk by what all candidates together
    say about seasons: variance between places of the cycle that chance does not explain.
    """
    if not has_season(windows):
        return None
    reference, cycle = windows.reference, windows.cycle
    place, rate, known = _seasonal_rate(part, windows)
    weight = part.exposure[:, reference]
    squares = ((part.deviation[:, reference] - rate[:, place[reference]] * weight) ** 2).sum(axis=1)
    signal = cycle * rate.var(axis=1)
    share = _believed(signal, squares, weight.sum(axis=1), len(reference), cycle, part.starts)
    return Season(part, rate, known, share, place)


@dataclass(frozen=True, slots=True)
class Season:
    """What repeats with the cycle in the deviations of a part."""

    part: Part
    rate: Floats
    """(S, cycle) deviation per exposure at each place of the cycle."""
    known: Floats
    """(S, cycle) exposure that it was learnt from."""
    share: Floats
    """(S,) how much of it is believed."""
    place: NDArray[np.intp]
    """(K,) of each frame."""

    @property
    def expected(self) -> Floats:
        """(S, K)"""
        believed = self.share[:, None] * (self.rate - self.rate.mean(axis=1, keepdims=True))
        return np.asarray(believed[:, self.place] * self.part.exposure, np.float64)

    def unsure(self, target: NDArray[np.intp]) -> Floats:
        """(S,) what the season adds to the variance of the judged frames, per unit of dispersion."""
        cycle = self.known.shape[1]
        asked = self.part.exposure[:, target] @ np.eye(cycle)[self.place[target]]
        whole = self.known.sum(axis=1, keepdims=True)
        return np.asarray(_unsure(self.share[:, None], asked, self.known, whole, cycle).sum(axis=1), np.float64)

    def left_out(self, learn: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """(S, R) what would be expected of each reference frame had it been judged, and what that adds to its variance.

        Without a frame of exposure e, at a distance d from the mean of its place, which was learnt from exposure E, that
        mean moves by d/(E - e), and the squares around it are d²·E/(E - e) less.
        """
        cycle, place, weight = self.known.shape[1], self.place[learn], self.part.exposure[:, learn]
        known, rest = self.known[:, place], np.maximum(self.known[:, place] - weight, LEAST_KNOWN)
        distance = self.part.deviation[:, learn] - self.rate[:, place] * weight
        centred = self.rate - self.rate.mean(axis=1, keepdims=True)
        rate, by, others = centred[:, place], distance / rest, 1 - 1 / cycle
        signal = (centred**2).sum(axis=1)[:, None] - 2 * by * rate + by**2 * others
        squares = (distance**2).sum(axis=1)[:, None] - distance**2 * (known / rest)
        whole = self.known.sum(axis=1)[:, None] - weight
        share = _believed(signal, squares, whole, len(learn) - 1, cycle, self.part.starts)
        return share * (rate - by * others) * weight, _unsure(share, weight, known - weight, whole, cycle)


def _seasonal_rate(part: Part, windows: Windows) -> tuple[NDArray[np.intp], Floats, Floats]:
    """(K,) the place of each frame in the cycle; (S, cycle) the mean deviation per exposure there, and that exposure."""
    deviation, reference, cycle = part.deviation, windows.reference, windows.cycle
    place = (np.arange(deviation.shape[1]) - reference[0]) % cycle
    at = np.zeros((deviation.shape[1], cycle))
    at[reference, place[reference]] = 1.0
    known = part.exposure @ at
    return place, (deviation @ at) / np.maximum(known, 1e-9), known


def _believed(
    signal: Floats, squares: Floats, exposure: Floats, frames: int, cycle: int, starts: tuple[int, ...]
) -> Floats:
    """Share of measured seasons that chance does not explain; first axis: candidates.

    ``signal``: Σ rate² over the places of the cycle, ``squares``: of the deviations around them in all ``frames``. One share
    per candidate, pulled half way to the share over all of its list (they begin at ``starts``): strong seasons of single
    segments are kept.
    """
    noise = np.maximum(squares, 0.0) / np.maximum(exposure, 1e-9) * (frames / (frames - cycle))
    signal, chance = signal * exposure / cycle, noise * (cycle - 1)
    own = 1 - chance / np.maximum(signal, 1e-300)
    everybody = 1 - _over_lists(chance, starts) / np.maximum(_over_lists(signal, starts), 1e-300)
    return np.asarray(np.clip((own + everybody) / 2, 0.0, 1.0), np.float64)


def _over_lists(values: Floats, starts: tuple[int, ...]) -> Floats:
    """Sums over the list of each candidate; first axis: candidates."""
    if len(starts) == 1:
        return np.asarray(values.sum(axis=0), np.float64)
    sums = np.add.reduceat(values, starts, axis=0)
    return np.repeat(sums, np.diff([*starts, len(values)]), axis=0)


def _unsure(share: Floats, asked: Floats, known: Floats, whole: Floats, cycle: int) -> Floats:
    """Variance that a season leaves in frames of exposure ``asked``, learnt from ``known`` there and ``whole`` in all places.

    Where seasons are so large that a share of what is measured is believed, the variance of what is learnt at an average
    place falls to that share (empirical Bayes); less known, more is left, at most the variance of seasons themselves.
    """
    informed = (1 - share) * whole / cycle + share * known
    return np.asarray(share * (1 - 1 / cycle) * asked**2 / np.maximum(informed, LEAST_KNOWN), np.float64)
