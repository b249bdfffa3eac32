"""Deviations from what is expected, frame by frame, and their contrasts. Pure functions over sums of S segments.

A *part* is one aspect of a change that a verse looks for: the mean, the size, or for sums both, because a total is
contexts times mean and each has noise of its own. Its deviation e (S, K) is

- size:  N_sk - p_s·N_k, with p_s the segment's share of all contexts in the reference frames,
- mean:  Σ r - n·(m_k + l_s), with r the residual (:mod:`expected`), m_k everybody's mean residual of the frame, which
  takes out what moves all together, and l_s the segment's own level in the reference frames,
- ratio: the same with "has a value" instead of r; std: with r².

e is summed over the judged frames; exposure is the (expected) number of contexts behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.shocks import Shocks
from mona_server.detect.source import Floats
from mona_server.detect.windows import unbroken

MAX_PLACEBOS = 24
ENOUGH_CYCLES = 4
"""A season can be told from noise from so many cycles on."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Which frames are judged, and which tell what is usual. ``cycle`` frames make a season (1: none)."""

    target: NDArray[np.intp]
    reference: NDArray[np.intp]
    """Empty: segments are compared with everybody in the same frames."""
    cycle: int = 1

    @property
    def learn(self) -> NDArray[np.intp]:
        """The frames from which noise is learnt."""
        return self.reference if len(self.reference) else self.target


@dataclass(frozen=True, slots=True)
class Part:
    """Deviations of S segments in K frames, their exposure, and the variance of one unit of exposure by rows alone."""

    deviation: Floats
    exposure: Floats
    row_variance: Floats
    """(S,)"""
    drawn: bool = False
    """Rows are draws of their own, so no noise is smaller than theirs; contexts may come by a schedule."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What is kept of each candidate: (S,) arrays, and (S, W) for the placebo windows."""

    change: Floats
    target_exposure: Floats
    reference_exposure: Floats
    between: Floats
    """Dispersion between frames, per unit of exposure."""
    weekly: Floats
    """The same between whole cycles; equal to ``between`` where there are too few or the target is shorter than one."""
    halves: tuple[Floats, Floats]
    row_variance: Floats
    placebo: NDArray[np.float32]
    """(S, W): change of a placebo window over the root of its exposure term."""
    without: NDArray[np.float32]
    """(S, W): dispersion outside of the placebo window, as a share of the whole."""
    frames: Floats
    """How many frames like one another would hold the exposure that the noise is learnt from: (Σw)²/Σw²."""


def size_part(size: Floats, base: Floats, windows: Windows) -> Part:
    """``size`` (S, K), ``base`` (K,). Rows alone make a Poisson law: variance 1 - p per expected context."""
    reference = unbroken(windows.reference)
    share = size[:, reference].sum(axis=1) / max(float(base[reference].sum()), 1.0)
    expected = share[:, None] * base
    return Part(size - expected, expected, np.maximum(1 - share, 1e-3))


def mean_part(total: Floats, count: Floats, row_variance: Floats, base_mean: Floats, windows: Windows) -> Part:
    """``total``, ``count`` (S, K); ``base_mean`` (K,): everybody's mean. No reference: compared with everybody."""
    deviation = total - count * base_mean
    if len(windows.reference):
        reference = unbroken(windows.reference)
        seen = np.maximum(count[:, reference].sum(axis=1), 1e-9)
        deviation = deviation - (deviation[:, reference].sum(axis=1) / seen)[:, None] * count
    return Part(deviation, count, row_variance, drawn=True)


def stats(part: Part, windows: Windows, placebos: Floats, enough_weeks: bool, shocks: Shocks | None = None) -> Stats:
    """Changes, dispersions and placebo changes of one part. ``placebos`` (reference frames, W) of 0 and 1."""
    deviation = _season_free(part, windows)
    factors, spread, floor = 0, 0.0, np.zeros(len(deviation))
    if shocks is not None and len(shocks):
        factors, learnt = len(shocks), windows.reference
        # A segment whose own noise makes a shock would look as quiet as if it had none: what is left after shocks is
        # no quieter than rows alone, or than it was before.
        if part.drawn:
            floor = np.minimum(_between(deviation, part, windows), part.row_variance)
        loading = seasonless(part, windows)[:, learnt] @ shocks.scores[learnt] @ shocks.inverse
        deviation = deviation - loading @ shocks.scores.T
        ahead = shocks.scores[windows.target].sum(axis=0)
        spread = float(ahead @ shocks.inverse @ ahead)
    learn, cycle, target_span = windows.learn, windows.cycle, unbroken(windows.target)
    change = deviation[:, target_span].sum(axis=1)
    here = deviation[:, unbroken(learn)]
    weight = part.exposure[:, unbroken(learn)]
    exposure = np.maximum(weight.sum(axis=1), 1e-9)
    if not len(windows.reference):
        here = here - (change / exposure)[:, None] * weight
    centred, lost = without_season(here, len(learn), cycle)
    lost += factors
    squares = centred**2 * (len(learn) / max(len(learn) - lost, 1))
    between = np.maximum(squares.sum(axis=1) / exposure, floor)
    half = np.eye(2)[(np.arange(len(learn)) // cycle) % 2]
    halves = np.maximum((squares @ half) / np.maximum(weight @ half, 1e-9), floor[:, None])
    weekly, whole = between, len(learn) // cycle * cycle
    by_week = np.zeros((len(here), 0))
    if enough_weeks and len(windows.target) >= cycle:
        weeks = here[:, len(learn) - whole :].reshape(len(here), -1, cycle).sum(axis=2)
        count = weeks.shape[1]
        free = max(count - 1 - min(factors, count // 3), 1)
        by_week = (weeks - weeks.mean(axis=1, keepdims=True)) ** 2 * (count / free)
        weekly = np.maximum(by_week.sum(axis=1) / exposure, floor)
    reference = np.asarray(exposure if len(windows.reference) else np.full(len(exposure), np.inf), np.float64)
    placebo, without = np.zeros((len(change), 0), np.float32), np.zeros((len(change), 0), np.float32)
    if len(windows.reference) and placebos.shape[1]:

        def over(series: Floats) -> Floats:  # single frames are their own sums
            return series if len(windows.target) == 1 else series @ placebos

        inside = over(weight)
        rest = np.maximum(exposure[:, None] - inside, 1e-9)
        summed = over(here)
        moved = summed * (exposure[:, None] / rest)
        plain = inside * exposure[:, None] / rest
        variance = plain
        if shocks is not None and factors:
            # Placebo frames helped to learn the exposure to shocks, so less of them is left than of judged frames.
            ahead = shocks.scores[learn].T @ placebos
            taken = np.einsum("fw,fg,gw->w", ahead, shocks.inverse, ahead)
            variance = np.maximum(plain - taken * (exposure / len(learn))[:, None], 0.2 * plain)
        placebo = np.where(inside > 0, moved / np.sqrt(np.maximum(variance, 1e-9)), 0.0).astype(np.float32)
        # What is outside of the window, around its own mean: a burst inside of it must not count as noise outside.
        outside = np.maximum(len(learn) - placebos.sum(axis=0), 1.0)
        shift = over(centred) ** 2 * (len(learn) / max(len(learn) - lost, 1)) / outside
        left = (squares.sum(axis=1)[:, None] - over(squares) - shift) / rest
        if by_week.size:
            weeks_of = placebos[len(learn) - whole :].reshape(-1, cycle, placebos.shape[1]).mean(axis=1)
            outside = np.maximum(len(weeks_of) - weeks_of.sum(axis=0), 1.0)
            left_weeks = by_week.sum(axis=1)[:, None] - by_week @ weeks_of - summed**2 / outside
            left = np.maximum(left, left_weeks / rest)
        left = np.maximum(left, floor[:, None])
        without = (left / np.maximum(np.maximum(between, weekly), 1e-300)[:, None]).astype(np.float32)
    target = np.asarray(part.exposure[:, target_span].sum(axis=1), np.float64)
    if spread:
        # The exposure to the shocks is an estimate, too: its variance times the shocks of the judged frames.
        alone = target + target * target / reference
        larger: Floats = 1 + spread * exposure / len(learn) / np.maximum(alone, 1e-9)
        between, weekly = between * larger, weekly * larger
    return Stats(
        change,
        target,
        reference,
        between,
        weekly,
        (halves[:, 1], halves[:, 0]),
        part.row_variance,
        placebo,
        without,
        exposure**2 / np.maximum((weight**2).sum(axis=1), 1e-300),
    )


def _between(deviation: Floats, part: Part, windows: Windows) -> Floats:
    """(S,) dispersion of deviations between the reference frames, per unit of exposure."""
    here, weight = deviation[:, windows.reference], part.exposure[:, windows.reference]
    centred, lost = without_season(here, here.shape[1], windows.cycle)
    free = here.shape[1] / max(here.shape[1] - lost, 1)
    return np.asarray((centred**2).sum(axis=1) * free / np.maximum(weight.sum(axis=1), 1e-9), np.float64)


def placebo_windows(windows: Windows) -> Floats:
    """(reference frames, W) of 0 and 1: windows like the target, made of reference frames.

    Whole cycles where there are enough of them (all choices, or an even sample of them), else runs of frames that
    stand one after the other. At most half of the reference frames, and none where fewer than four fit.
    """
    frames, target = len(windows.reference), len(windows.target)
    cycle = windows.cycle
    chosen: list[NDArray[np.intp]] = []
    if target == 1:
        chosen = [np.array([k]) for k in range(frames)]
    elif cycle > 1 and target >= cycle and frames // cycle >= ENOUGH_CYCLES:
        cycles, length = frames // cycle, min(max(round(target / cycle), 1), frames // cycle // 2)
        first = frames - cycles * cycle
        for some in combinations(range(cycles), length):
            chosen.append(np.concatenate([first + p * cycle + np.arange(cycle) for p in some]))
            if len(chosen) > 20_000:
                break
    else:
        length = min(target, frames // 2)
        if length:
            chosen = [start + np.arange(length) for start in range(0, frames - length + 1, max(length // 2, 1))]
    if len(chosen) < 4:
        return np.zeros((frames, 0))
    if target > 1 and len(chosen) > MAX_PLACEBOS:
        chosen = [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))[:MAX_PLACEBOS]]
    out = np.zeros((frames, len(chosen)))
    for w, pick in enumerate(chosen):
        out[pick, w] = 1.0
    return out


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
    place, rate = _seasonal_rate(part, windows)
    return np.asarray(part.deviation - rate[:, place] * part.exposure, np.float64)


def _seasonal_rate(part: Part, windows: Windows) -> tuple[NDArray[np.intp], Floats]:
    """(K,) the place of each frame in the cycle, and (S, cycle) the mean deviation per exposure there."""
    deviation, reference, cycle = part.deviation, windows.reference, windows.cycle
    place = (np.arange(deviation.shape[1]) - reference[0]) % cycle
    at = np.zeros((deviation.shape[1], cycle))
    at[reference, place[reference]] = 1.0
    return place, (deviation @ at) / np.maximum(part.exposure @ at, 1e-9)


def has_season(windows: Windows) -> bool:
    """Is there a season to take out: one that can be learnt, and that the target does not hold as a whole?"""
    cycle = windows.cycle
    return cycle > 1 and len(windows.reference) >= ENOUGH_CYCLES * cycle and len(windows.target) % cycle > 0


def _season_free(part: Part, windows: Windows) -> Floats:
    """Deviations without what repeats with the cycle, where the target does not hold whole cycles.

    The rate of each place of the cycle is learnt from the reference frames and shrunk by what all candidates together
    say about seasons: variance between places of the cycle that chance does not explain.
    """
    deviation, reference, cycle = part.deviation, windows.reference, windows.cycle
    frames = len(reference)
    if not has_season(windows):
        return deviation
    place, rate = _seasonal_rate(part, windows)
    rate -= rate.mean(axis=1, keepdims=True)
    left = deviation[:, reference] - rate[:, place[reference]] * part.exposure[:, reference]
    noise = (left**2).sum(axis=1) / np.maximum(part.exposure[:, reference].sum(axis=1), 1e-9)
    noise = noise * frames / (frames - cycle)
    per_place = part.exposure[:, reference].sum(axis=1) / cycle
    signal, chance = (rate**2).sum(axis=1) * per_place, noise * (cycle - 1)
    # One share per candidate, pulled half way to the share over all: strong seasons of single segments are kept.
    own = 1 - chance / np.maximum(signal, 1e-300)
    everybody = 1 - chance.sum() / max(float(signal.sum()), 1e-300)
    share = np.clip((own + everybody) / 2, 0.0, 1.0)
    return np.asarray(deviation - share[:, None] * rate[:, place] * part.exposure, np.float64)
