"""Two populations side by side (``POST /query/compare``), and how fields move together (``/query/correlations``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mona_server.detect.source import Floats
from mona_server.errors import BadRequest
from mona_server.query import histogram, measure, requests
from mona_server.query.conditions import Binder, fields_of, row_filter
from mona_server.query.reader import Dataset
from mona_server.query.requests import Reading, Window
from mona_server.query.scan import Metric, Scan
from mona_server.query.segments import check_segments, read_axis, read_window
from mona_server.query.statistics import STATISTICS
from mona_server.segment import ALL, Segment, SegmentError

NUMBERS = ("average", "std", "min", "p25", "median", "p75", "max")
MOST_FIELDS = 100
SAMPLE_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Side:
    """One population."""

    window: Window
    segment: Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """``{"context_class", "a": {"from", "to", "segment"}, "b": {...}, "fields"?, "excluded_segments"?}``; fields: default all."""

    a: Side
    b: Side
    fields: tuple[str, ...]
    excluded: tuple[Segment, ...] = ()
    axis: str = "MONA_TIMESTAMP"

    @classmethod
    def parse(cls, dataset: Dataset, body: Any) -> CompareRequest:
        """Read a request body. Raises :class:`InvalidRequest` with every problem."""
        reading = Reading(body)
        nobody = Side(Window(0, 1), ALL)
        request = cls(
            a=reading.take("a", _side, nobody, required=True),
            b=reading.take("b", _side, nobody, required=True),
            fields=_fields(reading, dataset, ("numeric", "string", "boolean")),
            excluded=reading.take("excluded_segments", requests.segments, ()),
            axis=read_axis(reading, dataset),
        )
        sides = {"a": (request.a.segment,), "b": (request.b.segment,)}
        check_segments(reading, dataset, **sides, excluded_segments=request.excluded)
        reading.done()
        return request


def _side(given: Any) -> Side:
    if not isinstance(given, Mapping):
        raise BadRequest('must be an object such as {"from": 1700000000, "to": 1700086400, "segment": {}}')
    try:
        segment = Segment.parse(given.get("segment"))
    except SegmentError as error:
        raise SegmentError(f"segment.{error.at}" if error.at else "segment", error.problem) from None
    return Side(requests.window(given), segment)


def _fields(reading: Reading, dataset: Dataset, kinds: Sequence[str]) -> tuple[str, ...]:
    nothing: tuple[str, ...] = ()
    chosen = reading.take("fields", requests.texts, nothing)
    for i, name in enumerate(chosen):
        reading.check(f"fields[{i}]", partial(_check_kind, dataset, name, kinds), None)
    fields = chosen or tuple(c.field for c in dataset.columns.values() if c.kind in kinds)
    if len(fields) > MOST_FIELDS and chosen:
        reading.problem("fields", f"at most {MOST_FIELDS} at a time")
    return fields[:MOST_FIELDS]


def _check_kind(dataset: Dataset, name: str, kinds: Sequence[str]) -> None:
    column = dataset.facts.column(name)
    if column.kind not in kinds:
        raise BadRequest(f"{name} is {column.kind}; fit are {', '.join(kinds)}")


def compare(dataset: Dataset, request: CompareRequest) -> dict[str, Any]:
    """Per field: statistics of both sides, histograms on common bins, Jensen-Shannon distance, q-value.

    The test is Pearson's chi-square of the two histograms (MISSING is a bin, small bins are joined), with
    Benjamini-Hochberg q-values over the fields. It treats contexts as independent, which flatters small changes:
    judge by the distance first. Fields are sorted by it, most different first.
    """
    facts = dataset.facts
    bind = Binder()
    sides = (request.a, request.b)
    parts = []
    for i, side in enumerate(sides):
        relation = facts.relation(
            [*request.fields, *sorted(fields_of(side.segment, *request.excluded))],
            axis=request.axis,
            from_ms=side.window.from_ms,
            to_ms=side.window.to_ms,
        )
        columns = [c for f in request.fields for c in _column_sql(dataset, f)]
        items = ", ".join(dict.fromkeys(["MONA_SIGN", *columns]))
        where = row_filter(facts, (side.segment,), request.excluded, bind)
        parts.append(f"SELECT CAST({i} AS INTEGER) AS MONA_G, {items} FROM {relation} WHERE {where}")
    scan = Scan("(" + " UNION ALL ".join(parts) + ")", ("MONA_G",), bind.values)
    metrics = [
        Metric(name, tuple(STATISTICS[s] for s in ("count", "existence_ratio", *_numbers(dataset, name))))
        for name in request.fields
    ]
    measured = measure.measure(facts, scan, metrics)
    answers: list[dict[str, Any]] = []
    p_values = []
    for i, name in enumerate(request.fields):
        plan = histogram.plan_bins(facts, name, dataset.segmentation, lambda _: scan.sql, scan.values)
        found = histogram.histogram(facts, scan, plan)
        bins = [found.get((side,)) or histogram.empty(plan) for side in (0, 1)]
        sizes = [[item["size"] for item in items] + [0] * (items[-1]["segment"] is not None) for items in bins]
        p = chi_square(sizes[0], sizes[1])
        p_values.append(p)
        answers.append(
            {
                "field": name,
                "a": measured.of((0,), i),
                "b": measured.of((1,), i),
                "histograms": {"a": bins[0], "b": bins[1]},
                "js_distance": histogram.jensen_shannon(sizes[0], sizes[1]),
                "p_value": p,
            }
        )
    for answer, q in zip(answers, q_values(p_values), strict=True):
        answer["q_value"] = q
    answers.sort(key=lambda item: (-(item["js_distance"] if item["js_distance"] is not None else -1), item["field"]))
    return {
        "a": {"size": measured.sizes.get((0,), 0)},
        "b": {"size": measured.sizes.get((1,), 0)},
        "fields": answers,
        "exact": measured.exact,
    }


def _column_sql(dataset: Dataset, field: str) -> list[str]:
    column = dataset.facts.column(field)
    return [column.sql, column.list_sql] if column.lists else [column.sql]


def _numbers(dataset: Dataset, field: str) -> tuple[str, ...]:
    column = dataset.facts.column(field)
    if not column.numeric_like:
        return ("distinct_count", "top_values")
    return NUMBERS if column.kind == "numeric" else ("average",)


def chi_square(a: Sequence[int], b: Sequence[int], least: float = 5.0) -> float | None:
    """p-value that two histograms come from one population; None when a side is empty or one bin is left.

    Bins with an expected count below ``least`` on a side are joined into one.

    >>> round(chi_square([50, 50], [70, 30]), 6), chi_square([1, 0], [0, 0])
    (0.003892, None)
    """
    from scipy.special import gammaincc

    counts = np.array([a, b], np.float64)
    totals = counts.sum(axis=1)
    if (totals <= 0).any():
        return None
    expected = counts.sum(axis=0) * totals.min() / totals.sum()
    small = expected < least
    counts = np.concatenate([counts[:, ~small], counts[:, small].sum(axis=1, keepdims=True)], axis=1)
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2:
        return None
    fit = np.outer(totals, counts.sum(axis=0)) / totals.sum()
    statistic = float(((counts - fit) ** 2 / fit).sum())
    return float(gammaincc((counts.shape[1] - 1) / 2, statistic / 2))


def q_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini-Hochberg: the least false discovery rate at which each test would be reported.

    >>> q_values([0.01, None, 0.04, 0.03])
    [0.03, None, 0.04, 0.04]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    answer: list[float | None] = [None] * len(p_values)
    least = 1.0
    for rank in range(len(known), 0, -1):
        p, i = known[rank - 1]
        least = min(least, p * len(known) / rank)
        answer[i] = least
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationsRequest:
    """``{"context_class", "from", "to", "segment"?, "fields"?}``; fields: default all numbers and booleans."""

    window: Window
    fields: tuple[str, ...]
    segment: Segment = ALL
    excluded: tuple[Segment, ...] = ()
    axis: str = "MONA_TIMESTAMP"

    @classmethod
    def parse(cls, dataset: Dataset, body: Any) -> CorrelationsRequest:
        """Read a request body. Raises :class:`InvalidRequest` with every problem."""
        reading = Reading(body, {"baseline_segment": "segment"})
        request = cls(
            window=read_window(reading),
            fields=_fields(reading, dataset, ("numeric", "boolean")),
            segment=reading.take("segment", requests.segment, ALL),
            excluded=reading.take("excluded_segments", requests.segments, ()),
            axis=read_axis(reading, dataset),
        )
        check_segments(reading, dataset, segment=(request.segment,), excluded_segments=request.excluded)
        reading.done()
        return request


def correlations(dataset: Dataset, request: CorrelationsRequest) -> dict[str, Any]:
    """Pearson correlation of every pair of fields, over contexts that have both.

    Beyond 200,000 contexts a uniform sample by the hash of the id is used and ``exact`` is false. A pair with fewer
    than three contexts, or a constant field, is null.
    """
    facts = dataset.facts
    bind = Binder()
    names = ["MONA_ID", *request.fields, *sorted(fields_of(request.segment, *request.excluded))]
    window = request.window
    relation = facts.relation(names, axis=request.axis, from_ms=window.from_ms, to_ms=window.to_ms)
    where = row_filter(facts, (request.segment,), request.excluded, bind)
    size = int(facts.rows(f"SELECT coalesce(sum(MONA_SIGN), 0) FROM {relation} WHERE {where}", bind.values)[0][0])
    step = max(1, -(-size // SAMPLE_ROWS))
    columns = [facts.column(name) for name in request.fields]
    items = ", ".join(
        f"coalesce(CAST({c.sql} AS DOUBLE), CAST('nan' AS DOUBLE)) AS c{i}" for i, c in enumerate(columns)
    )
    sample = "" if step == 1 else f" AND hash(MONA_ID) % {step} = 0"
    rest = f", {items}" if items else ""
    found = facts.arrays(f"SELECT MONA_SIGN AS s{rest} FROM {relation} WHERE {where}{sample}", bind.values)
    matrix = np.array([found[f"c{i}"] for i in range(len(columns))], np.float64).reshape(len(columns), len(found["s"]))
    r, n = weighted_correlations(matrix, np.asarray(found["s"], np.float64))
    fields = [column.field for column in columns]
    pairs = [
        {"a": fields[i], "b": fields[j], "correlation": _finite(r[i, j]), "count": int(n[i, j]) * step}
        for i in range(len(fields))
        for j in range(i + 1, len(fields))
    ]
    pairs.sort(key=lambda p: -abs(p["correlation"]) if isinstance(p["correlation"], float) else 1.0)
    return {
        "fields": fields,
        "matrix": [[_finite(value) for value in row] for row in r.tolist()],
        "pairs": pairs,
        "size": size,
        "exact": step == 1,
    }


def weighted_correlations(x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(F, F) Pearson correlations and pair counts of F columns with n signed rows; NaN is "no value".

    Pairwise complete: each pair uses the rows that have both. Columns are centred first, so that sums stay exact.
    """
    there = ~np.isnan(x)
    own = there * weights
    n = own @ there.T
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.nansum(np.where(there, x, 0) * weights, axis=1) / np.diag(n)
    centred = np.where(there, x - np.nan_to_num(centre)[:, None], 0.0)
    weighted = centred * weights
    total = weighted @ there.T  # of i where j is there
    square = (weighted * centred) @ there.T
    cross = weighted @ centred.T
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = cross / n - (total / n) * (total.T / n)
        variance = square / n - (total / n) ** 2
        variance[variance <= 1e-14 * square / n] = np.nan
        r = covariance / np.sqrt(variance * variance.T)
    r[n < 3] = np.nan
    return np.clip(r, -1.0, 1.0), n


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
