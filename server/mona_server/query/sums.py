"""What the search reads: sums per segment and frame, from signed facts (:class:`SumsSource` of ``detect``).

A source loads the rows of its window once (``rows.py``), as small integer codes and deviations from the offsets, ordered
by frame. Rows are numbered by segment (``cells.py``) and summed for several sets of axes in one pass (``passes.py``,
``products.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, repeat

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.atoms import Lookup
from mona_server.detect.source import (
    AtomSums,
    Axis,
    Effects,
    EverybodySums,
    Floats,
    GroupSums,
    NetValues,
    SourceQuestion,
    SumsSource,
    some_of,
)
from mona_server.errors import BadRequest
from mona_server.query.axes import SegmentationOf, no_segmentations
from mona_server.query.cells import Digit, supported
from mona_server.query.conditions import Binder, row_filter, segment_sql
from mona_server.query.facts import Facts
from mona_server.query.passes import Passes
from mona_server.query.products import Products, Sums
from mona_server.query.residuals import everybody, taken_off, with_residuals
from mona_server.query.rows import Codes, Elements, Rows, frame_filter_sql, load_rows, relation_of
from mona_server.segment import Equals, Segment

Indexes = NDArray[np.int64]


def open_source(facts: Facts, question: SourceQuestion, segmentation_of: SegmentationOf = no_segmentations) -> FactSums:
    """Load what a question needs. ``segmentation_of(field, name)`` are the segmentations of the configuration.

    Raises :class:`BadRequest` for unknown fields and segmentations, and the engine's errors.
    """
    return FactSums(facts, question, load_rows(facts, question, segmentation_of))


class FactSums(SumsSource):
    """Sums for one question over signed facts; the same snapshot always gives the same bits."""

    def __init__(
        self, facts: Facts, question: SourceQuestion, rows: Rows, stretches: Sequence[tuple[int, int]] = ()
    ) -> None:
        self._facts, self._question, self._rows = facts, question, rows
        self._products = Products(rows, facts.engine.threads, stretches)
        digits = {axis: Digit.of(codes) for axis, codes in enumerate(rows.codes) if not isinstance(codes, Elements)}
        self._passes = Passes(digits, rows.sign, self.rows, self._products)
        self._uncut: dict[int, tuple[Effects, Floats]] = {}

    @property
    def axes(self) -> tuple[Axis, ...]:
        return tuple(plan.axis for plan in self._rows.plans)

    @property
    def metrics(self) -> tuple[str, ...]:
        return self._question.metrics

    @property
    def offsets(self) -> Floats:
        return self._rows.offsets

    @property
    def edges_ms(self) -> Indexes:
        return np.asarray(self._question.edges_ms, np.int64)

    @property
    def threads(self) -> int:
        return self._products.threads

    @property
    def rows(self) -> int:
        """Fact rows in the window, corrections included."""
        return int(self._rows.frame_starts[-1])

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float = 1) -> Iterator[GroupSums]:
        """Of each set all segments over exactly these axes with at least ``min_size`` contexts in all frames together."""
        min_size = max(min_size, 1)
        for listed, some in groupby(map(tuple, sets), self._listed):
            chosen = list(some)
            if chosen == [()]:
                yield self._everybody()
                continue
            found = map(self._of_items, chosen, repeat(min_size)) if listed else self._passes.sums(chosen, min_size)
            for axes, (kept, sums) in zip(chosen, found, strict=True):
                yield GroupSums(axes, kept, **self._products.split(sums))

    def spans_of(self, sets: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]]) -> Iterator[GroupSums]:
        """Sums over spans of frames."""
        chosen = [tuple(axes) for axes in sets]
        if any(axes == () or self._listed(axes) for axes in chosen):
            yield from super().spans_of(sets, spans)
            return
        for axes, (kept, sums) in zip(chosen, self._passes.sums(chosen, 1, spans), strict=True):
            yield GroupSums(axes, kept, **self._products.split(sums))

    def _everybody(self) -> GroupSums:
        """All contexts, which need no look at codes."""
        sums = everybody(self._rows, range(self._products.metrics), self._products.threads)
        starts, sign = self._rows.frame_starts, self._rows.sign
        size = np.diff(starts) if sign is None else np.diff(np.append(0.0, np.cumsum(sign))[starts])
        parts = (size.astype(np.float64)[None], *(part[:, None] for part in (sums.count, sums.total, sums.square)))
        return GroupSums.of((), np.zeros((1, 0), np.int32), *parts)

    def _listed(self, axes: Sequence[int]) -> bool:
        """Is one of them an array field?"""
        return any(isinstance(self._rows.codes[axis], Elements) for axis in axes)

    def _of_items(self, axes: Sequence[int], min_size: float) -> tuple[Codes, Sums]:
        """Codes (S, d) and sums over axes of which one is an array field: items are its elements."""
        listed = [item for item in (self._rows.codes[axis] for axis in axes) if isinstance(item, Elements)]
        if len(listed) > 1:
            raise BadRequest("a segment may hold one array field only")
        origin, sign, threads = listed[0].rows, self._rows.sign, self._products.threads
        items = [
            item.codes if isinstance(item, Elements) else item[origin] for item in (self._rows.codes[a] for a in axes)
        ]
        digits = [Digit.of(codes) for codes in items]
        group, kept = supported(digits, len(origin), None if sign is None else sign[origin], min_size, threads)
        return kept, self._products.by_frame([(lambda low, high: group[low:high], len(kept))], origin)[0]

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        """One scan that tells how segments (of any fields of the class) overlap; ``spans`` add frames up."""
        atom, member = self._lookup.atoms(segments)
        asked = [(k, k + 1) for k in range(self._products.frames)] if spans is None else spans
        (found,) = self._products.by_span([(lambda low, high: atom[low:high], len(member))], asked)
        groups = GroupSums((), np.zeros((0, 0), np.int32), **self._products.split((found,)))
        return AtomSums(np.ascontiguousarray(member), groups.size, groups.count, groups.total, groups.square)

    def residual(self, effects: Mapping[int, Effects]) -> FactSums:
        """The same source with residuals as further metrics; see :class:`SumsSource`."""
        return FactSums(self._facts, self._question, with_residuals(self._rows, effects, self._taken_off(effects)))

    def coarser(self, stretches: Sequence[tuple[int, int]]) -> FactSums:
        """The same source, whose sums are told by frame where that is needed."""
        return FactSums(self._facts, self._question, self._rows, stretches)

    def everybody(self, effects: Mapping[int, Effects]) -> EverybodySums:
        """Sums of residuals alone; see :class:`SumsSource`."""
        first, rows = len(self._rows.deviations), with_residuals(self._rows, effects, self._taken_off(effects))
        return everybody(rows, range(first, first + len(effects)), self._products.threads)

    def _taken_off(self, effects: Mapping[int, Effects]) -> dict[int, Floats]:
        """Residuals before they are cut, kept for the next question: it often asks for another cut of the same."""
        known = {m: uncut for m, (asked, uncut) in self._uncut.items() if m in effects and asked.alike(effects[m])}
        new = {m: expected for m, expected in effects.items() if m not in known}
        known |= taken_off(self._rows, new, self._products.threads)
        self._uncut = {m: (expected, known[m]) for m, expected in effects.items()}
        return known

    def without_metrics(self) -> FactSums:
        """The same source, of which only sizes are asked."""
        rows = replace(self._rows, deviations=(), present=(), offsets=np.zeros(0), cuts={})
        return FactSums(self._facts, replace(self._question, metrics=()), rows)

    def sampled(self, most: int) -> FactSums:
        """Some of the rows; all where some are corrections: without what it corrects that would be no context."""
        kept = some_of(self.rows, most) if self._rows.sign is None else None
        return self if kept is None else FactSums(self._facts, self._question, self._rows.some(kept))

    def within(self, segment: Segment) -> FactSums:
        """The contexts inside of a segment alone."""
        return FactSums(self._facts, self._question, self._rows.some(self._lookup.inside(segment)))

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        """Exact values over frames first..last-1, ascending."""
        bind = Binder()
        question, edges = self._question, self._question.edges_ms
        column = self._facts.column(metric)
        number = column.numeric_like or column.kind == "timestamp"
        value = f"CAST({column.sql} AS DOUBLE)" if number else "CAST(0 AS DOUBLE)"
        has_value = f"NOT {segment_sql(self._facts, Segment.of({metric: Equals(None)}), bind)}"
        where = row_filter(self._facts, (question.within, segment), question.excluded, bind)
        frames = frame_filter_sql(self._facts, question, bind)
        relation = relation_of(self._facts, question, [metric, *segment.fields], edges[first_frame], edges[last_frame])
        found = self._facts.arrays(
            f'SELECT {value} AS x, CAST(sum("MONA_SIGN") AS BIGINT) AS n FROM {relation} '
            f'WHERE {has_value} AND {where} AND {frames} GROUP BY 1 HAVING sum("MONA_SIGN") <> 0 ORDER BY 1',
            bind.values,
        )
        return NetValues(np.asarray(found["x"], np.float64), np.asarray(found["n"], np.float64))

    @property
    def _lookup(self) -> Lookup:
        codes = [None if isinstance(codes, Elements) else codes for codes in self._rows.codes]
        return Lookup(self.axes, codes, self.rows, self._asked, self.threads)

    def _asked(self, segments: Sequence[tuple[int, Segment]]) -> Indexes:
        """(rows,): the bits of segments that codes do not tell, from one scan."""
        bind = Binder()
        bits = [
            f"CASE WHEN {segment_sql(self._facts, segment, bind)} THEN {1 << i} ELSE 0 END" for i, segment in segments
        ]
        return self._rows.ask(self._facts, self._question, " + ".join(bits), [segment for _, segment in segments], bind)
