"""Cells of some axes: every combination of their codes has a number, and every row lies in one cell or in none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats
from mona_server.query.rows import BLOCK_ROWS, Codes
from mona_server.threads import in_threads

SPARE_CELLS = 1_000_000
"""So many more cells than rows are still counted in an array."""


@dataclass(frozen=True, slots=True)
class Digit:
    """One axis in the number of a cell."""

    codes: Codes
    """(n,): the segment of each row; -1 = in none."""
    width: int
    """Codes are less than this."""
    hole: bool
    """Some rows are in no segment: they have the digit 0, the others one more than their code."""

    @classmethod
    def of(cls, codes: Codes) -> Digit:
        """No wider than the codes that are there: an axis without missing values has no cells for them."""
        return cls(codes, int(codes.max(initial=0)) + 1, int(codes.min(initial=0)) < 0)

    @property
    def size(self) -> int:
        """Values of the digit."""
        return self.width + self.hole


def cells_of(digits: Sequence[Digit]) -> Callable[[int, int], Codes]:
    """(low, high) → the cells of these rows; the last digit varies fastest."""

    def cells(low: int, high: int) -> Codes:
        cell = np.zeros(high - low, np.int32)
        for digit in digits:
            cell *= digit.size
            cell += digit.codes[low:high]
            if digit.hole:
                cell += 1
        return cell

    return cells


def supported(
    digits: Sequence[Digit], rows: int, sign: Floats | None, min_size: float, threads: int
) -> tuple[Codes, Codes]:
    """The group of each row (S = none) and the codes (S, d) of the S cells that hold ``min_size`` contexts.

    Digits are put together axis by axis; before the cells would outnumber the rows, what is too small already is
    dropped and the rest numbered anew (a part of a too small segment is too small). So memory follows the rows, not
    the product of the widths.
    """
    group: Codes = np.zeros(rows, np.int32)
    kept: Codes = np.zeros((1, 0), np.int32)
    chosen: list[Digit] = []
    for digit in digits:
        if chosen and len(kept) * math.prod(d.width for d in (*chosen, digit)) > rows + SPARE_CELLS:
            group, kept = _split(chosen, group, kept, sign, min_size, threads)
            chosen = []
        chosen.append(digit)
    # Everybody is a segment even where nobody is.
    return _split(chosen, group, kept, sign, min_size, threads) if chosen else (group, kept)


def _split(
    digits: Sequence[Digit], group: Codes, kept: Codes, sign: Floats | None, min_size: float, threads: int
) -> tuple[Codes, Codes]:
    """The parts of some groups (their codes are ``kept``) by further digits, without those that are too small."""
    widths = [digit.width for digit in digits]
    cells, none = len(kept) * math.prod(widths), len(kept)
    cell: NDArray[Any] = group if cells < 2**31 else group.astype(np.int64)

    def number(rows: slice) -> None:
        mine = cell[rows]
        out = mine == none
        for digit in digits:
            code = digit.codes[rows]
            mine *= digit.width
            mine += code
            if digit.hole:
                out |= code < 0
        mine[out] = cells

    _blocks(number, len(cell), threads)
    if cells <= 4 * (len(cell) + SPARE_CELLS):
        alive = np.flatnonzero(_count(cell, cells, sign, threads) >= min_size)
        place = np.full(cells + 1, len(alive), np.int32)
        place[alive] = np.arange(len(alive), dtype=np.int32)

        def renumber(rows: slice) -> None:
            group[rows] = place[cell[rows]]

        _blocks(renumber, len(cell), threads)
    else:
        there, inverse = np.unique(cell, return_inverse=True)
        sizes = np.bincount(inverse, sign, len(there))
        chosen = np.flatnonzero((sizes >= min_size) & (there < cells))
        alive = there[chosen]
        place = np.full(len(there), len(alive), np.int32)
        place[chosen] = np.arange(len(alive), dtype=np.int32)
        group[:] = place[inverse]
    parent, *own = np.unravel_index(alive, (none, *widths))
    new = np.array(own, np.int32).reshape(len(widths), len(alive)).T
    return group, np.ascontiguousarray(np.concatenate([kept[parent], new], axis=1))


def _count(cell: NDArray[Any], cells: int, sign: Floats | None, threads: int) -> NDArray[np.float64]:
    """(cells,): contexts of each cell; sums of signs are whole numbers, so the order of adding does not matter."""
    parts = max(1, min(threads, len(cell) // max(cells, 1)))
    step = max(BLOCK_ROWS, cells)
    sizes = np.zeros((parts, cells))

    def count(part: int) -> None:
        for low in range(step * part, len(cell), step * parts):
            rows = slice(low, low + step)
            sizes[part] += np.bincount(cell[rows], None if sign is None else sign[rows], cells + 1)[:cells]

    in_threads(count, range(parts), threads)
    return np.asarray(sizes.sum(axis=0))


def _blocks(work: Callable[[slice], object], rows: int, threads: int) -> None:
    starts = range(0, rows, BLOCK_ROWS)
    in_threads(lambda start: work(slice(start, start + BLOCK_ROWS)), starts, threads)
