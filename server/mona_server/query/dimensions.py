"""``/get_segments_for_dimensions`` (alias ``/stats``): the segments of a field in two time ranges, compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mona_server.detect.source import AxisRequest
from mona_server.errors import BadRequest
from mona_server.query import measure, requests
from mona_server.query.axes import AxisPlan, code_sql, codes_sql, plan_axis
from mona_server.query.conditions import Binder, fields_of, row_filter
from mona_server.query.measure import Measured
from mona_server.query.reader import Dataset
from mona_server.query.requests import Reading, Window
from mona_server.query.scan import Metric, Scan
from mona_server.query.segments import check_segments, read_axis
from mona_server.segment import ALL, Condition, Equals, OneOf, Range, Segment

MAX_ANSWERS = 1_000
MAX_DIMENSIONS = 3
SORTS = (
    "SIZE_TOP",
    "SIZE_BOTTOM",
    *(f"METRIC_{i}_{what}" for i in (1, 2) for what in ("TOP", "BOTTOM", "CHANGE_TOP", "CHANGE_BOTTOM")),
    "NAME",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionsRequest:
    """What ``/get_segments_for_dimensions`` is asked; see rest.md 3.3."""

    context_class: str
    dimensions: tuple[AxisRequest, ...]
    target: Window
    compared: Window
    metrics: tuple[Metric, Metric]
    min_segment_size: float
    sort: str
    baseline: Segment = ALL
    excluded: tuple[Segment, ...] = ()
    target_filter: tuple[Segment, ...] = ()
    """Only contexts in one of them count in the target; none: all."""
    compared_filter: tuple[Segment, ...] = ()
    axis: str = "MONA_TIMESTAMP"

    @classmethod
    def parse(cls, dataset: Dataset, body: Any) -> DimensionsRequest:
        """Read a request body. Raises :class:`InvalidRequest` with every problem."""
        reading = Reading(body, {"dimensions": "dimension"})
        nothing = Window(0, 1)
        metrics = tuple(_metric(reading, dataset, i) for i in (1, 2))
        request = cls(
            context_class=reading.take("context_class", requests.text, dataset.name),
            dimensions=reading.take("dimension", _dimensions, (), required=True),
            target=reading.take("target_time_range", requests.window, nothing, required=True),
            compared=reading.take("compared_time_range", requests.window, nothing, required=True),
            metrics=(metrics[0], metrics[1]),
            min_segment_size=reading.take("min_segment_size", requests.number, 1.0, required=True),
            sort=reading.take("sort_function", _sort, "SIZE_TOP", required=True),
            baseline=reading.take("baseline_segment", requests.segment, ALL),
            excluded=reading.take("excluded_segments", requests.segments, ()),
            target_filter=reading.take("target_segments_filter", requests.segments, ()),
            compared_filter=reading.take("compared_segments_filter", requests.segments, ()),
            axis=read_axis(reading, dataset),
        )
        check_segments(
            reading,
            dataset,
            baseline_segment=(request.baseline,),
            excluded_segments=request.excluded,
            target_segments_filter=request.target_filter,
            compared_segments_filter=request.compared_filter,
        )
        reading.check("dimension", lambda: _check_axes(dataset, request.dimensions), None)
        reading.done()
        return request


def _metric(reading: Reading, dataset: Dataset, i: int) -> Metric:
    name = reading.take(f"metric_{i}_field", requests.text, "", required=True)
    kind = reading.take(f"metric_{i}_type", requests.text, "", required=True)
    second = reading.take(f"metric_{i}_secondary_field", requests.text, "")
    found = None
    if name and kind:
        found = measure.read_metric(reading, dataset.facts, name, [kind], second or None, f"metric_{i}_field")
    return found or Metric("", ())


def _dimensions(given: Any) -> tuple[AxisRequest, ...]:
    """A field, ``{"name", "segmentation"?, "avoid_values"?}``, or a list of up to three of them."""
    items = given if isinstance(given, list) else [given]
    found = []
    for item in items:
        if isinstance(item, str):
            item = {"name": item}
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
            raise BadRequest("must be a field name or a list of field names")
        avoid = item.get("avoid_values") or ()
        found.append(AxisRequest(item["name"], item.get("segmentation"), tuple(avoid)))
    if not 1 <= len(found) <= MAX_DIMENSIONS:
        raise BadRequest(f"must be one to {MAX_DIMENSIONS} fields")
    return tuple(found)


def _sort(given: Any) -> str:
    name = requests.text(given).upper()
    if name not in SORTS:
        raise BadRequest(f"{given!r} is not one of {', '.join(SORTS)}")
    return name


def _check_axes(dataset: Dataset, axes: Sequence[AxisRequest]) -> None:
    columns = [dataset.facts.column(axis.field) for axis in axes]
    for axis, column in zip(axes, columns, strict=True):
        if column.kind not in ("numeric", "string", "boolean"):
            raise BadRequest(f"{column.field} is {column.kind} and cannot be segmented")
        if axis.segmentation and dataset.segmentation(axis.field, axis.segmentation) is None:
            raise BadRequest(f"{column.field} has no segmentation {axis.segmentation!r}")
    if len(set(columns)) < len(columns):
        raise BadRequest("names a field twice")
    if sum(column.lists for column in columns) > 1:
        raise BadRequest("may hold one array field only")


def get_segments_for_dimensions(dataset: Dataset, request: DimensionsRequest) -> dict[str, Any]:
    """The answer of ``/get_segments_for_dimensions``, rest.md 3.3."""
    plans = _plans(dataset, request)
    sets = []
    for window, only in ((request.target, request.target_filter), (request.compared, request.compared_filter)):
        scan = _scan(dataset, request, window, only, plans)
        everybody = measure.measure(dataset.facts, _scan(dataset, request, window, only, ()), request.metrics)
        segments = measure.measure(dataset.facts, scan, request.metrics)
        sets.append((segments, everybody))
    (target, target_base), (compared, compared_base) = sets
    bases = target_base.sizes.get((), 0), compared_base.sizes.get((), 0)
    found = []
    for codes, size in target.sizes.items():
        if size < request.min_segment_size or min(codes) < 0:
            continue
        conditions = [plan.axis.conditions[code] for plan, code in zip(plans, codes, strict=True)]
        named = [(plan.axis.field, condition) for plan, condition in zip(plans, conditions, strict=True)]
        segment = Segment(tuple((name, (condition,)) for name, condition in named))
        mine, his = _numbers(request, target, codes, bases[0]), _numbers(request, compared, codes, bases[1])
        words = [_value(condition) for condition in conditions]
        found.append(
            {
                "segment": segment.to_json(),
                "value": words[0] if len(words) == 1 else words,
                "target": mine,
                "compared": his,
                "change": {name: _change(mine[name], his[name]) for name in ("size", "metric_1", "metric_2")},
            }
        )
    found.sort(key=_order(request.sort))
    exact = all(m.exact for pair in sets for m in pair)
    return {
        "segments": found[:MAX_ANSWERS],
        "baseline": {
            "target": _numbers(request, target_base, (), bases[0]),
            "compared": _numbers(request, compared_base, (), bases[1]),
        },
        "total_segments": len(found),
        "truncated": len(found) > MAX_ANSWERS,
        "exact": exact,
    }


def _plans(dataset: Dataset, request: DimensionsRequest) -> list[AxisPlan]:
    """Values and buckets over both ranges together, so that they are the same in both."""
    bind = Binder()
    facts = dataset.facts
    where = row_filter(facts, (request.baseline,), request.excluded, bind)
    inside = " OR ".join(
        f"MONA_AXIS BETWEEN {window.from_ms} AND {window.to_ms - 1}" for window in (request.target, request.compared)
    )

    def rows_sql(fields: Sequence[str]) -> str:
        relation = facts.relation(
            [*fields, *sorted(fields_of(request.baseline, *request.excluded))],
            axis=request.axis,
            from_ms=min(request.target.from_ms, request.compared.from_ms),
            to_ms=max(request.target.to_ms, request.compared.to_ms),
        )
        return f"(SELECT * FROM {relation} WHERE {where} AND ({inside}))"

    return [plan_axis(facts, axis, dataset.segmentation, rows_sql, bind.values) for axis in request.dimensions]


def _scan(
    dataset: Dataset, request: DimensionsRequest, window: Window, only: Sequence[Segment], plans: Sequence[AxisPlan]
) -> Scan:
    """Rows of one range with keys ``MONA_D0`` ..., the codes on the dimensions; none: everybody, each once."""
    bind = Binder()
    facts = dataset.facts
    fields = [name for metric in request.metrics for name in (metric.field, metric.second) if name]
    fields += [plan.axis.field for plan in plans]
    filters = fields_of(request.baseline, *request.excluded, *only)
    relation = facts.relation(
        [*fields, *sorted(filters)], axis=request.axis, from_ms=window.from_ms, to_ms=window.to_ms
    )
    where = row_filter(facts, (request.baseline,), request.excluded, bind)
    if only:
        where += " AND (" + " OR ".join(row_filter(facts, (segment,), (), bind) for segment in only) + ")"
    rows = f"(SELECT * FROM {relation} WHERE {where})"
    if not plans:
        return Scan(rows, (), bind.values)
    keys = tuple(f"MONA_D{i}" for i in range(len(plans)))
    codes = [
        f"unnest({codes_sql(facts, plan)})" if facts.column(plan.axis.field).lists else code_sql(facts, plan)
        for plan in plans
    ]
    items = ", ".join(f"{code} AS {key}" for code, key in zip(codes, keys, strict=True))
    return Scan(f"(SELECT {items}, * FROM {rows})", keys, bind.values)


def _numbers(request: DimensionsRequest, measured: Measured, key: tuple[int, ...], base: int) -> dict[str, Any]:
    size = measured.sizes.get(key, 0)
    numbers: dict[str, Any] = {"size": size, "ratio": size / base if base else None}
    for i, metric in enumerate(request.metrics):
        values = measured.of(key, i)
        numbers[f"metric_{i + 1}"] = values[metric.types[0].name] if values else None
    return numbers


def _change(value: Any, reference: Any) -> float | None:
    """(value - reference) / |reference|; None when undefined."""
    if not isinstance(value, int | float) or not isinstance(reference, int | float) or not reference:
        return None
    change = (value - reference) / abs(reference)
    return change if math.isfinite(change) else None


def _value(condition: Condition) -> Any:
    """What a segment of one field is called: its value (None for MISSING), its values, or its bounds."""
    match condition:
        case Equals(value):
            return value
        case OneOf(values):
            return list(values)
        case Range(low, high):
            low_text = "(-∞" if low is None else f"[{low:.12g}"
            return f"{low_text}, {'∞' if high is None else f'{high:.12g}'})"
    raise AssertionError(condition)  # axes are made of these


def _order(sort: str) -> Callable[[dict[str, Any]], Any]:
    """Ties and missing numbers last, then by name, so that the order is stable."""

    def key(item: dict[str, Any]) -> Any:
        name = str(item["segment"])
        if sort == "NAME":
            return name
        where, _, rest = sort.rpartition("_")
        what = where.lower().removesuffix("_change")
        value = (item["change"] if where.endswith("CHANGE") else item["target"])[what]
        if not isinstance(value, int | float):
            return (1, 0.0, name)
        return (0, -value if rest == "TOP" else value, name)

    return key
