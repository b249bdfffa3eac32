"""What is kept of the deviations of each candidate: changes, dispersions, and changes of placebo windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain, combinations, islice

import numpy as np
from numpy.typing import NDArray

from mona_server.detect import chance
from mona_server.detect.chance_parts import Part, Windows
from mona_server.detect.chance_seasons import ENOUGH_CYCLES, learn_season, seasonless, without_season
from mona_server.detect.shocks import Shocks
from mona_server.detect.source import Floats
from mona_server.detect.windows import unbroken

MAX_PLACEBOS = 24
MOST_CHOICES = 20_001
"""Of so many choices of cycles a sample is taken."""
MIN_JUDGED = 10.0
"""With fewer expected contexts in the judged frames, or fewer in the reference ones, nothing is said about a segment."""
ENOUGH_FRAMES = 4
"""With so many judged frames a change has to be seen without the strongest of them."""
STEADY = 0.5
"""Least share of the deviate that is seen without the strongest judged frame."""
MOST_HELD = 0.5
"""Where the strongest frame usually holds more of a segment's contexts than this, the others cannot show a change."""
FAR = 2.5
"""What is nearer than so many standard errors is no finding anyway."""


@dataclass(frozen=True, slots=True)
class Placebos:
    """What is kept of W placebo windows of S candidates: (S, W) arrays, most of the memory of a search."""

    change: NDArray[np.float32]
    """Of a placebo window, as if nothing had been learnt from it, over the root of its spread; of a size as the judged
    frames have it, 0 where it would not have been judged."""
    without: NDArray[np.float16]
    """Dispersion between the frames outside of the placebo window, as a share of that between all."""
    without_weekly: NDArray[np.float16]
    """The same between whole cycles."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What is kept of each candidate: (S,) arrays."""

    change: Floats
    target_exposure: Floats
    reference_exposure: Floats
    spread: Floats
    """Variance of the change per unit of dispersion: E_T + E_T²/E_R and what seasons, shocks and effects leave unsure."""
    wider: Floats
    """Variance of the change beside that, because judged rows spread wider than the reference ones."""
    between: Floats
    """Dispersion between frames, per unit of exposure."""
    weekly: Floats
    """The same between whole cycles; equal to ``between`` where there are too few or the target is shorter than one."""
    halves: tuple[Floats, Floats]
    row_variance: Floats
    steady: Floats
    """The share of the deviate that is believed, see :func:`_steady`."""
    frames: Floats
    """How many frames like one another would hold the exposure that the noise is learnt from: (Σw)²/Σw²."""
    placebos: tuple[Placebos, ...]
    """Of one list of candidates after the other."""

    @classmethod
    def joined(cls, parts: Sequence[Stats]) -> Stats:
        """Of several lists of candidates, at least one, as of one; placebos stay apart."""

        def whole(name: str) -> Floats:
            return np.concatenate([getattr(part, name) for part in parts])

        first, second = (np.concatenate([part.halves[i] for part in parts]) for i in range(2))
        apart = ("halves", "placebos")
        return cls(
            **{one.name: whole(one.name) for one in fields(cls) if one.name not in apart},
            halves=(first, second),
            placebos=tuple(chain.from_iterable(part.placebos for part in parts)),
        )


def stats(part: Part, windows: Windows, placebos: Floats, enough_weeks: bool, shocks: Shocks | None = None) -> Stats:
    """Changes, dispersions and placebo changes of one part. ``placebos`` (reference frames, W) of 0 and 1."""
    season = learn_season(part, windows)
    deviation = part.deviation if season is None else part.deviation - season.expected
    factors, ahead_of_shocks, floor = 0, 0.0, np.zeros(len(deviation))
    if shocks is not None and len(shocks):
        factors, learnt = len(shocks), windows.reference
        # A segment whose own noise makes a shock would look as quiet as if it had none: what is left after shocks is
        # no quieter than rows alone, or than it was before.
        if part.drawn:
            floor = np.minimum(_between(deviation, part, windows), part.row_variance)
        loading = seasonless(part, windows)[:, learnt] @ shocks.scores[learnt] @ shocks.inverse
        deviation = deviation - loading @ shocks.scores.T
        ahead = shocks.scores[windows.target].sum(axis=0)
        ahead_of_shocks = float(ahead @ shocks.inverse @ ahead)
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
    weekly = between
    weeks: Floats | None = None
    by_week = np.zeros((len(here), 0))
    if enough_weeks and len(windows.target) >= cycle:
        weeks = _by_cycle(here, cycle)
        count = weeks.shape[1]
        free = max(count - 1 - min(factors, count // 3), 1)
        by_week = (weeks - weeks.mean(axis=1, keepdims=True)) ** 2 * (count / free)
        weekly = np.maximum(by_week.sum(axis=1) / exposure, floor)
    reference = np.asarray(exposure if len(windows.reference) else np.full(len(exposure), np.inf), np.float64)
    placebo, without = np.zeros((len(change), 0), np.float32), np.zeros((len(change), 0), np.float16)
    without_weekly = without
    if len(windows.reference) and placebos.shape[1]:
        single = len(windows.target) == 1
        cycles = _whole_cycles(placebos, cycle)

        def over(series: Floats) -> Floats:
            if single:  # single frames are their own sums
                return series
            return series @ placebos if cycles is None else _by_cycle(series, cycle) @ cycles

        inside = over(weight)
        rest = np.maximum(exposure[:, None] - inside, 1e-9)
        summed = over(here) if weeks is None or cycles is None else weeks @ cycles
        moved = summed * (exposure[:, None] / rest)
        variance = inside * exposure[:, None] / rest
        if single and season is not None:
            expected, unsure = season.left_out(learn)
            moved += season.expected[:, learn] * (exposure[:, None] / rest) - expected
            variance += unsure
        if shocks is not None and factors:
            # Placebo frames helped to learn the exposure to shocks, so less of them is left than of judged frames.
            ahead = shocks.scores[learn].T @ placebos
            taken = np.einsum("fw,fg,gw->w", ahead, shocks.inverse, ahead)
            variance = np.maximum(variance - taken * (exposure / len(learn))[:, None], 0.2 * variance)
        if part.counted:
            beyond_rows = variance / np.maximum(inside * exposure[:, None] / rest, 1e-9)
            inside, rest = _told_outside(inside, rest, over(part.deviation[:, unbroken(learn)]))
            z = chance.count_z(moved, inside, rest) / np.sqrt(np.maximum(beyond_rows, 1e-9))
            placebo = np.where((inside >= MIN_JUDGED) & (rest >= MIN_JUDGED), z, 0.0).astype(np.float32)
        else:
            placebo = np.where(inside > 0, moved / np.sqrt(np.maximum(variance, 1e-9)), 0.0).astype(np.float32)
        # What is outside of the window, around its own mean: a burst inside of it must not count as noise outside.
        if single:
            # Of the m frames at its place of the cycle, one frame has (m-1)/m of its square distance from their mean.
            place = np.arange(len(learn)) % cycle if lost - factors > 1 else np.zeros(len(learn), np.intp)
            alike = np.bincount(place)[place]
            one_less = (len(learn) - 1) / max(len(learn) - 1 - lost, 1)
            inner = centred**2 * (alike / np.maximum(alike - 1, 1))
            left = ((centred**2).sum(axis=1)[:, None] - inner) * one_less / rest
        else:
            outside = np.maximum(len(learn) - placebos.sum(axis=0), 1.0)
            around = summed
            if lost - factors > 1:  # less its means, of which every whole cycle holds each once
                every = np.bincount(np.arange(len(learn)) % cycle)[np.arange(len(learn)) % cycle]
                around = (
                    over(centred) if cycles is None else summed - (here @ (1 / every))[:, None] * cycles.sum(axis=0)
                )
            shift = around**2 * (len(learn) / max(len(learn) - lost, 1)) / outside
            left = (squares.sum(axis=1)[:, None] - over(squares) - shift) / rest
        without = without_weekly = _share(left, between, floor)
        if by_week.size:
            weeks_of = _by_cycle(placebos.T, cycle).T / cycle
            outside = np.maximum(len(weeks_of) - weeks_of.sum(axis=0), 1.0)
            left_weeks = by_week.sum(axis=1)[:, None] - by_week @ weeks_of - summed**2 / outside
            without_weekly = _share(left_weeks / rest, weekly, floor)
    target = np.asarray(part.exposure[:, target_span].sum(axis=1), np.float64)
    spread = target + target * target / reference
    if season is not None:
        spread = spread + season.unsure(windows.target)
    # The exposure to the shocks is an estimate, too: its variance times the shocks of the judged frames.
    spread = (spread + ahead_of_shocks * exposure / len(learn)) * part.fresh
    steady = np.ones(len(change))
    if len(windows.reference) and len(windows.target) >= ENOUGH_FRAMES:
        far = np.flatnonzero(np.abs(change) >= FAR * np.sqrt(np.maximum(spread * between, 0.0)))
        steady[far] = _steady(deviation[far], part.exposure[far], windows, counted=part.counted)
    return Stats(
        change,
        target,
        reference,
        spread,
        target * part.wider,
        between,
        weekly,
        (halves[:, 1], halves[:, 0]),
        part.row_variance,
        steady,
        exposure**2 / np.maximum((weight**2).sum(axis=1), 1e-300),
        (Placebos(placebo, without, without_weekly),),
    )


def _steady(deviation: Floats, exposure: Floats, windows: Windows, *, counted: bool) -> Floats:
    """(S,) the share of each deviate that is believed: less than 1 where one judged frame alone makes it.

    ``deviation``, ``exposure`` (S, K); ``counted``: of sizes. What changed for good is seen without its strongest frame, too: of
    K equal ones about the root of (K - 1)/K is left of the deviate, less what is noise. Where it is less than :data:`STEADY`,
    what is left is what counts. A burst of one frame is a sudden change, and says nothing about the others. Each frame is
    compared with its place in the cycle; contexts that come in one judged frame by custom show nothing in the others.
    """
    target, reference, place = windows.target, windows.reference, np.arange(deviation.shape[1]) % windows.cycle
    at_place = np.eye(windows.cycle)[place[reference]]
    there, weight = deviation[:, reference] @ at_place, exposure[:, reference] @ at_place
    here = exposure[:, target]
    moved = deviation[:, target] - (there / np.maximum(weight, 1e-9))[:, place[target]] * here
    change = moved.sum(axis=1)
    side = np.where(change < 0, -1.0, 1.0)
    strongest = np.argmax(moved * side[:, None], axis=1)[:, None]

    def share(of: Floats) -> Floats:
        """(S,) of the strongest frame in all judged ones."""
        part, whole = np.take_along_axis(of, strongest, axis=1)[:, 0], of.sum(axis=1)
        return np.asarray(np.divide(part, whole, out=np.zeros(len(of)), where=whole > 0), np.float64)

    custom = share(np.maximum(weight + there if counted else weight, 0.0)[:, place[target]])
    held = np.minimum(np.maximum(custom, share(here)), 1 - 1e-9)
    left = np.maximum(1 - share(moved * side[:, None]), 0.0) / np.sqrt(1 - held)
    return np.where((left < STEADY) & (custom <= MOST_HELD), left, 1.0)


def _told_outside(inside: Floats, rest: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """(S, W) exposures of a size in and out of placebo windows, by the share of contexts that the frames outside tell.

    A run of a product that was hardly made before is expected of its window where its own contexts help to tell the share;
    judged, it would have been next to unknown. ``deviation`` (S, W): of the windows from the share of all frames.
    """
    known = np.maximum(1 - deviation / rest, 0.0)
    return known * inside, np.maximum(known * rest, 1e-9)


def _by_cycle(series: Floats, cycle: int) -> Floats:
    """(S, K // cycle) sums over whole cycles, the last of which ends with the last frame."""
    first = series.shape[1] % cycle
    return np.asarray(sum(series[:, first + place :: cycle] for place in range(cycle)), np.float64)


def _whole_cycles(placebos: Floats, cycle: int) -> Floats | None:
    """(cycles, W) of 0 and 1 where the windows (K, W) are made of whole cycles, else None: they are fewer to add up."""
    first = len(placebos) % cycle
    if cycle == 1 or placebos[:first].any():
        return None
    cycles = placebos[first::cycle]
    return cycles if np.array_equal(np.repeat(cycles, cycle, axis=0), placebos[first:]) else None


def _share(left: Floats, whole: Floats, floor: Floats) -> NDArray[np.float16]:
    """(S, W) dispersions as a share of the whole ones (S,), neither below the floor (S,)."""
    share = np.maximum(left, floor[:, None]) / np.maximum(whole, 1e-300)[:, None]
    return np.clip(share, 1e-3, 1e3).astype(np.float16)


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
    chosen: list[tuple[int, ...]] = []  # where the runs begin that a window is made of
    run = 1
    if target == 1:
        chosen = [(k,) for k in range(frames)]
    elif cycle > 1 and target >= cycle and frames // cycle >= ENOUGH_CYCLES:
        run, length = cycle, min(max(round(target / cycle), 1), frames // cycle // 2)
        chosen = list(islice(combinations(range(frames % cycle, frames, cycle), length), MOST_CHOICES))
    else:
        run = min(target, frames // 2)
        if run:
            chosen = [(start,) for start in range(0, frames - run + 1, max(run // 2, 1))]
    if len(chosen) < 4:
        return np.zeros((frames, 0))
    if target > 1 and len(chosen) > MAX_PLACEBOS:
        chosen = [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))[:MAX_PLACEBOS]]
    out = np.zeros((frames, len(chosen)))
    for w, starts in enumerate(chosen):
        for start in starts:
            out[start : start + run, w] = 1.0
    return out
