"""Evidence of one verse in one baseline: a few numbers of every candidate, taken from the blocks that the search
enumerates anyway, so that nothing is read twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mona_server.detect import chance_parts, chance_seasons, chance_series
from mona_server.detect.candidates import Block
from mona_server.detect.chance_parts import Part, Windows
from mona_server.detect.chance_series import Stats
from mona_server.detect.shape import Shape
from mona_server.detect.shocks import Shocks, find_shocks
from mona_server.detect.source import Floats, GroupSums, whole_stretches
from mona_server.detect.verses.base import Statistic
from mona_server.detect.windows import unbroken
from mona_server.segment import Segment
from mona_server.threads import in_threads

Comparison = Literal["reference", "everybody", "threshold"]
"""What the judged frames are compared with: the segment's own reference frames, everybody in the same frames, a number."""

BATCH = 512
"""Blocks with fewer segments are taken together with the next ones: a step over few costs as much as one over many."""
PIECE = 4096
"""Larger ones are taken in pieces that stay in the processor's cache."""
PRIOR_CONTEXTS = 100.0
"""Weight of everybody's row variance in that of a segment, and of its usual one in that of its judged rows, in contexts."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked of one verse in one baseline."""

    statistic: Statistic
    comparison: Comparison
    windows: Windows
    metrics: tuple[int, ...]
    """Rows of the metrics in the sums; () for sizes."""
    residuals: tuple[int, ...]
    """Rows of their residuals, where there are any; else the same as ``metrics``."""
    rate: float
    threshold: float = 0.0
    strict: bool = False
    fresh: tuple[float, ...] = ()
    """Of each metric, see :attr:`Part.fresh`; () where no effects are taken off."""
    shapes: tuple[Shape, ...] = ()
    """Of each metric, how everybody's rows are spread; () where segments are compared with their own past."""
    known: tuple[Segment, ...] = ()
    """Segments whose change is told elsewhere (new ones): they explain, and are not named."""


Seen = tuple[Floats, Floats, Floats]
"""Count, total and square over some frames, (S,) each."""


@dataclass(frozen=True, slots=True)
class Series:
    """What a mean of S segments is taken of: total and count (S, K), square (S, K), or (S, C) where there are stretches."""

    total: Floats
    count: Floats
    square: Floats
    stretches: tuple[tuple[int, int], ...] = ()

    def over(self, frames: NDArray[np.intp]) -> Seen:
        """Over some frames."""
        those = unbroken(frames)
        parts = those if not self.stretches else whole_stretches(self.stretches, self.count.shape[1], those)
        return self.count[:, those].sum(axis=1), self.total[:, those].sum(axis=1), self.square[:, parts].sum(axis=1)


@dataclass(slots=True)
class _Candidates:
    """Stats of all candidates seen, in blocks; joined when judged."""

    blocks: list[Block]
    sizes: list[Floats]
    stats: list[list[list[Stats]]]
    """per test, per part, of one or several blocks each"""


class Evidence:
    """Collects what is needed to judge the candidates of one verse in one baseline."""

    def __init__(
        self, setting: Setting, base: GroupSums, unfitted: GroupSums | None = None, *, threads: int = 1
    ) -> None:
        """``base``: everybody's sums; ``unfitted``: the same with residuals that no effects were taken off, if asked for."""
        self.threads = threads
        self.setting, self.base, self.unfitted = setting, base, unfitted
        tests = max(len(setting.metrics), 1)
        self._parts = 2 if setting.statistic is Statistic.SUM else 1
        windows = setting.windows
        self._placebos = (
            chance_series.placebo_windows(windows) if setting.comparison == "reference" else np.zeros((0, 0))
        )
        cycles = len(windows.learn) // windows.cycle if windows.cycle > 1 else 0
        self.weeks = cycles >= chance_seasons.ENOUGH_CYCLES
        self._waiting: list[Block] = []
        self._shocks: list[list[Shocks | None]] | None = None
        self._variances: dict[int, list[float]] = {}
        self.seen = _Candidates([], [], [[[] for _ in range(self._parts)] for _ in range(tests)])

    def add(self, block: Block) -> None:
        """Take the numbers of one block of candidates; those with one condition come first and show the shocks."""
        if self._shocks is None and len(block.widths) > 1:
            self.complete()
        self._waiting.append(block)
        if self._shocks is not None and sum(map(len, self._waiting)) >= BATCH:
            self._take(self._shocks)

    def complete(self) -> None:
        """After the last block: the shocks of each part of each test, then the blocks that still wait."""
        if self._shocks is None:
            self._shocks = self._found([b for b in self._waiting if not b.union])
        if self._waiting:
            self._take(self._shocks)

    def handed_over(self, test: int) -> list[list[Stats]]:
        """The stats of each part of a test, which are not kept here any longer: they are large."""
        kept, self.seen.stats[test] = self.seen.stats[test], [[] for _ in range(self._parts)]
        return kept

    def _found(self, blocks: list[Block]) -> list[list[Shocks | None]]:
        """The shocks of each part of each test, from blocks of one condition."""
        windows, shocks = self.setting.windows, list[list[Shocks | None]]()
        for test in range(len(self.seen.stats)):
            by_block = [self._deviations([block.groups], test) for block in blocks]
            if self.setting.comparison != "reference" or not by_block:
                shocks.append([None] * self._parts)
                continue
            shocks.append(
                [
                    None
                    if not self._shared(i)
                    else find_shocks(
                        [chance_seasons.seasonless(parts[i], windows) for parts in by_block],
                        [parts[i].exposure for parts in by_block],
                        [parts[i].row_variance for parts in by_block],
                        windows.reference,
                        windows.target,
                    )
                    for i in range(self._parts)
                ]
            )
        return shocks

    @property
    def sized(self) -> bool:
        """Is the first part the size?"""
        return self.setting.statistic in (Statistic.SIZE, Statistic.SUM)

    def _shared(self, part: int) -> bool:
        """Are shocks taken off this part? Not off means over many frames: residuals hold few, and a large change of one
        segment leaks into the scores, where it looks like small changes of others."""
        return (part == 0 and self.sized) or len(self.setting.windows.target) == 1

    def _take(self, shocks: list[list[Shocks | None]]) -> None:
        """The numbers of the blocks that wait."""
        windows, waiting = self.setting.windows, [block.groups for block in self._waiting]
        empty = np.zeros((1, 0, 0))
        for block in self._waiting:
            light = replace(block.groups, contexts=empty, total=empty, square=empty, residual=None)
            self.seen.blocks.append(replace(block, groups=light))
            self.seen.sizes.append(block.groups.size.sum(axis=1))
        self._waiting = []
        # What a season explains is pooled over a block, so there none is cut.
        seasons = chance_seasons.has_season(windows)
        batches = _batches(waiting, max(map(len, (groups.codes for groups in waiting))) if seasons else PIECE)
        pieces = [(groups, test) for groups in batches for test in range(len(self.seen.stats))]

        def stats(piece: tuple[list[GroupSums], int]) -> list[Stats]:
            parts, shared = self._deviations(*piece), shocks[piece[1]]
            if seasons:
                starts = (0, *accumulate(len(groups.codes) for groups in piece[0][:-1]))
                parts = [replace(part, starts=starts) for part in parts]
            each = zip(parts, shared, strict=True)
            return [chance_series.stats(part, windows, self._placebos, self.weeks, one) for part, one in each]

        for (_, test), found in zip(pieces, in_threads(stats, pieces, self.threads), strict=True):
            for kept, one in zip(self.seen.stats[test], found, strict=True):
                kept.append(one)

    def _deviations(self, groups: list[GroupSums], test: int) -> list[Part]:
        """The parts of one test."""
        setting, base = self.setting, self.base
        statistic, windows = setting.statistic, setting.windows
        parts = []
        if statistic in (Statistic.SIZE, Statistic.SUM):
            parts.append(chance_parts.size_part(_joined([one.size for one in groups]), base.size[0], windows))
        if statistic is not Statistic.SIZE:
            series = [self.moments(one, test) for one in groups]
            whole = self.moments(base, test)
            if setting.comparison == "threshold":
                mean = np.full(whole.count.shape[1], setting.threshold)
            else:
                mean = (whole.total / np.maximum(whole.count, 1e-9))[0]
            spans = [frames for frames in (windows.target, windows.reference) if len(frames)]
            seen = [_over(series, frames) for frames in spans]
            everybody, *in_each = self._of_everybody(test, spans)
            rows = row_variance(seen, everybody)
            if setting.comparison == "everybody":
                rows = np.maximum(rows, self.least_variance(test))
            fresh = setting.fresh[test] if setting.fresh and statistic is not Statistic.RATIO else 1.0
            wider: Floats | float = 0.0
            if setting.comparison == "reference":
                # As far as they are few, judged rows are taken to spread as the segment's own did, in the storm of everybody's.
                usual = row_variance(seen[1:], 0.0) * max(in_each[0] / max(in_each[1], 1e-300), 1.0)
                now = row_variance(seen[:1], usual)
                if statistic is Statistic.STD:
                    # Squares that are larger vary more: as their logarithms do where variances are put in the middle.
                    now = np.sqrt(now * usual)
                wider = np.maximum(now - usual, 0.0)
            total, count = _joined([one.total for one in series]), _joined([one.count for one in series])
            parts.append(chance_parts.mean_part(total, count, rows, mean, windows, wider, fresh))
        return parts

    def _of_everybody(self, test: int, spans: Sequence[NDArray[np.intp]]) -> list[float]:
        """The variance of everybody's rows over all spans of frames, then over each."""
        if test not in self._variances:
            seen = [_over([self.moments(self.base, test)], frames) for frames in spans]
            self._variances[test] = [float(row_variance(some, 0.0)[0]) for some in (seen, *([one] for one in seen))]
        return self._variances[test]

    def least_variance(self, test: int) -> float:
        """Of a row, around everybody's mean of its frame: were the segment like everybody, its rows would vary so.

        Where segments are compared with everybody, less than that may be luck.
        """
        if self.setting.comparison != "everybody":
            return 0.0
        if self.setting.statistic is Statistic.STD:
            return self.setting.shapes[test].variance
        moments, target = self.moments(self.base, test), self.setting.windows.target
        total, count, square = (part[0, target] for part in (moments.total, moments.count, moments.square))
        within = np.maximum(square - total**2 / np.maximum(count, 1e-9), 0.0)
        return float(within.sum() / max(float(count.sum()), 1.0))

    def moments(self, groups: GroupSums, test: int) -> Series:
        """What a mean is taken of."""
        setting = self.setting
        m = setting.metrics[test]
        r = setting.residuals[test]
        match setting.statistic:
            case Statistic.RATIO:
                return Series(groups.count_of(m), groups.size, groups.count_of(m))
            case Statistic.STD if setting.comparison == "everybody":
                # Squared distances from the segment's own mean, of which one degree of freedom is lost.
                target = setting.windows.target
                count, total = groups.count_of(m), groups.total[m]
                contexts = np.maximum(count[:, target].sum(axis=1, keepdims=True), 2.0)
                mean = total[:, target].sum(axis=1, keepdims=True) / contexts
                squares = (groups.square[m] - 2 * mean * total + mean**2 * count) * (contexts / (contexts - 1))
                level = squares[:, target].sum(axis=1, keepdims=True) / contexts
                return Series(squares, count, 3 * level * squares)
            case Statistic.STD:
                # Squares of residuals; their own spread as if residuals were normal, the pooling corrects it.
                mean = groups.square[r] / np.maximum(groups.count_of(r), 1e-9)
                return Series(groups.square[r], groups.count_of(r), 3 * mean * groups.square[r])
            case _:
                return Series(groups.total_of(r), groups.count_of(r), groups.square[r], groups.stretches)


def _batches(waiting: Sequence[GroupSums], most: int) -> Iterator[list[GroupSums]]:
    """The same segments in the same order, lists of more than ``most`` in pieces, small ones together."""
    batch: list[GroupSums] = []
    for groups in waiting:
        for start in range(0, len(groups.codes), most):
            rows = slice(start, start + most)
            batch.append(groups.take(rows))
            if sum(len(piece.codes) for piece in batch) >= BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _joined(parts: Sequence[Floats]) -> Floats:
    """(S, K) of several lists of segments, as one."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _over(series: Sequence[Series], frames: NDArray[np.intp]) -> Seen:
    """Of several lists of segments, as one."""
    count, total, square = map(_joined, zip(*(one.over(frames) for one in series), strict=True))
    return count, total, square


def row_variance(windows: Sequence[Seen], expected: Floats | float) -> Floats:
    """(S,) variance of rows around their segment's mean in each window, pulled towards the ``expected`` one; not where that is 0."""
    spread = sum(np.maximum(square - total**2 / np.maximum(count, 1e-9), 0.0) for count, total, square in windows)
    prior = np.where(np.asarray(expected) > 0, PRIOR_CONTEXTS, 0.0)
    seen = sum(count for count, _, _ in windows) + prior
    return np.asarray((spread + prior * expected) / np.maximum(seen, 1e-9), np.float64)
