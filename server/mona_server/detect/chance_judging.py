"""Candidates judged: dispersion and tails learnt from all of them, then a deviate and a score for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect import chance, chance_dispersion
from mona_server.detect.chance_evidence import Evidence
from mona_server.detect.chance_series import MIN_JUDGED, Placebos, Stats
from mona_server.detect.deviates import joint_z
from mona_server.detect.passers import code_of, row_of
from mona_server.detect.source import Floats, SumsSource
from mona_server.detect.verses.base import Statistic
from mona_server.detect.windows import unbroken
from mona_server.segment import Segment
from mona_server.threads import in_threads

FEW = 10.0
"""A dispersion with fewer degrees of freedom leans on the pooled one, each missing one with the weight of two."""
BLOCK = 2**16
"""So many candidates at a time, where each has as many numbers as there are placebo windows."""
SET_ASIDE = 0.2
"""Share of single frames that may hold changes of their own, and are not used to learn how wild frames are."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Stats of one part over all candidates, with the pooled dispersion."""

    stats: Stats
    pooled: Floats
    own_weight: Floats
    """(C,) of the own dispersion in the pooled one."""
    freedom: tuple[float, float]
    """Degrees of freedom of the own dispersions between frames and between cycles."""
    turmoil: Floats
    """(C,) how much wider than usual all scatter in the judged frames, see :func:`chance.turmoil`."""
    counted: bool = False
    """Is it the size: a whole number of contexts."""
    unsure: Floats | None = None
    """(C,) excess kurtosis of a deviate, because its dispersion is an estimate; only where there are no placebos."""

    @property
    def own(self) -> Floats:
        """(C,) each candidate's own dispersion, the larger of that between frames and that between cycles.

        Of few cycles one is often wide by luck, so what has fewer than ten degrees of freedom leans on the pooled one.
        """
        frames, cycles = self.freedom
        between = leaning(self.stats.between, self.pooled, frames)
        return np.asarray(np.maximum(between, leaning(self.stats.weekly, self.pooled, cycles)), np.float64)

    @property
    def dispersion(self) -> Floats:
        """(C,) the larger of the pooled one, because quiet weeks may be luck, and its own, because bursts are not."""
        return np.asarray(np.maximum(np.maximum(self.pooled, self.own) * self.turmoil**2, self.least), np.float64)

    @property
    def least(self) -> Floats:
        """(C,) a count is known to one context: a daily flight that is cancelled twice is no change of twelve errors."""
        if not self.counted:
            return np.zeros(len(self.pooled))
        return 1 / np.maximum(self.stats.target_exposure, 1.0)

    @property
    def variance(self) -> Floats:
        """(C,) of the change."""
        return np.asarray(self.dispersion * self.stats.spread + self.stats.wider, np.float64)


def leaning(own: NDArray[Any], pooled: NDArray[Any], freedom: float) -> NDArray[Any]:
    """An own dispersion with so many degrees of freedom, drawn towards the pooled one."""
    lean = max(1.0, 2 * (FEW - freedom))
    together = freedom + lean
    return own * (freedom / together) + pooled * (lean / together)


def inverse_dof(kurtosis: Floats) -> Floats:
    """Inverse degrees of freedom of the Student law with this excess kurtosis."""
    return np.asarray(1 / (4 + 6 / np.maximum(kurtosis, 1e-9)), np.float64)


class Judging:
    """All candidates of one verse in one baseline: what was learnt from them, and how far out each one is."""

    def __init__(self, evidence: Evidence, source: SumsSource, *, base_allowed: bool) -> None:
        evidence.complete()
        self.evidence, self.source = evidence, source
        self.setting, self.base, self.seen = evidence.setting, evidence.base, evidence.seen
        self.size = np.concatenate(self.seen.sizes) if self.seen.sizes else np.zeros(0)
        self._alike = chance.alike(self.size)
        self._starts = np.cumsum([0, *(len(s) for s in self.seen.sizes)])
        depth = [np.full(len(s), len(b.widths)) for b, s in zip(self.seen.blocks, self.seen.sizes, strict=True)]
        depths = np.concatenate([np.zeros(1, np.intp), *depth]).astype(np.intp)
        self.log_prior = chance.depth_prior(depths) - np.log(len(self.seen.stats))
        """(1 + C,) of everybody, then of each candidate."""
        if not base_allowed and len(depths) > 1:
            self.log_prior[1:] = chance.depth_prior(depths[1:]) - np.log(len(self.seen.stats))
        tests, threads = range(len(self.seen.stats)), evidence.threads
        self.joined = in_threads(self._parts, tests, threads)
        self._placebos = [self._placebo_z(test) for test in tests]
        usual, single = self._usual(), len(self.setting.windows.target) == 1
        self.tails = in_threads(lambda z: chance.tails_of(z, self.size, usual, apart=single), self._placebos, threads)

    def _parts(self, test: int) -> list[Joined]:
        by_part = self.evidence.handed_over(test)
        return [self._join(part, test, sized=i == 0 and self.evidence.sized) for i, part in enumerate(by_part)]

    def _join(self, blocks: list[Stats], test: int, *, sized: bool) -> Joined:
        if not blocks:
            none = np.zeros(0)
            stats = Stats(none, none, none, none, none, none, none, (none, none), none, none, none, ())
            return Joined(stats, none, none, (0.0, 0.0), none, unsure=none)
        stats = Stats.joined(blocks)
        windows = self.setting.windows
        dof = len(windows.learn) - (windows.cycle if len(windows.learn) >= 3 * windows.cycle else 1)
        pooled = chance_dispersion.pooled_dispersion(
            stats.between,
            stats.row_variance,
            self.size,
            stats.halves,
            stats.weekly if self.evidence.weeks else None,
            dof,
            self._kinds,
            stats.frames,
        )
        weekly = self.evidence.weeks and len(windows.target) >= windows.cycle
        freedom = (float(dof), len(windows.learn) // windows.cycle - 1.0 if weekly else float(dof))
        joined = Joined(stats, pooled.value, pooled.own_weight, freedom, np.ones(len(self.size)), sized)
        if self.setting.comparison != "reference":
            ratio = stats.between / np.maximum(pooled.value, 1e-300)
            kurtosis = self.setting.shapes[test].kurtosis / np.maximum(stats.target_exposure, 1.0)
            unsure = chance_dispersion.unsure_of_dispersion(ratio, np.minimum(stats.frames - 1, dof), kurtosis)
            least = self.evidence.least_variance(test)
            return replace(joined, pooled=np.maximum(pooled.value, least), unsure=unsure)
        ratio = stats.between / np.maximum(pooled.value, 1e-300)
        unsure = chance_dispersion.unsure_of_dispersion(ratio, np.minimum(stats.frames - 1, dof), np.zeros(len(ratio)))
        return replace(joined, turmoil=self.turmoil(joined, stats.change), unsure=unsure)

    def turmoil(self, part: Joined, change: Floats) -> Floats:
        """(C,) how much wider than usual candidates of about the same size scatter, had they changed by ``change``."""
        exposure = part.stats.target_exposure
        error = np.sqrt(np.maximum(replace(part, turmoil=np.ones(len(change))).variance, 1e-300))
        # Where one segment grows or moves, all others shrink or move alike beside everybody: that is no storm.
        alike = chance.weighted_median(change / np.maximum(exposure, 1e-9), exposure / error)
        z = (change - alike * exposure) / error
        return np.asarray(chance.turmoil(z[:, None], self._alike)[self._alike, 0])

    @property
    def growth(self) -> float:
        """Judged contexts of everybody for one of the reference frames."""
        size, windows = self.base.size[0], self.setting.windows
        return float(size[windows.target].sum()) / max(float(size[windows.reference].sum()), 1.0)

    def everybody(self, test: int, part: int) -> float:
        """The judged contexts of everybody; for means those with a value."""
        counts = self.base.size if part == 0 and self.evidence.sized else self.evidence.moments(self.base, test).count
        return float(counts[0, self.setting.windows.target].sum())

    def scores(self, test: int) -> tuple[Floats, Floats]:
        """z (C,) and score (C,) of all candidates."""
        parts = self.joined[test]
        z = self.z_of(test, [p.stats.change for p in parts], slice(None))
        return z, chance.tail_score(z, self.log_prior[1:])

    def z_of(self, test: int, changes: Sequence[Floats], rows: NDArray[np.intp] | slice) -> Floats:
        """Changes of some candidates as normal deviates; two parts are joined to one with the sign of the total."""
        each, parts = [], self.joined[test]
        judged = np.ones(len(changes[0]), bool)
        for i, (part, change) in enumerate(zip(parts, changes, strict=True)):
            t, r = part.stats.target_exposure[rows], part.stats.reference_exposure[rows]
            judged &= (t >= MIN_JUDGED) & (r >= MIN_JUDGED)
            if i == 0 and self.setting.statistic in (Statistic.SIZE, Statistic.SUM):
                beyond_counts = part.variance[rows] / np.maximum(t + t * t / r, 1e-9)
                z = chance.count_z(change, t, r) / np.sqrt(np.maximum(beyond_counts, 1e-300))
            else:
                z = change / np.sqrt(np.maximum(part.variance[rows], 1e-300))
            each.append(z * part.stats.steady[rows])
        z = each[0] if len(each) == 1 else joint_z(each)
        return np.where(judged, self.bent(test, z, rows, parts[-1]), 0.0)

    def bent(self, test: int, z: Floats, rows: NDArray[np.intp] | slice, part: Joined) -> Floats:
        """Deviates of some candidates with the p of their tails: learnt from placebos, else from everybody's rows."""
        if self.setting.comparison == "reference":
            tails = self.tails[test].weights
            assert part.unsure is not None
            z = chance.heavy_tailed(z, inverse_dof(part.unsure[rows]))
            return chance.heavy_tailed(z, np.where(z < 0, tails[rows, 0], tails[rows, 1]))
        contexts = np.maximum(part.stats.target_exposure[rows], 1.0)
        shape = self.setting.shapes[test]
        z = chance.skewed(z, shape.skewness / np.sqrt(contexts))
        # Student's t with the excess kurtosis of a mean of so many values, over a dispersion that is an estimate.
        assert part.unsure is not None
        return chance.heavy_tailed(z, inverse_dof(shape.kurtosis / contexts + part.unsure[rows]))

    def _placebo_z(self, test: int) -> NDArray[np.float32]:
        """(C, W) deviates of the placebo windows, with the dispersion that the frames outside of each would give."""
        parts = self.joined[test]
        each = [self._placebos_of(part) for part in parts]
        # What was kept of placebo windows is needed no more, and large.
        self.joined[test] = [replace(part, stats=replace(part.stats, placebos=())) for part in parts]
        return np.asarray(each[0] if len(each) == 1 else joint_z([z.astype(np.float64) for z in each]), np.float32)

    def _placebos_of(self, part: Joined) -> NDArray[np.float32]:
        stats, threads, kept = part.stats, self.evidence.threads, part.stats.placebos
        starts = np.cumsum([0, *(len(one.change) for one in kept)])
        z = np.zeros((starts[-1], kept[0].change.shape[1] if kept else 0), np.float32)
        judged = (stats.target_exposure >= MIN_JUDGED) & (stats.reference_exposure >= MIN_JUDGED)
        unsure = part.unsure if part.unsure is not None and part.unsure.any() else None

        def divide(number: int) -> None:
            rows = slice(starts[number], starts[number + 1])
            outside = np.sqrt(self._outside(part, kept[number], rows))
            z[rows] = np.where(judged[rows, None], kept[number].change / outside, 0.0)

        def calm(rows: slice) -> None:
            z[rows] /= storm[self._alike[rows]]
            if unsure is not None:
                z[rows] = chance.heavy_tailed(z[rows], inverse_dof(unsure[rows]).astype(np.float32)[:, None])

        if z.size:
            in_threads(divide, range(len(kept)), threads)
            storm = chance.turmoil(z, self._alike, threads).astype(np.float32)
            in_threads(calm, [slice(start, start + BLOCK) for start in range(0, len(z), BLOCK)], threads)
        return z

    def _outside(self, part: Joined, kept: Placebos, rows: slice) -> Floats:
        """(rows, W) the dispersion that the frames outside of each placebo window give: as :attr:`Joined.dispersion`."""
        stats, (frames, cycles), windows = part.stats, part.freedom, self.setting.windows
        # As shares of the pooled one, which may have any unit: half the digits do, as placebo changes have no more.
        scale = np.maximum(part.pooled[rows], 1e-300)
        own, weeks = ((one[rows] / scale).astype(np.float32)[:, None] for one in (stats.between, stats.weekly))
        without = kept.without.astype(np.float32)
        pooled = without ** part.own_weight[rows].astype(np.float32)[:, None]
        frames, cycles = frames - len(windows.target), cycles - len(windows.target) / windows.cycle
        between = leaning(own * without, pooled, max(frames, 1.0))
        weekly = leaning(weeks * kept.without_weekly.astype(np.float32), pooled, max(cycles, 1.0))
        share = np.maximum(pooled, np.maximum(between, weekly))
        return np.asarray(np.maximum(share * scale[:, None], np.maximum(part.least[rows], 1e-300)[:, None]), np.float64)

    def _usual(self) -> NDArray[np.intp]:
        """The placebo windows to learn from: not the wildest fifth of single frames, as sudden changes of the past are no
        measure of what is usual."""
        count = self._placebos[0].shape[1]
        if len(self.setting.windows.target) > 1 or not self._placebos[0].size:
            return np.arange(count)
        wildest = np.max([np.abs(z).max(axis=0) for z in self._placebos], axis=0)
        return np.sort(np.argsort(wildest, kind="stable")[: count - int(count * SET_ASIDE)])

    def placebo_maxima(self, test: int) -> Floats:
        """(W,) the best score of any candidate in each placebo window."""
        best, z = np.zeros(0), self._placebos[test]
        # The score rises with the deviate, so of candidates with the same prior the furthest out is the best.
        priors, place = np.unique(self.log_prior[1:], return_inverse=True)
        for i, prior in enumerate(priors if z.size else ()):
            rows = unbroken(np.flatnonzero(place == i))
            score = chance.tail_score(chance.furthest(z[rows], self.tails[test], rows), np.array(prior))
            best = np.maximum(best, score) if best.size else score
        return best

    def segment(self, candidate: int) -> Segment:
        block = int(np.searchsorted(self._starts, candidate, side="right")) - 1
        return self.seen.blocks[block].segment(int(candidate - self._starts[block]), self.source.axes)

    def candidate(self, segment: Segment) -> int | None:
        """The number of a segment, -1 for everybody; None where it is no candidate."""
        if not segment:
            return -1
        axes, conditions = self.source.axes, dict(segment.conditions)
        for number in self._blocks_of.get(segment.fields, ()):
            block = self.seen.blocks[number]
            wanted = [
                code_of(axes[axis], options[0], width) if len(options := conditions[axes[axis].field]) == 1 else None
                for axis, width in zip(block.groups.axes, block.widths, strict=True)
            ]
            if None not in wanted:
                row = row_of(block.groups.codes, wanted)
                if row is not None:
                    return int(self._starts[number] + row)
        return None

    @cached_property
    def _kinds(self) -> NDArray[np.intp]:
        """(C,) a number for the fields of each candidate; without a past there are no placebos to show how alike kinds are."""
        if self.setting.comparison != "reference":
            return np.zeros(len(self.size), np.intp)
        numbers: dict[tuple[int, ...], int] = {}
        kinds = [numbers.setdefault(tuple(sorted(b.groups.axes)), len(numbers)) for b in self.seen.blocks]
        return np.repeat(np.array(kinds, np.intp), [len(s) for s in self.seen.sizes])

    @cached_property
    def _blocks_of(self) -> dict[tuple[str, ...], list[int]]:
        """Fields → numbers of the blocks over them."""
        found: dict[tuple[str, ...], list[int]] = {}
        for number, block in enumerate(self.seen.blocks):
            fields = tuple(sorted(self.source.axes[axis].field for axis in block.groups.axes))
            found.setdefault(fields, []).append(number)
        return found
