"""Deviations from what is expected, frame by frame. Pure functions over sums of S segments.

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

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats
from mona_server.detect.windows import unbroken


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
    counted: bool = False
    """Is it the size: a whole number of contexts, expected by the share of the reference frames."""
    wider: Floats | float = 0.0
    """(S,) by how much the variance of judged rows is above that of reference ones, at least 0."""
    fresh: float = 1.0
    """Variance of rows that the effects were not learnt from, over that of those they were learnt from."""
    starts: tuple[int, ...] = (0,)
    """Where lists of segments that share their seasons begin."""


def size_part(size: Floats, base: Floats, windows: Windows) -> Part:
    """``size`` (S, K), ``base`` (K,). Rows alone make a Poisson law: variance 1 - p per expected context."""
    reference = unbroken(windows.reference)
    share = size[:, reference].sum(axis=1) / max(float(base[reference].sum()), 1.0)
    expected = share[:, None] * base
    return Part(size - expected, expected, np.maximum(1 - share, 1e-3), counted=True)


def mean_part(
    total: Floats,
    count: Floats,
    row_variance: Floats,
    base_mean: Floats,
    windows: Windows,
    wider: Floats | float = 0.0,
    fresh: float = 1.0,
) -> Part:
    """``total``, ``count`` (S, K); ``base_mean`` (K,): everybody's mean. No reference: compared with everybody."""
    deviation = total - count * base_mean
    if len(windows.reference):
        reference = unbroken(windows.reference)
        seen = np.maximum(count[:, reference].sum(axis=1), 1e-9)
        deviation = deviation - (deviation[:, reference].sum(axis=1) / seen)[:, None] * count
    return Part(deviation, count, row_variance, drawn=True, wider=wider, fresh=fresh)
