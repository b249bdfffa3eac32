"""The rows of one question, as the search needs them: codes, deviations, signs, ordered by frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import AxisRequest, Effects, Floats, SourceQuestion, centre
from mona_server.query.axes import AxisPlan, SegmentationOf, code_sql, codes_sql, plan_axis
from mona_server.query.conditions import Binder, fields_of, row_filter, segment_sql
from mona_server.query.errors import QueryTooLarge
from mona_server.query.facts import Facts
from mona_server.query.frames import frame_sql
from mona_server.query.guesses import Guess, guess_axis
from mona_server.segment import Equals, Segment
from mona_server.threads import ahead, in_threads

Indexes = NDArray[np.int64]
Codes = NDArray[np.signedinteger[Any]]
"""Small integers, in the smallest type that serves: the search is bound by memory traffic."""
PART_BYTES = 32 * 2**20
"""The engine hands over about so much at a time, so that its copy of the rows stays small."""
QUERIES = 2
"""Queries at a time: one is executed while another is planned or handed over, which a single thread does."""
GUESS_ROWS = 2**16
"""The values of texts are guessed from about so many rows, or from one file in fifty where those have more."""
SUMS_BYTES = 400 * 2**20
"""What sums take beside the rows, of the sets of axes of one pass."""
BLOCK_ROWS = 2**16
"""Rows are worked on in blocks that stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Elements:
    """An array axis: item i is a code of row ``rows[i]`` (ascending); a row holds a code once."""

    rows: Indexes
    codes: Codes


@dataclass(frozen=True)
class Rows:
    """n fact rows, ordered by frame (within a frame as they lie in the files)."""

    plans: tuple[AxisPlan, ...]
    codes: tuple[Codes | Elements, ...]
    """(n,) per axis; -1 = in no segment of the axis."""
    sign: Floats | None
    """(n,); None when no row is a correction."""
    deviations: tuple[Floats, ...]
    """(n,) per metric: x - offset, 0 where there is no value."""
    present: tuple[NDArray[np.bool_] | None, ...]
    """(n,) per metric; None when every row has a value."""
    offsets: Floats
    frame_starts: Indexes
    """(K+1,): rows ``starts[k]`` to ``starts[k+1]`` are frame k."""
    order: Indexes | None = field(repr=False)
    """Row here → place in the answer of the engine; None: the same order."""
    cuts: Mapping[int, Effects] = field(default_factory=dict)
    """Of residuals where they are cut off: they stand uncut among the deviations, see :meth:`values`."""

    def values(self, metric: int, low: int, high: int) -> Floats:
        """Deviations of rows ``low`` to ``high``; residuals are cut off."""
        deviations, cut = self.deviations[metric][low:high], self.cuts.get(metric)
        if cut is None or (cut.limit == np.inf and cut.centre is None):
            return deviations
        centre: Floats | float = 0.0
        if cut.centre is not None:
            ends = np.clip(self.frame_starts, low, high)
            rows = ends[1:] - ends[:-1]
            centre = np.repeat(cut.centre, rows) if (rows > 0).sum() > 1 else float(cut.centre[np.argmax(rows)])
        values = np.clip(deviations, centre - cut.limit, centre + cut.limit)
        there = self.present[metric]
        if there is not None:
            values *= there[low:high]
        return values

    def some(self, kept: Indexes) -> Rows:
        """These rows (ascending) alone."""

        def among(codes: Codes | Elements) -> Codes | Elements:
            if not isinstance(codes, Elements):
                return codes[kept]
            place = np.full(int(self.frame_starts[-1]), -1, np.int64)
            place[kept] = np.arange(len(kept))
            rows = place[codes.rows]
            return Elements(rows[rows >= 0], codes.codes[rows >= 0])

        # A metric and its residuals share the array of what is present.
        there = {id(present): present[kept] for present in self.present if present is not None}
        return replace(
            self,
            codes=tuple(among(codes) for codes in self.codes),
            sign=None if self.sign is None else self.sign[kept],
            deviations=tuple(deviation[kept] for deviation in self.deviations),
            present=tuple(None if present is None else there[id(present)] for present in self.present),
            frame_starts=np.searchsorted(kept, self.frame_starts),
            order=kept if self.order is None else self.order[kept],
        )

    def ask(
        self, facts: Facts, question: SourceQuestion, sql: str, segments: Iterable[Segment], bind: Binder
    ) -> Indexes:
        """(n,): a BIGINT expression over the fields of ``segments``, for the same rows in the same order."""
        relation, where = filtered(facts, question, fields_of(*segments), bind)
        column = facts.arrays(f"SELECT CAST({sql} AS BIGINT) AS b FROM {relation} WHERE {where}", bind.values)["b"]
        return np.asarray(column if self.order is None else column[self.order], np.int64)


def relation_of(facts: Facts, question: SourceQuestion, fields: Iterable[str], from_ms: int, to_ms: int) -> str:
    """The rows of the question's time axis in a range, with these fields and those that its filters need."""
    filters = fields_of(question.within, *question.excluded, *(s for _, _, s in question.frame_filters))
    names = sorted({*fields, *filters})
    return facts.relation(names, axis=question.timestamp_field, from_ms=from_ms, to_ms=to_ms, frames=question.edges_ms)


def frame_filter_sql(facts: Facts, question: SourceQuestion, bind: Binder) -> str:
    """Rows that the filters of their frame let through."""
    parts = [
        f"(MONA_AXIS < {question.edges_ms[first]} OR MONA_AXIS >= {question.edges_ms[last]} "
        f"OR {segment_sql(facts, segment, bind)})"
        for first, last, segment in question.frame_filters
        if segment
    ]
    return " AND ".join(parts) or "TRUE"


def filtered(facts: Facts, question: SourceQuestion, fields: Iterable[str], bind: Binder) -> tuple[str, str]:
    """The relation of a question and the predicate of its row filters."""
    relation = relation_of(facts, question, fields, question.edges_ms[0], question.edges_ms[-1])
    where = row_filter(facts, (question.within,), question.excluded, bind)
    return relation, f"{where} AND {frame_filter_sql(facts, question, bind)}"


def load_rows(facts: Facts, question: SourceQuestion, segmentation_of: SegmentationOf) -> Rows:
    """Read, code and order the rows of a question."""
    bind = Binder()

    def rows_sql(fields: Sequence[str]) -> str:
        return _rows_sql(facts, question, fields, bind)

    count, least_sign = facts.rows(f"SELECT count(*), min(MONA_SIGN) FROM {rows_sql([])}", bind.values)[0]
    _check_memory(facts, question, count)
    edges = question.edges_ms
    window = replace(facts, files=facts.files_between(question.timestamp_field, edges[0], edges[-1]))
    # Whole files all over the window, the newest one among them: more of them where few rows pass the filters.
    a_part = replace(window, files=window.files[:: -max(1, min(count // GUESS_ROWS, 50))])

    def some_rows(fields: Sequence[str]) -> str:
        return _rows_sql(a_part, question, fields, bind)

    def plan_of(request: AxisRequest) -> AxisPlan:
        return plan_axis(facts, request, segmentation_of, rows_sql, bind.values)

    def look_at(request: AxisRequest) -> AxisPlan | Guess:
        return guess_axis(facts, request, segmentation_of, some_rows, bind.values) or plan_of(request)

    looks = list(ahead(look_at, question.axes, QUERIES))
    plans = [look.raw if isinstance(look, Guess) else look for look in looks]
    fields = [plan.axis.field for plan in plans]
    listed = [facts.column(name).lists for name in fields]
    # Only small numbers leave the engine: handing them over costs more than finding them.
    frame_type = "SMALLINT" if len(edges) < 2**15 else "INTEGER"
    items = {"k": f"CAST({frame_sql(edges)} AS {frame_type})"}
    if least_sign is not None and least_sign < 0:
        items["sign"] = "MONA_SIGN"
    items |= {f"a{i}": code_sql(facts, plan) for i, plan in enumerate(plans) if not listed[i]}
    items |= {f"m{m}": _metric_sql(facts, metric, bind) for m, metric in enumerate(question.metrics)}
    columns = _columns(window, question, items, [*fields, *question.metrics], bind, count)
    sign = columns.pop("sign").astype(np.float64) if "sign" in columns else None
    again = {}
    for i, look in enumerate(looks):
        if isinstance(look, Guess):
            plans[i], found = look.settled(facts, columns.pop(f"a{i}"), sign, plan_of)
            if found is None:
                again[f"a{i}"] = code_sql(facts, plans[i])
            else:
                columns[f"a{i}"] = found
    if again:
        columns |= _columns(window, question, again, fields, bind, count)
    frame = columns.pop("k")
    order = None if np.all(frame[1:] >= frame[:-1]) else np.argsort(frame, kind="stable")
    starts = np.searchsorted(frame if order is None else frame[order], np.arange(len(edges)))

    def column(name: str) -> NDArray[Any]:
        return columns.pop(name) if order is None else columns.pop(name)[order]

    if sign is not None and order is not None:
        sign = sign[order]
    codes: list[Codes | Elements] = []
    for i, plan in enumerate(plans):
        if listed[i]:
            codes.append(_elements(facts, plan, rows_sql([plan.axis.field]), bind, order))
        else:
            codes.append(column(f"a{i}"))
    deviations, present, offsets = [], [], []
    for m in range(len(question.metrics)):
        values = column(f"m{m}")
        there, offset = _centre(values, sign, facts.engine.threads)
        deviations.append(values)
        present.append(there)
        offsets.append(offset)
    return Rows(
        tuple(plans),
        tuple(codes),
        sign,
        tuple(deviations),
        tuple(present),
        np.asarray(offsets, np.float64),
        starts.astype(np.int64),
        order,
    )


def _columns(
    window: Facts,
    question: SourceQuestion,
    items: Mapping[str, str],
    fields: Sequence[str],
    bind: Binder,
    count: int,
) -> dict[str, NDArray[Any]]:
    """(count,) of each SQL expression of ``items``, none of which is ever NULL, as the rows lie in the files."""
    wanted = ", ".join(f"{sql} AS {name}" for name, sql in items.items())
    part_rows = PART_BYTES // (2 * len(items) + 6 * len(question.metrics))
    columns: dict[str, NDArray[Any]] = {}
    done = 0

    def read(part: Facts) -> dict[str, Any]:
        return part.arrays(f"SELECT {wanted} FROM {_rows_sql(part, question, fields, bind)}", bind.values)

    for found in ahead(read, window.parts(part_rows), QUERIES):
        for name, values in found.items():
            if name not in columns:
                columns[name] = np.empty(count, values.dtype)
            columns[name][done : done + len(values)] = values
        done += len(values)
    assert done == count
    return columns


def _rows_sql(facts: Facts, question: SourceQuestion, fields: Iterable[str], bind: Binder) -> str:
    relation, where = filtered(facts, question, fields, bind)
    return f"(SELECT * FROM {relation} WHERE {where})"


def _metric_sql(facts: Facts, metric: str, bind: Binder) -> str:
    """The number of a metric, NaN where it has none; of other types only the presence counts, as 0."""
    column = facts.column(metric)
    if column.numeric_like or column.kind == "timestamp":
        return f"coalesce(CAST({column.sql} AS DOUBLE), CAST('nan' AS DOUBLE))"
    missing = segment_sql(facts, Segment.of({metric: Equals(None)}), bind)
    return f"CASE WHEN {missing} THEN CAST('nan' AS DOUBLE) ELSE CAST(0 AS DOUBLE) END"


def _centre(values: Floats, sign: Floats | None, threads: int) -> tuple[NDArray[np.bool_] | None, float]:
    """Turn values (NaN = none) into deviations, in place; returns which rows have a value (None: all), and the offset.

    Block by block, in the processor's cache; sums of blocks are added in their order, so the bits are always the same.
    """
    there = np.empty(len(values), bool)
    starts = range(0, len(values), BLOCK_ROWS)
    counts, totals, squares = np.zeros((3, len(starts)))

    def add_up(i: int) -> None:
        rows = slice(starts[i], starts[i] + BLOCK_ROWS)
        block, some = values[rows], there[rows]
        np.isnan(block, out=some)
        block[some] = 0.0
        np.logical_not(some, out=some)
        with np.errstate(over="ignore", invalid="ignore"):
            counts[i] = some.sum() if sign is None else sign[rows] @ some
            totals[i] = block.sum() if sign is None else sign[rows] @ block

    def spread(i: int) -> None:
        rows = slice(starts[i], starts[i] + BLOCK_ROWS)
        with np.errstate(over="ignore", invalid="ignore"):
            square = (values[rows] - mean) ** 2
            square *= there[rows]
            squares[i] = square.sum() if sign is None else sign[rows] @ square

    def move(i: int) -> None:
        rows = slice(starts[i], starts[i] + BLOCK_ROWS)
        values[rows] -= offset
        values[rows] *= there[rows]

    in_threads(add_up, range(len(starts)), threads)
    count, offset = counts.sum(), 0.0
    if count > 0:
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(totals.sum() / count)
            in_threads(spread, range(len(starts)), threads)
            square = float(squares.sum() / count)
        offset = centre(mean, math.sqrt(max(square, 0.0)) if math.isfinite(square) else square)
    in_threads(move, range(len(starts)), threads)
    return None if there.all() else there, offset


def _check_memory(facts: Facts, question: SourceQuestion, rows: int) -> None:
    """Raises :class:`QueryTooLarge` before a window is loaded that cannot fit."""
    # Codes and deviations, some of them twice for a moment, and the sums of some segments.
    needed = rows * (24 + 2 * len(question.axes) + 12 * len(question.metrics)) + SUMS_BYTES
    if needed > facts.engine.memory_bytes:
        raise QueryTooLarge(
            f"the window holds {rows:,} rows, which need about {needed / 2**30:.1f} GiB of memory",
            hint="raise engine.memory, or use fewer axes, metrics or days",
        )


def _elements(facts: Facts, plan: AxisPlan, rows: str, bind: Binder, order: Indexes | None) -> Elements:
    """The codes of an array axis: those of each distinct element, or of the scalar, or MISSING."""
    column = facts.column(plan.axis.field)
    # The window function without an order numbers the rows as they come, like the main scan.
    numbered = f"SELECT row_number() OVER () - 1 AS i, {column.sql}, {column.list_sql} FROM {rows}"
    found = facts.arrays(f"SELECT i, unnest({codes_sql(facts, plan)}) AS a FROM ({numbered})", bind.values)
    kept = np.flatnonzero(found["a"] >= 0)
    place, codes = np.asarray(found["i"], np.int64)[kept], np.asarray(found["a"])[kept]
    if order is not None:
        turned = np.empty(len(order), np.int64)
        turned[order] = np.arange(len(order))
        place = turned[place]
    by_row = np.lexsort((codes, place))
    return Elements(place[by_row], codes[by_row])
