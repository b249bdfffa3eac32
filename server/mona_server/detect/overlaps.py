"""What segments share: sums over the atoms (:class:`AtomSums`) that are in both of two.

Of half a million atoms each is in few of hundreds of segments, so lists of them take a hundredth of what masks take.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats

Mask = NDArray[np.bool_]
STEPS = 20
"""Of the fit of atoms' variances; after so many most are within a few percent where they can be at all."""


class Overlaps:
    """Which atoms are in which of G segments, ``member`` (A, G), as lists."""

    def __init__(self, member: Mask) -> None:
        from scipy.sparse import csr_array

        _, segment = np.nonzero(member)
        self._member = member
        self._each = member.sum(axis=1)
        self._inside = csr_array((np.ones(len(segment)), segment, np.append(0, np.cumsum(self._each))), member.shape)
        self._by_segment = self._inside.T.tocsr()

    def weigh(self, weight: Floats) -> Floats:
        """(G, G): the weight of the atoms, each of weight (A,), that are in both of two segments."""
        weighed = self._inside.copy()
        weighed.data = np.repeat(weight, self._each)
        return np.asarray((self._by_segment @ weighed).toarray(), np.float64)

    def jaccard(self, weight: Floats) -> Floats:
        """(G, G): the weight of the atoms in both of two segments as a share of that in any of them; 0 where that is none."""
        both = self.weigh(weight)
        either = np.diag(both)[:, None] + np.diag(both)[None, :] - both
        return np.divide(both, either, out=np.zeros_like(both), where=either > 0)

    def outside(self, segment: int, other: int) -> NDArray[np.intp]:
        """The atoms of a segment that are not in the other one, ascending."""
        first, last = self._by_segment.indptr[segment : segment + 2]
        inside = self._by_segment.indices[first:last]
        return np.asarray(inside[~self._member[inside, other]], np.intp)

    def total(self, weight: Floats) -> Floats:
        """(G,): the weight of the atoms in each segment."""
        return np.asarray(self._by_segment @ weight, np.float64)

    def covariance(self, now: Floats, before: Floats, ratio: Floats, wanted: Floats) -> Floats:
        """(U, U) noise of the changes of the first U segments, with about the variances ``wanted`` (U,).

        ``now`` and ``before`` (A,) are the variances that atoms have by rows alone; ``before`` counts ``ratio`` (U,) squared.
        A segment changes by the sum of what its atoms do. So parts take from their whole exactly what is left of it, and a
        covariance has to say so: made of variances of atoms, each those of its rows times a factor. The factors
        are fitted by Richardson's (1972) and Lucy's (1974) steps, which keep them positive. Were segments scaled one by one
        instead, a whole and its parts would seem to disagree, and what explains that would be all but certain. What a
        segment has beyond its atoms is its own.
        """
        count, factor, asked = len(wanted), np.ones(len(now)), np.zeros(self._inside.shape[1])
        asked[:count] = 1.0
        segments = self._inside @ asked  # of each atom
        for _ in range(STEPS):
            fitted = self.total(factor * now)[:count] + ratio**2 * self.total(factor * before)[:count]
            asked[:count] = wanted / np.maximum(fitted, 1e-300)
            factor = factor * np.where(segments > 0, (self._inside @ asked) / np.maximum(segments, 1.0), 1.0)
        noise = self.weigh(factor * now)[:count, :count]
        noise = noise + self.weigh(factor * before)[:count, :count] * np.outer(ratio, ratio)
        own = np.diag_indices(count)
        noise[own] = np.maximum(noise[own], wanted)
        return np.asarray(noise, np.float64)
