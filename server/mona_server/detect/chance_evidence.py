"""Evidence of one verse in one baseline: a few numbers of every candidate, taken from the blocks that the search
enumerates anyway, so that nothing is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mona_server.detect import chance_series
from mona_server.detect.candidates import Block
from mona_server.detect.chance_series import Part, Stats, Windows
from mona_server.detect.shape import Shape
from mona_server.detect.shocks import Shocks, find_shocks
from mona_server.detect.source import Floats, GroupSums
from mona_server.detect.verses.base import Statistic
from mona_server.segment import Segment

Comparison = Literal["reference", "everybody", "threshold"]
"""What the judged frames are compared with: the segment's own reference frames, everybody in the same frames, a number."""

PRIOR_CONTEXTS = 100.0
"""Weight of everybody's row variance in that of a segment, in contexts."""


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
    shapes: tuple[Shape, ...] = ()
    """Of each metric, how everybody's rows are spread; () where segments are compared with their own past."""
    known: tuple[Segment, ...] = ()
    """Segments whose change is told elsewhere (new ones): they explain, and are not named."""


@dataclass(slots=True)
class _Candidates:
    """Stats of all candidates seen, in blocks; joined when judged."""

    blocks: list[Block]
    sizes: list[Floats]
    stats: list[list[list[Stats]]]
    """per test, per part, per block"""


class Evidence:
    """Collects what is needed to judge the candidates of one verse in one baseline."""

    def __init__(self, setting: Setting, base: GroupSums) -> None:
        self.setting, self.base = setting, base
        tests = max(len(setting.metrics), 1)
        self._parts = 2 if setting.statistic is Statistic.SUM else 1
        windows = setting.windows
        self._placebos = (
            chance_series.placebo_windows(windows) if setting.comparison == "reference" else np.zeros((0, 0))
        )
        cycles = len(windows.learn) // windows.cycle if windows.cycle > 1 else 0
        self.weeks = cycles >= chance_series.ENOUGH_CYCLES
        self._first: list[Block] = []
        self._shocks: list[list[Shocks | None]] | None = None
        self.seen = _Candidates([], [], [[[] for _ in range(self._parts)] for _ in range(tests)])

    def add(self, block: Block) -> None:
        """Take the numbers of one block of candidates; those with one condition come first and show the shocks."""
        if self._shocks is None and len(block.widths) <= 1:
            self._first.append(block)
            return
        self.complete()
        self._take(block)

    def complete(self) -> None:
        """After the last block, and once: the shocks of each part of each test, then the blocks that waited for them."""
        if self._shocks is not None:
            return
        windows, plain = self.setting.windows, [b for b in self._first if not b.union]
        self._shocks = []
        for test in range(len(self.seen.stats)):
            by_block = [self._deviations(block.groups, test) for block in plain]
            if self.setting.comparison != "reference" or not by_block:
                self._shocks.append([None] * self._parts)
                continue
            self._shocks.append(
                [
                    None
                    if not self._shared(i)
                    else find_shocks(
                        [chance_series.seasonless(parts[i], windows) for parts in by_block],
                        [parts[i].exposure for parts in by_block],
                        [parts[i].row_variance for parts in by_block],
                        windows.reference,
                        windows.target,
                    )
                    for i in range(self._parts)
                ]
            )
        first, self._first = self._first, []
        for block in first:
            self._take(block)

    @property
    def sized(self) -> bool:
        """Is the first part the size?"""
        return self.setting.statistic in (Statistic.SIZE, Statistic.SUM)

    def _shared(self, part: int) -> bool:
        """Are shocks taken off this part? Not off means over many frames: residuals hold few, and a large change of one
        segment leaks into the scores, where it looks like small changes of others."""
        return (part == 0 and self.sized) or len(self.setting.windows.target) == 1

    def _take(self, block: Block) -> None:
        groups, windows = block.groups, self.setting.windows
        empty = np.zeros((0, 0, 0))
        light = replace(groups, size=np.zeros((0, 0)), count=empty, total=empty, square=empty)
        self.seen.blocks.append(replace(block, groups=light))
        self.seen.sizes.append(groups.size.sum(axis=1))
        assert self._shocks is not None
        for test, by_part in enumerate(self.seen.stats):
            for kept, part, shocks in zip(by_part, self._deviations(groups, test), self._shocks[test], strict=True):
                kept.append(chance_series.stats(part, windows, self._placebos, self.weeks, shocks))

    def _deviations(self, groups: GroupSums, test: int) -> list[Part]:
        """The parts of one test."""
        setting, base = self.setting, self.base
        statistic, windows = setting.statistic, setting.windows
        parts = []
        if statistic in (Statistic.SIZE, Statistic.SUM):
            parts.append(chance_series.size_part(groups.size, base.size[0], windows))
        if statistic is not Statistic.SIZE:
            total, count, square = self.moments(groups, test)
            base_total, base_count, base_square = self.moments(base, test)
            if setting.comparison == "threshold":
                mean = np.full(base_count.shape[1], setting.threshold)
            else:
                mean = (base_total / np.maximum(base_count, 1e-9))[0]
            everybody = row_variance(base_total, base_count, base_square, windows, np.zeros(1))
            rows = row_variance(total, count, square, windows, everybody)
            if setting.comparison == "everybody":
                rows = np.maximum(rows, self.least_variance(test))
            parts.append(chance_series.mean_part(total, count, rows, mean, windows))
        return parts

    def least_variance(self, test: int) -> float:
        """Of a row, around everybody's mean of its frame: were the segment like everybody, its rows would vary so.

        Where segments are compared with everybody, less than that may be luck.
        """
        if self.setting.comparison != "everybody":
            return 0.0
        if self.setting.statistic is Statistic.STD:
            return self.setting.shapes[test].variance
        total, count, square = (part[0, self.setting.windows.target] for part in self.moments(self.base, test))
        within = np.maximum(square - total**2 / np.maximum(count, 1e-9), 0.0)
        return float(within.sum() / max(float(count.sum()), 1.0))

    def moments(self, groups: GroupSums, test: int) -> tuple[Floats, Floats, Floats]:
        """Total, count and square of what a mean is taken of, (S, K) each."""
        setting = self.setting
        m = setting.metrics[test]
        r = setting.residuals[test]
        match setting.statistic:
            case Statistic.RATIO:
                return groups.count[m], groups.size, groups.count[m]
            case Statistic.STD if setting.comparison == "everybody":
                # Squared distances from the segment's own mean, of which one degree of freedom is lost.
                target = setting.windows.target
                count, total = groups.count[m], groups.total[m]
                contexts = np.maximum(count[:, target].sum(axis=1, keepdims=True), 2.0)
                mean = total[:, target].sum(axis=1, keepdims=True) / contexts
                squares = (groups.square[m] - 2 * mean * total + mean**2 * count) * (contexts / (contexts - 1))
                level = squares[:, target].sum(axis=1, keepdims=True) / contexts
                return squares, count, 3 * level * squares
            case Statistic.STD:
                # Squares of residuals; their own spread as if residuals were normal, the pooling corrects it.
                mean = groups.square[r] / np.maximum(groups.count[r], 1e-9)
                return groups.square[r], groups.count[r], 3 * mean * groups.square[r]
            case _:
                return groups.total[r], groups.count[r], groups.square[r]


def row_variance(total: Floats, count: Floats, square: Floats, windows: Windows, everybody: Floats) -> Floats:
    """(S,) variance of rows around their segment's mean in each window, pulled towards everybody's."""
    spread, seen = np.zeros(len(total)), np.zeros(len(total))
    for frames in (windows.target, windows.reference):
        if len(frames):
            n, t = count[:, frames].sum(axis=1), total[:, frames].sum(axis=1)
            spread += np.maximum(square[:, frames].sum(axis=1) - t * t / np.maximum(n, 1e-9), 0.0)
            seen += n
    prior = PRIOR_CONTEXTS if everybody[0] > 0 else 0.0
    return np.asarray((spread + prior * everybody[0]) / np.maximum(seen + prior, 1e-9), np.float64)
