"""Sums of the rows of each group, frame by frame: one sparse product ``A.T @ X`` per frame.

A has one entry (the sign) per row in the column of its group; X holds 1, the presence of metrics that may be missing, and
x - c and (x - c)² of each metric. X is made for one block of rows at a time, for all groupings that are summed together, and
never kept: making it anew costs less than to hold 8 bytes per number and to read them from memory again.
A frame is summed by one thread in the order of its rows, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats
from mona_server.query.rows import Codes, Indexes, Rows
from mona_server.threads import in_threads

BLOCK_BYTES = 8 * 2**20
"""Size of a block of X, so that it stays in the processor's cache."""
COPIED_GROUPS = 4096
"""Sums of so many groups at a time are copied from a product, so that they stay there, too."""
GroupsOf = Callable[[int, int], Codes]
"""(low, high) → the group of each of these items; the number of groups = in none of them."""
Sums = tuple[Floats, ...]
"""What :meth:`Products.by_frame` tells of one grouping."""


class Products:
    """Sums over the rows of one question."""

    def __init__(self, rows: Rows, threads: int, stretches: Sequence[tuple[int, int]] = ()) -> None:
        """With ``stretches`` only contexts and totals of residuals are told by frame, see :meth:`SumsSource.coarser`."""
        self.threads = threads
        self._rows = rows
        self._stretches = tuple(stretches)
        self.metrics = len(rows.deviations)
        # A metric and its residuals are present in the same rows: one column tells it for both.
        self._present = list({id(there): there for there in rows.present if there is not None}.values())
        places = {id(there): i for i, there in enumerate(self._present, start=1)}
        self._counted = tuple(0 if there is None else places[id(there)] for there in rows.present)
        self._first = 1 + len(self._present)
        self.width = self._first + 2 * self.metrics
        self._block_rows = BLOCK_BYTES // (8 * self.width)
        # Replaced as a whole, because several threads ask.
        self._ones: tuple[Floats, NDArray[np.int32]] = (np.ones(0), np.zeros(1, np.int32))
        self._followed = slice(self._first + self.metrics - len(rows.cuts), self._first + self.metrics)

    @property
    def frames(self) -> int:
        return len(self._rows.frame_starts) - 1

    @property
    def group_bytes(self) -> int:
        """Memory that the sums of one group take."""
        if not self._stretches:
            return 8 * self.width * max(self.frames, 1)
        followed = self._first + self._followed.stop - self._followed.start
        return 8 * (followed * self.frames + 2 * self.metrics * len(self._stretches))

    def by_frame(self, groupings: Sequence[tuple[GroupsOf, int]], origin: Indexes | None = None) -> list[Sums]:
        """For each grouping (with its number of groups) the sums of the columns of X by frame, (width, K, groups).

        With stretches those that are told by frame, and those of all metrics by stretch, (2M, C, groups). ``origin`` is the
        row of each item that the groupings number, ascending; None: items are rows. :meth:`split` names the columns.
        """
        frames = [(frame, frame + 1) for frame in range(self.frames)]
        if not self._stretches:
            return [(sums,) for sums in self.by_span(groupings, frames, origin)]
        followed = self._first + self._followed.stop - self._followed.start
        fine = [np.empty((followed, self.frames, groups)) for _, groups in groupings]
        coarse = [np.empty((2 * self.metrics, len(self._stretches), groups)) for _, groups in groupings]

        def work(stretch: int, space: Floats) -> None:
            first, last = self._stretches[stretch]
            for frame in range(first, last):
                for number, found in self._added_up(groupings, frames[frame], origin, space):
                    # Numbers of a group lie side by side in `found`, and groups do here: parts stay in the cache.
                    for low in range(0, found.shape[1], COPIED_GROUPS):
                        groups = slice(low, low + COPIED_GROUPS)
                        part, total = found[:, groups], coarse[number][:, stretch, groups]
                        fine[number][: self._first, frame, groups] = part[: self._first]
                        fine[number][self._first :, frame, groups] = part[self._followed]
                        if frame == first:
                            total[:] = part[self._first :]
                        else:
                            total += part[self._first :]

        self._in_threads(work, len(self._stretches), frames)
        return list(zip(fine, coarse, strict=True))

    def by_span(
        self,
        groupings: Sequence[tuple[GroupsOf, int]],
        spans: Sequence[tuple[int, int]],
        origin: Indexes | None = None,
    ) -> list[Floats]:
        """For each grouping the sums of all columns of X over each span of frames, (width, spans, groups)."""
        sums = [np.empty((self.width, len(spans), groups)) for _, groups in groupings]

        def work(column: int, space: Floats) -> None:
            for number, found in self._added_up(groupings, spans[column], origin, space):
                sums[number][:, column] = found

        self._in_threads(work, len(spans), spans)
        return sums

    def _in_threads(self, work: Callable[[int, Floats], None], pieces: int, spans: Sequence[tuple[int, int]]) -> None:
        """``work(piece, space)`` for each piece; ``space`` holds the columns of the longest span, or a block of them."""
        starts, waiting = self._rows.frame_starts, iter(range(pieces))
        longest = max((int(starts[b] - starts[a]) for a, b in spans), default=0)

        def run(_: int) -> None:
            space = np.empty((min(longest, self._block_rows), self.width))
            for piece in waiting:
                work(piece, space)

        in_threads(run, range(min(self.threads, pieces)), self.threads)

    def _added_up(
        self,
        groupings: Sequence[tuple[GroupsOf, int]],
        span: tuple[int, int],
        origin: Indexes | None,
        space: Floats,
    ) -> Iterator[tuple[int, Floats]]:
        """The number of each grouping with its sums (width, groups) over a span of frames."""
        first, last = (int(self._rows.frame_starts[frame]) for frame in span)
        found: list[Floats] = [np.zeros((self.width, groups)) for _, groups in groupings] if first == last else []
        for low in range(first, last, len(space) or 1):
            high = min(low + len(space), last)
            block = space[: high - low]
            self._fill(block, low, high)
            added = (self._product(block, group_of, groups, origin, low, high) for group_of, groups in groupings)
            if last - first <= len(space):  # handed over as they come, so that only one is held
                yield from enumerate(added)
                return
            found = [one + other for one, other in zip(found, added, strict=True)] if found else list(added)
        yield from enumerate(found)

    def split(self, sums: Sums) -> dict[str, Any]:
        """What :class:`GroupSums` has beside axes and codes.

        Views in which the groups of one frame are contiguous: the sums of many segments are most of the memory of a search.
        """
        parts: dict[str, Any] = {"contexts": sums[0][: self._first].transpose(0, 2, 1), "counted": self._counted}
        both = sums[0][self._first :] if len(sums) == 1 else sums[1]
        parts["total"], parts["square"] = np.split(both.transpose(0, 2, 1), [self.metrics])
        if len(sums) > 1:
            parts["stretches"], parts["residual"] = self._stretches, sums[0][self._first :].transpose(0, 2, 1)
        return parts

    def _fill(self, block: Floats, low: int, high: int) -> None:
        """X of rows ``low`` to ``high``."""
        block[:, 0] = 1.0
        for i, present in enumerate(self._present, start=1):
            block[:, i] = present[low:high]
        for m in range(self.metrics):
            deviation = self._rows.values(m, low, high)
            block[:, self._first + m] = deviation
            with np.errstate(over="ignore"):
                np.multiply(deviation, deviation, out=block[:, self._first + self.metrics + m])

    def _product(
        self, block: Floats, group_of: GroupsOf, groups: int, origin: Indexes | None, low: int, high: int
    ) -> Floats:
        """(width, groups): the sums of the items of rows ``low`` to ``high``."""
        from scipy.sparse import csc_array  # 143 MiB, needed by the search alone

        sign = None if self._rows.sign is None else self._rows.sign[low:high]
        if origin is not None:
            rows = low, high
            low, high = (int(place) for place in np.searchsorted(origin, rows))
            inside = origin[low:high] - rows[0]
            block, sign = block[inside], None if sign is None else sign[inside]
        items = high - low
        ones, places = self._units(items)
        matrix = csc_array((ones if sign is None else sign, group_of(low, high), places), (groups + 1, items))
        return np.asarray(matrix @ block)[:groups].T

    def _units(self, items: int) -> tuple[Floats, NDArray[np.int32]]:
        """(items,) ones and (items + 1,) ascending numbers: what a matrix with a single one per column is made of."""
        if len(self._ones[0]) < items:
            self._ones = np.ones(items), np.arange(items + 1).astype(np.int32)
        ones, places = self._ones
        return ones[:items], places[: items + 1]
