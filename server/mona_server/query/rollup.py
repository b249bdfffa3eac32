"""Sums of sets of axes that are much smaller than their rows: one pass over the rows answers for many of them.

The cells of (country, device, plan) in each frame, few as they are, add up to those of (country, device), (plan) ...
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
"""Cells from which others are summed are fewer than the rows of a frame by this factor ..."""
ALONE = 2
"""... and those that are summed for one set alone by this one;"""
LARGE = 8
"""they have on average this multiple of the smallest size that counts, so that most of them are wanted."""
CELLS_BYTES = 192 * 2**20
"""Sums of cells take no more than this: those that are kept together, and those of one set alone."""


class RollUp:
    """Sums of all cells of some axes.

    From which axes a set is summed depends on the rows alone, never on what was asked before: the bits are the same.
    """

    def __init__(self, digits: Mapping[int, Digit], rows: int, products: Products) -> None:
        self._digits, self._rows, self._products = digits, rows, products
        self._narrow_first = sorted(digits, key=lambda axis: (digits[axis].size, axis))
        frames = max(products.frames, 1)
        self._cell_bytes = 8 * products.width * frames
        self._room = min(rows / frames / FEW, CELLS_BYTES / 4 / self._cell_bytes)
        self._room_alone = max(1, min(rows / frames / ALONE, CELLS_BYTES / self._cell_bytes))
        self._kept: dict[tuple[int, ...], Floats] = {}

    def sums(self, axes: Sequence[int], min_size: float) -> tuple[Codes, Floats] | None:
        """Codes (S, d) and sums (width, K, S) of the cells with ``min_size`` contexts; None where there are too many."""
        wider = self._wider(axes)
        if wider is None or (self._cells(wider) > self._room and self._cells(wider) * LARGE * min_size > self._rows):
            return None
        found = self._sum(wider, len(axes))
        away = tuple(2 + place for place, axis in enumerate(wider) if axis not in axes)
        found = found.sum(axis=away) if away else found
        # The axes as they were asked for, without the cells in which one has no code.
        found = found.transpose(0, 1, *(2 + sorted(axes).index(axis) for axis in axes))
        found = found[:, :, *(slice(int(self._digits[axis].hole), None) for axis in axes)]
        shape = found.shape[2:]
        found = found.reshape(*found.shape[:2], -1)
        if not axes:
            return np.zeros((1, 0), np.int32), found  # everybody is there, even where nobody is
        alive = np.flatnonzero(found[0].sum(axis=0) >= min_size)
        if len(alive) < found.shape[2]:
            found = found[:, :, alive]
        return np.stack(np.unravel_index(alive, shape), axis=1).astype(np.int32), found

    def _cells(self, axes: Sequence[int]) -> int:
        return math.prod(self._digits[axis].size for axis in axes)

    def _wider(self, axes: Sequence[int]) -> tuple[int, ...] | None:
        """These axes and further ones, narrow ones first, while there is room; None when these have too many cells."""
        if not all(axis in self._digits for axis in axes) or self._cells(axes) > self._room_alone:
            return None
        wider, cells = set(axes), self._cells(axes)
        for axis in self._narrow_first:
            if axis not in wider:
                cells *= self._digits[axis].size
                if cells > self._room:
                    break
                wider.add(axis)
        return tuple(sorted(wider))

    def _sum(self, wider: tuple[int, ...], depth: int) -> Floats:
        """(width, K, values of each digit) of some axes; in the same pass what other sets of ``depth`` axes need."""
        if wider in self._kept:
            return self._kept[wider]
        sets = [wider]
        # All sets of one or two axes are asked for; of deeper ones those with large parents.
        if depth <= 2:
            others = {self._wider(axes) for axes in itertools.combinations(sorted(self._digits), max(depth, 1))}
            sets += sorted(axes for axes in others if axes and axes != wider and axes not in self._kept)
        kept = self._fitting(sets)
        sets = [axes for axes in sets if axes == wider or axes in kept]
        groupings = [(cells_of([self._digits[axis] for axis in axes]), self._cells(axes)) for axes in sets]
        shapes = [[self._digits[axis].size for axis in axes] for axes in sets]
        found = [
            sums.reshape(*sums.shape[:2], *shape)
            for sums, shape in zip(self._products.by_frame(groupings), shapes, strict=True)
        ]
        for axes, sums in zip(sets, found, strict=True):
            if axes in kept:
                sums.flags.writeable = False  # answers may be views of it
                self._kept[axes] = sums
        return found[0]

    def _fitting(self, sets: Sequence[tuple[int, ...]]) -> set[tuple[int, ...]]:
        """Those that are small and have space beside what is kept, in turn."""
        space = CELLS_BYTES - sum(cells.nbytes for cells in self._kept.values())
        fitting = set()
        for axes in sets:
            cells = self._cells(axes)
            if cells <= self._room and cells * self._cell_bytes <= space:
                space -= cells * self._cell_bytes
                fitting.add(axes)
        return fitting
