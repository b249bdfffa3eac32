"""Sums over columns in memory: the :class:`SumsSource` of ``mona check``, notebooks and tests.

Rows are contexts. Everything is one dictionary code per row and axis, and one ``bincount`` per sum, in row
order, so the same table gives the same bits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.addends import Addends, in_cells
from mona_server.detect.atoms import Lookup
from mona_server.detect.source import (
    AtomSums,
    Axis,
    AxisRequest,
    Codes,
    Effects,
    Floats,
    GroupSums,
    NetValues,
    SourceQuestion,
    SumsSource,
    centre,
    some_of,
)
from mona_server.detect.table_columns import Coded, Column, Elements, Mask, first_met, matches, values_of
from mona_server.errors import BadRequest
from mona_server.segment import Condition, Equals, Range, Segment

Segmentations = Mapping[tuple[str, str | None], tuple[Condition, ...]]
"""(field, segmentation name or None for the default) → disjoint conditions; absent: each value on its own."""


class TableSource(SumsSource):
    """Sums for one question over one table.

    ``columns`` are the fields (each as long as ``time_ms``), ``time_ms`` the time of each row, Unix milliseconds.
    Raises :class:`BadRequest` where the question names a field that the table does not have.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        time_ms: NDArray[np.int64],
        question: SourceQuestion,
        segmentations: Segmentations | None = None,
    ) -> None:
        self._columns = columns
        self._masks: dict[tuple[str, Condition], Mask] = {}
        self._edges = np.asarray(question.edges_ms, np.int64)
        self._frames = len(self._edges) - 1
        self._rows = np.arange(len(time_ms))
        frame = np.searchsorted(self._edges, time_ms, side="right") - 1
        inside = (frame >= 0) & (frame < self._frames)
        if question.within:
            inside &= self._mask(question.within)
        for segment in question.excluded:
            inside &= ~self._mask(segment)
        for first, last, segment in question.frame_filters:
            inside &= (frame < first) | (frame >= last) | self._mask(segment)
        self._rows = np.flatnonzero(inside)
        self._masks.clear()
        self._frame = frame[self._rows].astype(np.int64)
        self._metrics = question.metrics
        values = [self._numbers(name)[self._rows] for name in question.metrics]
        present = [None if not np.isnan(v).any() else ~np.isnan(v) for v in values]
        self._offsets = np.array([_offset(v) for v in values])
        # Missing values weigh nothing: their deviation is 0, and their presence is counted apart.
        deviations = [np.nan_to_num(v - c) for v, c in zip(values, self._offsets, strict=True)]
        self._addends: tuple[Addends, ...] = (Addends.of(deviations, present),)
        made = [self._axis(request, segmentations or {}) for request in question.axes]
        self._axes = tuple(axis for axis, _ in made)
        self._codes = [codes for _, codes in made]
        self._gaps = [bool((_of_items(codes, None) < 0).any()) for codes in self._codes]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self._axes

    @property
    def metrics(self) -> tuple[str, ...]:
        return self._metrics

    @property
    def offsets(self) -> Floats:
        return self._offsets

    @property
    def edges_ms(self) -> NDArray[np.int64]:
        return self._edges

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float = 1) -> Iterator[GroupSums]:
        """Of each set all segments over exactly these axes with at least ``min_size`` contexts in all frames together."""
        return (self._sums(axes, min_size) for axes in sets)

    def spans_of(self, sets: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]]) -> Iterator[GroupSums]:
        """Sums over spans of frames."""
        place = np.full(self._frames, -1, np.int64)
        for number, (a, b) in enumerate(spans):
            place[a:b] = number
        if len(place[place >= 0]) < sum(b - a for a, b in spans):  # a frame in two spans counts in both
            return super().spans_of(sets, spans)
        within = place[self._frame]
        other = self if (within >= 0).all() else self._some(np.flatnonzero(within >= 0))
        coarse = copy.copy(other)
        coarse._frame, coarse._frames = place[other._frame], len(spans)
        return coarse.sums_of(sets)

    def _sums(self, axes: Sequence[int], min_size: float) -> GroupSums:
        listed = [c for c in (self._codes[axis] for axis in axes) if isinstance(c, Elements)]
        if len(listed) > 1:
            raise BadRequest("a segment may hold one array field only")
        rows = listed[0].rows if listed else None  # the context of each item; None: items are contexts
        key, cells, steps = self._keys(axes, rows)
        sizes = np.bincount(key, minlength=cells + 1)[:cells]
        kept = (
            np.flatnonzero(sizes >= max(min_size, 1)) if len(axes) else np.zeros(1, np.int64)
        )  # everybody, even nobody
        place = np.full(cells + 1, len(kept), np.int64)
        place[kept] = np.arange(len(kept))
        return GroupSums.of(tuple(axes), _codes_of(kept, steps), *self._add(place[key], len(kept), rows))

    def _keys(self, axes: Sequence[int], rows: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], int, list[_Step]]:
        """One number per item for its codes, how many there can be, and how the number was made.

        Items without a code on one of the axes have the number after the last.
        """
        length = len(self._rows) if rows is None else len(rows)
        key, cells, steps = np.zeros(length, np.int64), 1, []
        known: Mask | None = None
        for axis in axes:
            item, width = _of_items(self._codes[axis], rows), len(self._axes[axis].conditions)
            key *= width
            key += item
            cells *= width
            if self._gaps[axis]:
                known = item >= 0 if known is None else known & (item >= 0)
            seen = None
            if cells > 4 * length + 1_000_000:  # number what is there before the product outgrows memory
                seen, key = np.unique(key, return_inverse=True)
                cells = len(seen)
            steps.append((width, seen))
        if known is not None:
            key[~known] = cells
        return key, cells, steps

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        """One scan that tells how segments overlap."""
        codes = [None if isinstance(codes, Elements) else codes for codes in self._codes]
        number, member = Lookup(self._axes, codes, len(self._rows), self._asked).atoms(segments)
        atom = number.astype(np.int64)
        if spans is None:
            return AtomSums(member, *self._add(atom, len(member), None))
        columns = []
        for a, b in spans:
            inside = (self._frame >= a) & (self._frame < b)
            columns.append(self._add(np.where(inside, atom, len(member)), len(member), None, one_frame=True))
        size, count, total, square = (np.concatenate(parts, axis=-1) for parts in zip(*columns, strict=True))
        return AtomSums(member, size, count, total, square)

    def _asked(self, segments: Sequence[tuple[int, Segment]]) -> NDArray[np.int64]:
        """(rows of the question,): the bits of segments that codes do not tell."""
        word = np.zeros(len(self._rows), np.int64)
        for i, segment in segments:
            word |= self._mask(segment).astype(np.int64) << i
        return word

    def residual(self, effects: Mapping[int, Effects]) -> TableSource:
        """The same table with residuals as further metrics."""
        other, given = copy.copy(self), self._addends[0]
        residuals, presence = [], []
        for m, expected in effects.items():
            left = given.deviation(m) - expected.constant
            for codes, effect in zip(self._codes, expected.by_axis, strict=True):
                if not isinstance(codes, Elements):
                    left -= np.append(effect, 0.0)[codes]
            if expected.centre is None:
                np.clip(left, -expected.limit, expected.limit, out=left)
            else:
                centre = expected.centre[self._frame]
                np.clip(left, centre - expected.limit, centre + expected.limit, out=left)
            present = given.present(m)
            residuals.append(left if present is None else left * present)
            presence.append(present)
        other._addends = (given, Addends.of(residuals, presence))
        return other

    def without_metrics(self) -> TableSource:
        """The same table, of which only sizes are asked."""
        other = copy.copy(self)
        other._metrics, other._offsets, other._addends = (), np.zeros(0), ()
        return other

    def sampled(self, most: int) -> TableSource:
        """Some of the contexts, or all."""
        kept = some_of(len(self._rows), most)
        return self if kept is None else self._some(kept)

    def within(self, segment: Segment) -> TableSource:
        """The contexts inside of a segment alone."""
        return self._some(np.flatnonzero(self._mask(segment)))

    def _some(self, kept: NDArray[np.int64]) -> TableSource:
        """These contexts alone."""
        other = copy.copy(self)
        place = np.full(len(self._rows), -1, np.int64)
        place[kept] = np.arange(len(kept))
        other._rows, other._frame, other._masks = self._rows[kept], self._frame[kept], {}
        other._addends = tuple(addends.some(kept) for addends in self._addends)
        other._codes = [
            _among(codes, place, len(kept)) if isinstance(codes, Elements) else codes[kept] for codes in self._codes
        ]
        return other

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        """Exact values over frames first..last-1."""
        inside = (self._frame >= first_frame) & (self._frame < last_frame) & self._mask(segment)
        values = self._numbers(metric)[self._rows][inside]
        distinct, weights = np.unique(values[~np.isnan(values)], return_counts=True)
        return NetValues(distinct, weights.astype(np.float64))

    def _add(
        self, group: NDArray[np.int64], groups: int, rows: NDArray[np.int64] | None, *, one_frame: bool = False
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Size (S, K) and count, total, square (M, S, K); K = 1 for one frame.

        ``group`` is the segment of each item, ``groups`` that of items in none; ``rows`` the row of each item (None: items
        are rows).
        """
        frames = 1 if one_frame else self._frames
        shape, cells = (groups, frames), (groups + 1) * frames
        cell = group
        if not one_frame:
            cell = group * frames
            cell += self._frame if rows is None else self._frame[rows]
        size = np.bincount(cell, minlength=cells)[: groups * frames].astype(np.float64).reshape(shape)
        metrics = sum(map(len, self._addends))
        count, total, square = (np.empty((metrics, *shape)) for _ in range(3))
        first, chosen = 0, in_cells(cell, cells) if metrics else None
        for addends in self._addends:
            some = slice(first, first + len(addends))
            if len(addends):
                addends.add(chosen, rows, size, (count[some], total[some], square[some]))
            first = some.stop
        return size, count, total, square

    def _column(self, name: str) -> Column:
        try:
            return self._columns[name]
        except KeyError:
            raise BadRequest(f"the table has no column {name}", hint=f"it has {', '.join(self._columns)}") from None

    def _numbers(self, name: str) -> Floats:
        """A metric as floats: booleans are 0/1; of other texts only the presence counts."""
        column = self._column(name)
        if isinstance(column, Coded):
            truth = np.array([float(v) if isinstance(v, bool | int | float) else 0.0 for v in column.values] + [np.nan])
            return truth[column.codes]
        if isinstance(column, Elements):
            present = np.full(column.length, np.nan)
            present[column.rows] = 0.0
            return present
        return np.asarray(column, np.float64)

    def _axis(self, request: AxisRequest, segmentations: Segmentations) -> tuple[Axis, Codes | Elements]:
        column = self._column(request.field)
        given = segmentations.get((request.field, request.segmentation))
        if request.boundaries:
            edges = (None, *request.boundaries, None)
            given = (*(Range(low, high) for low, high in pairwise(edges)), Equals(None))
        conditions = values_of(column) if given is None else given
        conditions = tuple(
            c
            for c in conditions
            if not (isinstance(c, Equals) and c.value is not None and c.value in request.avoid_values)
        )
        ordered = any(isinstance(c, Range) for c in conditions)
        if isinstance(column, Elements):
            return self._elements(column, conditions, request.field)
        code = first_met(column, conditions)
        return Axis(request.field, conditions, ordered), code[self._rows]

    def _elements(self, column: Elements, conditions: tuple[Condition, ...], name: str) -> tuple[Axis, Elements]:
        place = np.full(column.length, -1, np.int64)
        place[self._rows] = np.arange(len(self._rows))
        rows = place[column.rows]
        empty = np.ones(column.length, bool)
        empty[column.rows] = False
        bare = place[np.flatnonzero(empty)]
        codes = first_met(Coded(column.codes, column.values), conditions)
        missing = first_met(Coded(np.full(1, -1, np.int32), ()), conditions)[0]
        rows = np.concatenate([rows, bare])
        codes = np.concatenate([codes, np.full(len(bare), missing, np.int32)])
        kept = (rows >= 0) & (codes >= 0)
        return (
            Axis(name, conditions, overlapping=True),
            Elements(rows[kept], codes[kept], column.values, len(self._rows)),
        )

    def _mask(self, segment: Segment) -> Mask:
        """(rows of the question,): is the row inside of the segment."""
        inside = np.ones(len(self._rows), bool)
        for name, options in segment.conditions:
            each = [self._met(name, condition) for condition in options]
            inside &= each[0] if len(each) == 1 else np.any(each, axis=0)
        return inside

    def _met(self, name: str, condition: Condition) -> Mask:
        """(rows of the question,): does the row meet the condition."""
        key = (name, condition)
        if key not in self._masks:
            self._masks[key] = matches(self._column(name), condition)[self._rows]
        return self._masks[key]


_Step = tuple[int, NDArray[np.int64] | None]
"""Number of codes of an axis, and the numbers so far that were numbered anew, if they were."""


def _codes_of(key: NDArray[np.int64], steps: Sequence[_Step]) -> Codes:
    """(S, d): the codes that numbers were made of."""
    codes = np.empty((len(key), len(steps)), np.int32)
    for i in range(len(steps) - 1, -1, -1):
        width, seen = steps[i]
        if seen is not None:
            key = seen[key]
        codes[:, i] = key % width
        key = key // width
    return codes


def _among(elements: Elements, place: NDArray[np.int64], length: int) -> Elements:
    """The elements of some rows; ``place`` (rows,) is where each goes, -1 where it is left out."""
    rows = place[elements.rows]
    return Elements(rows[rows >= 0], elements.codes[rows >= 0], elements.values, length)


def _of_items(codes: Codes | Elements, rows: NDArray[np.int64] | None) -> Codes:
    if isinstance(codes, Elements):
        return codes.codes
    return codes if rows is None else codes[rows]


def _offset(values: Floats) -> float:
    present = values[~np.isnan(values)]
    return centre(float(present.mean()), float(present.std())) if len(present) else 0.0
