"""Sums of sets of axes, as many sets in one pass over the rows as there is room for.

To make the columns of the product costs more than to add them up, so sets share them. A set with few cells is summed
over all of them; of any other one the cells that are too small are dropped first (:mod:`cells`). Every cell is added up
in the order of its rows, whichever sets share the pass, so the bits are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mona_server.detect.source import Floats
from mona_server.query.cells import Digit, cells_of, supported
from mona_server.query.products import GroupsOf, Products, Sums
from mona_server.query.rows import Codes

FEW = 8
"""A set is summed over all cells where a frame has more rows than it has cells by this factor ..."""
ALONE = 2
"""... or by this one,"""
LARGE = 8
"""if its cells have on average this multiple of the smallest size that counts, so that most of them are wanted."""
CELLS_BYTES = 192 * 2**20
"""Sums of all cells of a set take no more than this."""
PASS_BYTES = 384 * 2**20
"""Sums of the sets of one pass, and the groups of their rows, take no more than this, but for a set that does alone."""


@dataclass(frozen=True, slots=True)
class _Set:
    """One set of axes, ready to be summed."""

    axes: tuple[int, ...]
    group_of: GroupsOf
    groups: int
    kept: Codes | None
    """(groups, d): the codes of the groups; None: groups are all cells."""
    bytes: int


class Passes:
    """Sums of any sets of axes (none of them over an array field) over the rows of one question."""

    def __init__(self, digits: Mapping[int, Digit], sign: Floats | None, rows: int, products: Products) -> None:
        self._digits, self._sign, self._rows, self._products = digits, sign, rows, products
        frames, self._cell_bytes = max(products.frames, 1), products.group_bytes
        most = CELLS_BYTES / self._cell_bytes
        self._few, self._alone = max(1, min(rows / frames / FEW, most)), min(rows / frames / ALONE, most)

    def sums(
        self, sets: Sequence[tuple[int, ...]], min_size: float, spans: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[tuple[Codes, Sums]]:
        """Of each set the codes (S, d) of the segments with ``min_size`` contexts, ascending, and their sums.

        With ``spans`` contexts and sums are those of spans of frames a..b-1 instead of frames.
        """
        waiting: list[_Set] = []
        for axes in sets:
            chosen = self._ready(axes, min_size)
            if waiting and chosen.bytes + sum(one.bytes for one in waiting) > PASS_BYTES:
                yield from self._pass(waiting, min_size, spans)
                waiting = []
            waiting.append(chosen)
        yield from self._pass(waiting, min_size, spans)

    def _ready(self, axes: tuple[int, ...], min_size: float) -> _Set:
        digits = [self._digits[axis] for axis in axes]
        cells = math.prod(digit.size for digit in digits)
        if cells <= self._few or (cells <= self._alone and cells * LARGE * min_size <= self._rows):
            return _Set(axes, cells_of(digits), cells, None, cells * self._cell_bytes)
        group, kept = supported(digits, self._rows, self._sign, min_size, self._products.threads)
        size = len(kept) * self._cell_bytes + group.nbytes
        return _Set(axes, lambda low, high: group[low:high], len(kept), kept, size)

    def _pass(
        self, sets: Sequence[_Set], min_size: float, spans: Sequence[tuple[int, int]] | None
    ) -> Iterator[tuple[Codes, Sums]]:
        groupings = [(one.group_of, one.groups) for one in sets]
        found: list[Sums] = []
        if spans is None:
            found += self._products.by_frame(groupings)[::-1]
        else:
            found += [(sums,) for sums in self._products.by_span(groupings, spans)][::-1]
        for one in sets:
            sums = found.pop()  # what was handed out is not held
            yield self._alive(one.axes, sums, min_size) if one.kept is None else (one.kept, sums)

    def _alive(self, axes: tuple[int, ...], sums: Sums, min_size: float) -> tuple[Codes, Sums]:
        """The cells that are large enough, without those in which an axis has no code."""
        if not axes:
            return np.zeros((1, 0), np.int32), sums  # everybody is there, even where nobody is
        digits = [self._digits[axis] for axis in axes]
        sizes = sums[0][0].sum(axis=0).reshape([digit.size for digit in digits])
        alive = np.nonzero(sizes >= min_size)
        codes = np.stack([place - digit.hole for place, digit in zip(alive, digits, strict=True)], axis=1)
        known = (codes >= 0).all(axis=1)
        cells = np.ravel_multi_index(alive, sizes.shape)[known]
        if len(cells) < sizes.size:
            sums = tuple(part[:, :, cells] for part in sums)
        return codes[known].astype(np.int32), sums
