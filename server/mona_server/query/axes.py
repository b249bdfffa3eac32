"""Axes of a search: a field, split into segments that have small codes.

The code of a row is found in SQL where the values are few or bucketed, so that only small integers leave the engine.
Segments are ordered by value (texts by their characters, numbers by size), MISSING last, so the same data gives
the same codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mona_server.config.segmentations import Buckets, Segmentation, automatic
from mona_server.detect.source import Axis, AxisRequest
from mona_server.errors import BadRequest
from mona_server.query.facts import Facts
from mona_server.segment import Condition, Equals, OneOf, Scalar

LONGEST_VALUE = 500
"""Characters of a text that can be a segment of its own."""

SegmentationOf = Callable[[str, str | None], Segmentation | None]
"""(field, name or None for the default) → its segmentation, None when it has none."""


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """How the codes of one axis come about.

    ``dictionary`` values (or buckets) have raw codes 0, 1, ...; the next one is MISSING, and -1 is any other value.
    ``remap[raw]`` is the code on ``axis``, or -1; its last entry is for raw code -1.
    """

    axis: Axis
    remap: tuple[int, ...]
    dictionary: tuple[Scalar, ...] = field(repr=False, default=())
    buckets: Buckets | None = field(repr=False, default=None)
    complete: bool = False
    """The rows have no value besides those of the dictionary."""

    @property
    def missing(self) -> int:
        """The code of MISSING."""
        return self.remap[-2]


def no_segmentations(_field: str, _name: str | None) -> Segmentation | None:
    """For classes without configuration: texts and booleans by value."""
    return None


def plan_axis(
    facts: Facts,
    request: AxisRequest,
    segmentation_of: SegmentationOf,
    rows_sql: Callable[[Sequence[str]], str],
    values: dict[str, object],
) -> AxisPlan:
    """Look at the values of an axis. ``rows_sql(fields)`` is the filtered relation, ``values`` its bound values.

    Raises :class:`BadRequest` for a field that cannot be segmented or a segmentation that does not exist.
    """
    column = facts.column(request.field)
    name = column.field
    if column.kind not in ("numeric", "string", "boolean"):
        raise BadRequest(f"{name} is {column.kind} and cannot be segmented", hint="build a field from it and use that")
    if request.boundaries:
        edges = Buckets((-math.inf, *request.boundaries, math.inf))
        return _bucket_plan(request, edges)
    chosen = segmentation_of(name, request.segmentation)
    if chosen is None and request.segmentation not in (None, "default"):
        raise BadRequest(f"{name} has no segmentation {request.segmentation!r}")
    if chosen is None:
        chosen = automatic(column.kind) or Segmentation(name="default", kind="discrete", default=True)
    if chosen.numeric:
        return _bucket_axis(facts, request, chosen, rows_sql([name]), values)
    return _value_axis(facts, request, chosen, rows_sql([name]), values)


def code_sql(facts: Facts, plan: AxisPlan, value: str | None = None) -> str:
    """SQL for the code of a row on the axis, never NULL; ``value`` stands for the column."""
    return f"coalesce({code_or_null_sql(facts, plan, value)}, {plan.missing})"


def code_or_null_sql(facts: Facts, plan: AxisPlan, value: str | None = None) -> str:
    """SQL for the code of a row on the axis, NULL for MISSING."""
    column = facts.column(plan.axis.field)
    name = value or column.sql
    if plan.buckets is not None:
        code = plan.buckets.sql(name)
    elif column.kind == "boolean":
        places = {value: raw for raw, value in enumerate(plan.dictionary)}
        code = f"CASE {name} WHEN TRUE THEN {places.get(True, -1)} WHEN FALSE THEN {places.get(False, -1)} END"
    elif not plan.dictionary:
        code = f"CASE WHEN {name} IS NOT NULL THEN -1 END"
    elif column.kind == "string":
        known = ", ".join("'" + str(text).replace("'", "''") + "'" for text in plan.dictionary)
        # TRY_CAST looks up each entry of a Parquet dictionary once; CAST, or a CASE or coalesce around it, every row.
        code = f"enum_code(TRY_CAST({name} AS ENUM({known})))"
        if not plan.complete:
            code = f"CASE WHEN {name} IS NOT NULL THEN coalesce(CAST({code} AS INTEGER), -1) END"
    else:
        # list_position counts from 1; numbers that stand for categories are few.
        known = ", ".join(f"{float(number)!r}::DOUBLE" for number in plan.dictionary)
        code = f"CASE WHEN {name} IS NOT NULL THEN coalesce(list_position([{known}], {name}), 0) - 1 END"
    size = len(plan.remap)
    if plan.remap != (*range(size - 1), -1):
        turned = ", ".join(map(str, (plan.remap[-1], *plan.remap[:-1])))
        code = f"[{turned}][{code} + 2]"
    return f"CAST({code} AS {'TINYINT' if size < 2**7 else 'SMALLINT' if size < 2**15 else 'INTEGER'})"


def codes_sql(facts: Facts, plan: AxisPlan) -> str:
    """SQL for the list of distinct codes of a row on an array axis: those of its elements, or of its only value."""
    column = facts.column(plan.axis.field)
    items = f"CASE WHEN len({column.list_sql}) > 0 THEN {column.list_sql} ELSE [{column.sql}] END"
    return f"list_distinct(list_transform({items}, lambda e: {code_sql(facts, plan, 'e')}))"


def _bucket_axis(
    facts: Facts, request: AxisRequest, chosen: Segmentation, rows: str, values: dict[str, object]
) -> AxisPlan:
    x = facts.column(request.field).sql
    low, high = facts.rows(
        f"SELECT min({x}), max({x}) FROM {rows} WHERE {x} IS NOT NULL AND isfinite({x}) AND MONA_SIGN > 0", values
    )[0]

    def usual() -> tuple[float, float]:
        inner = f"SELECT quantile_cont({x}, [0.003, 0.997]) FROM {rows} WHERE isfinite({x}) AND MONA_SIGN > 0"
        least, most = facts.rows(inner, values)[0][0]
        return least, most

    buckets = Buckets(()) if low is None else chosen.buckets_for(low, high, usual)
    return _bucket_plan(request, buckets)


def _bucket_plan(request: AxisRequest, buckets: Buckets) -> AxisPlan:
    conditions: tuple[Condition, ...] = (*buckets.conditions, Equals(None))
    remap = (*range(len(buckets)), len(buckets), -1)
    return AxisPlan(Axis(request.field, conditions, ordered=True), remap, buckets=buckets)


def _value_axis(
    facts: Facts, request: AxisRequest, chosen: Segmentation, rows: str, values: dict[str, object]
) -> AxisPlan:
    column = facts.column(request.field)
    sources = [f"SELECT {column.sql} AS v, MONA_SIGN AS sign FROM {rows}"]
    if column.lists:
        sources.append(f"SELECT unnest({column.list_sql}) AS v, MONA_SIGN AS sign FROM {rows}")
    # Long texts are nobody's category: they are in no segment, like values beyond the largest ones.
    short = f"CASE WHEN len(v) <= {LONGEST_VALUE} THEN v END" if column.kind == "string" else "v"
    found = facts.rows(
        f"SELECT {short} AS v, CAST(sum(sign) AS BIGINT) AS n FROM ({' UNION ALL '.join(sources)}) "
        f"WHERE v IS NOT NULL GROUP BY {short} ORDER BY n DESC, v LIMIT {int(chosen.max_values) + 2}",
        values,
    )
    kept = [row for row in found if row[0] is not None]
    complete = len(kept) == len(found) and len(kept) <= chosen.max_values
    found = kept[: chosen.max_values]
    dictionary: tuple[Scalar, ...] = tuple(sorted((row[0] for row in found), key=_order))
    gone = {row[0] for row in found if row[1] <= 0}
    in_range = chosen.in_range
    groups: dict[Scalar, list[int]] = {}
    for raw, value in enumerate(dictionary):
        if value in gone:
            continue
        if in_range is not None and not isinstance(value, str):
            if in_range.min_value is not None and value < in_range.min_value:
                continue
            if in_range.max_value is not None and value >= in_range.max_value:
                continue
        label = chosen.label(value)
        if label in request.avoid_values or value in request.avoid_values:
            continue
        groups.setdefault(label, []).append(raw)
    remap = [-1] * (len(dictionary) + 2)
    conditions: list[Condition] = []
    for code, raws in enumerate(groups.values()):
        members = tuple(_plain(dictionary[raw]) for raw in raws)
        conditions.append(Equals(members[0]) if len(members) == 1 else OneOf(members))
        for raw in raws:
            remap[raw] = code
    remap[-2] = len(conditions)
    conditions.append(Equals(None))
    axis = Axis(request.field, tuple(conditions), overlapping=column.lists)
    return AxisPlan(axis, tuple(remap), dictionary=dictionary, complete=complete)


def _order(value: Scalar) -> tuple[int, float, str]:
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")


def _plain(value: Scalar) -> Scalar:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
