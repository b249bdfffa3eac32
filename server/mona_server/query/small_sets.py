"""Sums of sets of axes that have far fewer cells than rows: one pass over the rows is for all of one or two axes.

Such sets need no look at which cells are large enough before they are summed, and share the columns of the product.
Every cell is added up in the order of its rows, as in a pass of its own, so the bits are the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mona_server.detect.source import Floats
from mona_server.query.cells import Digit, cells_of
from mona_server.query.products import Products
from mona_server.query.rows import Codes

FEW = 8
"""Sets that are summed together have fewer cells than a frame has rows by this factor ..."""
ALONE = 2
"""... and one that is summed alone by this one;"""
LARGE = 8
"""its cells have on average this multiple of the smallest size that counts, so that most of them are wanted."""
CELLS_BYTES = 192 * 2**20
"""Sums of cells take no more than this: those that are kept together, and those of one set alone."""


class SmallSets:
    """Sums of all cells of axes with few values."""

    def __init__(self, digits: Mapping[int, Digit], rows: int, products: Products) -> None:
        self._digits, self._rows, self._products = digits, rows, products
        frames = max(products.frames, 1)
        self._cell_bytes = 8 * products.width * frames
        self._room = max(1, min(rows / frames / FEW, CELLS_BYTES / self._cell_bytes))
        self._room_alone = min(rows / frames / ALONE, CELLS_BYTES / self._cell_bytes)
        self._kept: dict[tuple[int, ...], Floats] = {}

    def sums(self, axes: Sequence[int], min_size: float) -> tuple[Codes, Floats] | None:
        """Codes (S, d) and sums (width, K, S) of the cells with ``min_size`` contexts; None where there are too many."""
        if not all(axis in self._digits for axis in axes):
            return None
        cells = self._cells(axes)
        if cells > self._room and (cells > self._room_alone or cells * LARGE * min_size > self._rows):
            return None
        found = self._sum(tuple(axes))
        # Without the cells in which an axis has no code.
        shape = [self._digits[axis].size for axis in axes]
        found = found.reshape(*found.shape[:2], *shape)
        found = found[:, :, *(slice(int(self._digits[axis].hole), None) for axis in axes)]
        shape = list(found.shape[2:])
        found = found.reshape(*found.shape[:2], -1)
        if not axes:
            return np.zeros((1, 0), np.int32), found  # everybody is there, even where nobody is
        alive = np.flatnonzero(found[0].sum(axis=0) >= min_size)
        if len(alive) < found.shape[2]:
            found = found[:, :, alive]
        return np.stack(np.unravel_index(alive, shape), axis=1).astype(np.int32), found

    def _cells(self, axes: Sequence[int]) -> int:
        return math.prod(self._digits[axis].size for axis in axes)

    def _sum(self, axes: tuple[int, ...]) -> Floats:
        """(width, K, cells) of a set; in the same pass those of all small sets of as many axes."""
        if axes in self._kept:
            return self._kept[axes]
        sets = [axes]
        # All sets of one or two axes are asked for; of deeper ones those with large parents.
        if len(axes) in (1, 2):
            sets += [other for other in itertools.combinations(sorted(self._digits), len(axes)) if other != axes]
        kept = self._fitting([other for other in sets if other not in self._kept])
        sets = [other for other in sets if other == axes or other in kept]
        groupings = [(cells_of([self._digits[a] for a in other]), self._cells(other)) for other in sets]
        found = self._products.by_frame(groupings)
        for other, sums in zip(sets, found, strict=True):
            if other in kept:
                sums.flags.writeable = False  # answers may be views of it
                self._kept[other] = sums
        return found[0]

    def _fitting(self, sets: Sequence[tuple[int, ...]]) -> set[tuple[int, ...]]:
        """Those that are small and have space beside what is kept, in turn."""
        space = CELLS_BYTES - sum(sums.nbytes for sums in self._kept.values())
        fitting = set()
        for axes in sets:
            cells = self._cells(axes)
            if cells <= self._room and cells * self._cell_bytes <= space:
                space -= cells * self._cell_bytes
                fitting.add(axes)
        return fitting
