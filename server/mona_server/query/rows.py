"""The rows of one question, as the search needs them: codes, deviations, signs, ordered by frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Effects, Floats, SourceQuestion, centre
from mona_server.query.axes import AxisPlan, SegmentationOf, code_sql, codes_sql, plan_axis
from mona_server.query.conditions import Binder, fields_of, row_filter, segment_sql
from mona_server.query.errors import QueryTooLarge
from mona_server.query.facts import Facts
from mona_server.query.frames import frame_sql
from mona_server.segment import Equals, Segment

Indexes = NDArray[np.int64]
Codes = NDArray[np.signedinteger[Any]]
"""Small integers, in the smallest type that serves: the search is bound by memory traffic."""
PART_ROWS = 1_000_000
"""The engine hands over about so many rows at a time, so that its copy of them stays small."""
KEPT_BYTES = 400 * 2**20
"""The columns of the product are kept between calls up to this size, else made anew for each frame and call."""


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

    def with_residuals(self, effects: Mapping[int, Effects]) -> Rows:
        """The same rows with residuals as further metrics, see :meth:`SumsSource.residual`."""
        deviations, present = list(self.deviations), list(self.present)
        for m, expected in effects.items():
            left = self.deviations[m] - expected.constant
            for codes, effect in zip(self.codes, expected.by_axis, strict=True):
                if not isinstance(codes, Elements):
                    left -= np.append(effect, 0.0)[codes]
            np.clip(left, -expected.limit, expected.limit, out=left)
            there = self.present[m]
            if there is not None:
                left[~there] = 0.0
            deviations.append(left)
            present.append(there)
        return replace(self, deviations=tuple(deviations), present=tuple(present))

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
    return facts.relation(names, axis=question.timestamp_field, from_ms=from_ms, to_ms=to_ms)


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
    plans = tuple(plan_axis(facts, request, segmentation_of, rows_sql, bind.values) for request in question.axes)
    listed = [facts.column(p.axis.field).lists for p in plans]
    # Only small numbers leave the engine: handing them over costs more than finding them.
    items = [
        f"CAST({frame_sql(question.edges_ms)} AS {'SMALLINT' if len(question.edges_ms) < 2**15 else 'INTEGER'}) AS k"
    ]
    if signed := least_sign is not None and least_sign < 0:
        items.append("MONA_SIGN AS sign")
    for i, plan in enumerate(plans):
        if not listed[i]:
            items.append(f"{code_sql(facts, plan)} AS a{i}")
    for m, metric in enumerate(question.metrics):
        items.append(f"{_metric_sql(facts, metric, bind)} AS m{m}")
    fields = [plan.axis.field for plan in plans] + list(question.metrics)
    window = replace(
        facts, files=facts.files_between(question.timestamp_field, question.edges_ms[0], question.edges_ms[-1])
    )
    parts = [
        part.arrays(f"SELECT {', '.join(items)} FROM {_rows_sql(part, question, fields, bind)}", bind.values)
        for part in window.parts(PART_ROWS)
    ]

    def column(name: str) -> NDArray[Any]:
        """One column of all parts; they let go of it, so that nothing is held twice for long."""
        return np.concatenate([part.pop(name) for part in parts]) if len(parts) > 1 else parts[0].pop(name)

    frame = column("k")
    order = None if np.all(frame[1:] >= frame[:-1]) else np.argsort(frame, kind="stable")
    ordered = frame if order is None else frame[order]
    starts = np.searchsorted(ordered, np.arange(len(question.edges_ms))).astype(np.int64)

    def take(values: NDArray[Any]) -> NDArray[Any]:
        return values if order is None else values[order]

    sign = take(column("sign")).astype(np.float64) if signed else None
    codes: list[Codes | Elements] = []
    for i, plan in enumerate(plans):
        if listed[i]:
            codes.append(_elements(facts, plan, rows_sql([plan.axis.field]), bind, order))
        else:
            codes.append(take(column(f"a{i}")))
    deviations, present, offsets = [], [], []
    for m in range(len(question.metrics)):
        values = np.array(take(column(f"m{m}")), np.float64)
        missing = np.isnan(values)
        there = ~missing if missing.any() else None
        if there is not None:
            values[missing] = 0.0
        offset = _centre(values, there, sign)
        values -= offset
        if there is not None:
            values[missing] = 0.0
        deviations.append(values)
        present.append(there)
        offsets.append(offset)
    return Rows(
        plans,
        tuple(codes),
        sign,
        tuple(deviations),
        tuple(present),
        np.asarray(offsets, np.float64),
        starts,
        order,
    )


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


def _centre(values: Floats, there: NDArray[np.bool_] | None, sign: Floats | None) -> float:
    """The offset of a metric from its mean and spread; values that are missing are 0 and not ``there``."""
    if there is not None:
        values, sign = values[there], None if sign is None else sign[there]
    count = len(values) if sign is None else sign.sum()
    if count <= 0:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float((values.sum() if sign is None else values @ sign) / count)
        square = (values - mean) ** 2
        spread = float((square.sum() if sign is None else square @ sign) / count)
    return centre(mean, math.sqrt(max(spread, 0.0)) if math.isfinite(spread) else spread)


def _check_memory(facts: Facts, question: SourceQuestion, rows: int) -> None:
    """Raises :class:`QueryTooLarge` before a window is loaded that cannot fit."""
    # Codes and deviations, some of them twice for a moment, and the columns of the product.
    needed = rows * (24 + 4 * len(question.axes) + 12 * len(question.metrics)) + KEPT_BYTES
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
