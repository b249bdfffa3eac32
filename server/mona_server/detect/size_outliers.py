"""Size outliers: is it chance that a segment is larger or smaller than its siblings?

Were all siblings alike, the contexts of each would be as many as their mean, give or take what counts vary between frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mona_server.detect import chance
from mona_server.detect.candidates import Block
from mona_server.detect.gate import Inside
from mona_server.detect.novelty import bursts
from mona_server.detect.signal import Chance, Signal
from mona_server.detect.source import Floats
from mona_server.detect.verses.outlier import LEAST_SIBLINGS
from mona_server.segment import Segment

METHOD = "deviance of the count from its siblings' mean, over the usual variance of counts between frames"


@dataclass(slots=True)
class Counts:
    """What is learnt from the blocks of siblings."""

    inside: Inside
    tests: dict[int, int] = field(default_factory=dict)
    """Number of conditions → candidates."""
    _log_p: dict[Segment, float] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        """Take the numbers of all siblings over one list of fields."""
        plan, depth = self.inside.plan, len(block.widths)
        frames = plan.target.frames
        log_p = log_p_of_sizes(block.groups.size[:, frames], self.inside.base.size[0, frames])
        self.tests[depth] = self.tests.get(depth, 0) + len(block)
        size = block.groups.size[:, frames].sum(axis=1)
        far = np.abs(size - size.mean()) >= float(self.inside.verse["min_anomaly_level"]) * size.std() * (1 - 1e-9)
        for row in np.flatnonzero(far):
            self._log_p[block.segment(int(row), self.inside.source.axes)] = float(log_p[row])

    def judge(self, signals: Sequence[Signal], rate: float) -> list[Signal]:
        """The signals with their chance; every sibling is a test, each number of conditions has the same mass."""
        judged = []
        for signal in signals:
            log_p = self._log_p.get(signal.segment, 0.0)
            tests = max(len(self.tests), 1) * max(self.tests.get(len(signal.segment), 1), 1)
            q = float(np.exp(min(0.0, log_p + np.log(tests))))
            reason = "" if q <= rate else "could be chance: counts of segments as large as the others vary so much"
            judged.append(replace(signal, chance=Chance(q <= rate, METHOD, q, float(np.exp(log_p)), reason)))
        return judged


def log_p_of_sizes(size: Floats, base: Floats) -> Floats:
    """(S,) log of the two-sided p of each sibling's contexts, ``size`` (S, K) by frame, ``base`` (K,) those of everybody.

    Signed root of the Poisson deviance from the mean over the root of the dispersion: the segment's own between frames,
    or the median one, or 1, whichever is largest.

    >>> size = np.array([[5.0, 5.0]] * 9 + [[15.0, 15.0]])
    >>> np.exp(log_p_of_sizes(size, np.array([60.0, 60.0]))).round(3)[[0, 9]].tolist()
    [0.552, 0.0]
    """
    count = size.sum(axis=1)
    if len(count) < LEAST_SIBLINGS:
        return np.zeros(len(count))
    mean = float(count.mean())
    own = np.nan_to_num(bursts(size, base), nan=1.0)
    dispersion = np.maximum(np.maximum(own, np.median(own)), 1.0)
    logs = np.log(np.maximum(count, 1e-300) / mean)
    deviance = 2 * np.maximum(np.where(count > 0, count * logs, 0.0) - (count - mean), 0.0)
    return chance.log_two_sided(np.sqrt(deviance / dispersion))
