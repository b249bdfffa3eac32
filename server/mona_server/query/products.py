"""Sums of the rows of each group, frame by frame: one sparse product ``A.T @ X`` per frame.

A has one entry (the sign) per row in the column of its group; X holds 1, x - c and (x - c)² of each metric, and its
presence where it may be missing. X is made for one block of rows at a time, for all groupings that are summed
together, and never kept: making it anew costs less than to hold 8 bytes per number and to read them from memory again.
A frame is summed by one thread in the order of its rows, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mona_server.detect.source import Floats
from mona_server.query.rows import Codes, Indexes, Rows
from mona_server.query.threads import in_threads

BLOCK_BYTES = 8 * 2**20
"""Size of a block of X, so that it stays in the processor's cache."""
GroupsOf = Callable[[int, int], Codes]
"""(low, high) → the group of each of these items; the number of groups = in none of them."""


class Products:
    """Sums over the rows of one question."""

    def __init__(self, rows: Rows, threads: int) -> None:
        self.threads = threads
        self._rows = rows
        self.metrics = len(rows.deviations)
        # A metric and its residuals are present in the same rows: one column tells it for both.
        self._present = list({id(there): there for there in rows.present if there is not None}.values())
        places = {id(there): i for i, there in enumerate(self._present, start=1 + 2 * self.metrics)}
        self._count_of = [0 if there is None else places[id(there)] for there in rows.present]
        self.width = 1 + 2 * self.metrics + len(self._present)
        self._block_rows = BLOCK_BYTES // (8 * self.width)

    @property
    def frames(self) -> int:
        return len(self._rows.frame_starts) - 1

    def by_frame(
        self,
        groupings: Sequence[tuple[GroupsOf, int]],
        origin: Indexes | None = None,
        spans: Sequence[tuple[int, int]] | None = None,
    ) -> list[Floats]:
        """For each grouping (with its number of groups) the sums of the columns of X, (width, K, groups).

        ``origin`` is the row of each item that the groupings number, ascending; None: items are rows. K are the
        frames, or ``spans`` of them. :meth:`split` names the columns.
        """
        starts = self._rows.frame_starts
        wanted = spans if spans is not None else [(frame, frame + 1) for frame in range(self.frames)]
        longest = max((int(starts[b] - starts[a]) for a, b in wanted), default=0)
        sums = [np.empty((self.width, len(wanted), groups)) for _, groups in groupings]
        columns = iter(range(len(wanted)))

        def work(_: int) -> None:
            space = np.empty((min(longest, self._block_rows), self.width))
            for column in columns:
                first, last = (int(starts[frame]) for frame in wanted[column])
                if first == last:
                    for out in sums:
                        out[:, column, :] = 0.0
                for low in range(first, last, len(space) or 1):
                    high = min(low + len(space), last)
                    block = space[: high - low]
                    self._fill(block, low, high)
                    for (group_of, groups), out in zip(groupings, sums, strict=True):
                        if not groups:
                            continue
                        found = self._product(block, group_of, groups, origin, low, high)
                        if low == first:
                            out[:, column, :] = found
                        else:
                            out[:, column, :] += found

        in_threads(work, min(self.threads, len(wanted)), self.threads)
        return sums

    def split(self, sums: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Size (S, K) and count, total, square (M, S, K), as views in which the groups of one frame are contiguous.

        Frames last, without a copy: the sums of many segments are most of the memory of a search.
        """
        count: Floats = np.broadcast_to(sums[0], (self.metrics, *sums.shape[1:]))
        if self._present:
            count = sums[self._count_of]
        total, square = sums[1 : 1 + self.metrics], sums[1 + self.metrics : 1 + 2 * self.metrics]
        return sums[0].T, count.transpose(0, 2, 1), total.transpose(0, 2, 1), square.transpose(0, 2, 1)

    def _fill(self, block: Floats, low: int, high: int) -> None:
        """X of rows ``low`` to ``high``."""
        block[:, 0] = 1.0
        for m, deviations in enumerate(self._rows.deviations):
            deviation = deviations[low:high]
            block[:, 1 + m] = deviation
            with np.errstate(over="ignore"):
                np.multiply(deviation, deviation, out=block[:, 1 + self.metrics + m])
        for i, present in enumerate(self._present, start=1 + 2 * self.metrics):
            block[:, i] = present[low:high]

    def _product(
        self, block: Floats, group_of: GroupsOf, groups: int, origin: Indexes | None, low: int, high: int
    ) -> Floats:
        """(width, groups): the sums of the items of rows ``low`` to ``high``."""
        from scipy.sparse import csc_array  # 143 MiB, needed by the search alone

        sign = None if self._rows.sign is None else self._rows.sign[low:high]
        if origin is not None:
            rows = low, high
            low, high = (int(place) for place in np.searchsorted(origin, rows))
            places = origin[low:high] - rows[0]
            block, sign = block[places], None if sign is None else sign[places]
        items = high - low
        weight = np.ones(items) if sign is None else sign
        matrix = csc_array((weight, group_of(low, high), np.arange(items + 1, dtype=np.int32)), (groups + 1, items))
        return np.asarray(matrix @ block)[:groups].T
