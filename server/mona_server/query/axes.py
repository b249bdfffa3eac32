"""Axes of a search: a field, split into segments that have small codes.

The code of a row is found in SQL where the values are few or bucketed, so that only small integers leave the engine.
Segments are ordered by value (texts by their characters, numbers by size), MISSING last, so the same data gives
the same codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mona_server.config.segmentations import Buckets, Segmentation, automatic
from mona_server.detect.source import Axis, AxisRequest
from mona_server.errors import BadRequest
from mona_server.query.facts import Facts
from mona_server.segment import Condition, Equals, OneOf, Scalar

LONGEST_VALUE = 500
"""Characters of a text that can be a segment of its own."""

SHORT_LIST = 256
"""So many texts are looked up in a list faster than in a map."""

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

    @property
    def missing(self) -> int:
        """The code of MISSING."""
        return self.remap[-2]

    @property
    def code_type(self) -> str:
        """The smallest SQL type of the codes."""
        size = len(self.remap)
        return "TINYINT" if size < 2**7 else "SMALLINT" if size < 2**15 else "INTEGER"


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
    chosen = chosen_segmentation(facts, request, segmentation_of)
    if chosen is None:
        return _bucket_plan(request, Buckets((-math.inf, *request.boundaries, math.inf)))
    rows = rows_sql([column.field])
    if chosen.numeric:
        return _bucket_axis(facts, request, chosen, rows, values)
    return value_plan(facts, request, chosen, _counted(facts, request, chosen, rows, values))


def chosen_segmentation(facts: Facts, request: AxisRequest, segmentation_of: SegmentationOf) -> Segmentation | None:
    """The segmentation of an axis; None where boundaries are given. Raises :class:`BadRequest` as :func:`plan_axis`."""
    column = facts.column(request.field)
    if column.kind not in ("numeric", "string", "boolean"):
        raise BadRequest(
            f"{column.field} is {column.kind} and cannot be segmented", hint="build a field from it and use that"
        )
    if request.boundaries:
        return None
    chosen = segmentation_of(column.field, request.segmentation)
    if chosen is None and request.segmentation not in (None, "default"):
        raise BadRequest(f"{column.field} has no segmentation {request.segmentation!r}")
    return chosen or automatic(column.kind) or Segmentation(name="default", kind="discrete", default=True)


def code_sql(facts: Facts, plan: AxisPlan, value: str | None = None) -> str:
    """SQL for the code of a row on the axis, never NULL; ``value`` stands for the column."""
    column = facts.column(plan.axis.field)
    name = value or column.sql
    code_type, missing = plan.code_type, len(plan.remap) - 2
    if plan.buckets is not None:
        code = f"coalesce({plan.buckets.sql(name)}, {missing})"
    elif column.kind == "boolean":
        places = {value: raw for raw, value in enumerate(plan.dictionary)}
        code = f"CASE {name} WHEN TRUE THEN {places.get(True, -1)} WHEN FALSE THEN {places.get(False, -1)} ELSE {missing} END"
    elif not plan.dictionary:
        code = f"CASE WHEN {name} IS NULL THEN {missing} ELSE -1 END"
    elif column.kind == "string":
        # A function of the column alone is computed once for each entry of a Parquet dictionary. Not IN, which becomes a
        # join that turns rows around; nor TRY_CAST to an ENUM, which looks for the entries most similar to an unknown text.
        texts = ["'" + str(text).replace("'", "''") + "'" for text in plan.dictionary]
        if len(texts) <= SHORT_LIST:
            code = f"coalesce(CAST(list_position([{', '.join(texts)}, NULL], {name}) AS {code_type}), 0) - 1"
        else:
            pairs = ", ".join(f"{text}: {raw}" for raw, text in enumerate(texts))
            code = f"CAST(map_extract_value(MAP {{{pairs}}}, {name}) AS {code_type})"
            code = f"coalesce({code}, CASE WHEN {name} IS NULL THEN {missing} ELSE -1 END)"
    else:
        # list_position counts from 1; numbers that stand for categories are few.
        known = ", ".join(f"{float(number)!r}::DOUBLE" for number in plan.dictionary)
        code = f"CASE WHEN {name} IS NULL THEN {missing} ELSE coalesce(list_position([{known}], {name}), 0) - 1 END"
    if plan.remap != (*range(missing + 1), -1):
        turned = ", ".join(map(str, (plan.remap[-1], *plan.remap[:-1])))
        code = f"[{turned}][{code} + 2]"
    return f"CAST({code} AS {code_type})"


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


def _counted(
    facts: Facts, request: AxisRequest, chosen: Segmentation, rows: str, values: dict[str, object]
) -> list[tuple[Any, int]]:
    """Values and their contexts, the largest first: more than those that can be segments are not needed."""
    column = facts.column(request.field)
    sources = [f"SELECT {column.sql} AS v, MONA_SIGN AS sign FROM {rows}"]
    if column.lists:
        sources.append(f"SELECT unnest({column.list_sql}) AS v, MONA_SIGN AS sign FROM {rows}")
    # Long texts are nobody's category: they are in no segment, like values beyond the largest ones.
    short = f"len(v) <= {LONGEST_VALUE}" if column.kind == "string" else "v IS NOT NULL"
    found = facts.rows(
        f"SELECT v, CAST(sum(sign) AS BIGINT) AS n FROM ({' UNION ALL '.join(sources)}) "
        f"WHERE {short} GROUP BY v ORDER BY n DESC, v LIMIT {int(chosen.max_values)}",
        values,
    )
    return [(value, n) for value, n in found]


def value_plan(facts: Facts, request: AxisRequest, chosen: Segmentation, found: Sequence[tuple[Any, int]]) -> AxisPlan:
    """The axis of a field whose values are segments. ``found``: values and their contexts, the largest first."""
    found = found[: chosen.max_values]
    dictionary: tuple[Scalar, ...] = tuple(sorted((value for value, _ in found), key=_order))
    gone = {value for value, n in found if n <= 0}
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
    axis = Axis(request.field, tuple(conditions), overlapping=facts.column(request.field).lists)
    return AxisPlan(axis, tuple(remap), dictionary=dictionary)


def _order(value: Scalar) -> tuple[int, float, str]:
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")


def _plain(value: Scalar) -> Scalar:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
