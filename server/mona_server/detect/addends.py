"""What each row of a table adds to the sums, kept row by row, so that one pass over the rows adds all of it.

A sum per cell is a product with a sparse matrix that holds a single one per row. It adds in row order, as a loop would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Addends:
    """What rows add to the sums of n metrics."""

    matrix: Floats
    """(rows, 2n + gappy): deviations, their squares, then a 1 where there is a value of each metric in ``gappy``."""
    gappy: tuple[int, ...]
    """The metrics that some rows have no value of."""

    @classmethod
    def of(cls, deviations: Sequence[Floats], present: Sequence[Mask | None]) -> Addends:
        """Each of shape (rows,): deviations, 0 where there is no value, and where there is one (None: everywhere)."""
        count = len(deviations)
        gappy = tuple(m for m, there in enumerate(present) if there is not None)
        matrix = np.empty((len(deviations[0]) if count else 0, 2 * count + len(gappy)))
        for m, deviation in enumerate(deviations):
            matrix[:, m] = deviation
        np.square(matrix[:, :count], out=matrix[:, count : 2 * count])
        for place, m in enumerate(gappy, 2 * count):
            matrix[:, place] = present[m]
        return cls(matrix, gappy)

    def __len__(self) -> int:
        """The number of metrics."""
        return int(self.matrix.shape[1] - len(self.gappy)) // 2

    def some(self, rows: NDArray[np.int64]) -> Addends:
        """What these rows add."""
        return Addends(self.matrix[rows], self.gappy) if len(self) else self

    def deviation(self, metric: int) -> Floats:
        """(rows,) of one metric."""
        return self.matrix[:, metric]

    def present(self, metric: int) -> Mask | None:
        """(rows,) where there is a value of a metric; None: everywhere."""
        if metric not in self.gappy:
            return None
        return np.asarray(self.matrix[:, 2 * len(self) + self.gappy.index(metric)], bool)

    def add(self, cells: Any, rows: NDArray[np.int64] | None, size: Floats, out: tuple[Floats, Floats, Floats]) -> None:
        """Write count, total and square of each metric, each (n, segments, frames), into ``out``.

        ``cells`` are those of the items (:func:`in_cells`), ``rows`` is the row of each item (None: items are rows), and
        ``size`` (segments, frames) the items of each cell. The first ``size.size`` cells are written.
        """
        metrics = len(self)
        matrix = self.matrix if rows is None else self.matrix[rows]
        added = np.asarray(cells @ matrix)[: size.size].T
        count, total, square = out
        total[...] = added[:metrics].reshape(total.shape)
        square[...] = added[metrics : 2 * metrics].reshape(total.shape)
        count[...] = size
        for place, m in enumerate(self.gappy, 2 * metrics):
            count[m] = added[place].reshape(size.shape)


def in_cells(cell: NDArray[np.int64], cells: int) -> Any:
    """(cells, items) sparse: a one where an item is in a cell."""
    from scipy.sparse import csc_array

    return csc_array((np.ones(len(cell)), cell, np.arange(len(cell) + 1)), shape=(cells, len(cell)))
