"""Sizes and statistics of groups of rows: the one way in which pages and endpoints get their numbers.

A :class:`Scan` is a sub-query with integer key columns; each combination of keys is a group. Sums take one pass
over all metrics; what is no sum takes one pass per field, over net values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats
from mona_server.errors import BadRequest
from mona_server.query.engines.duckdb import unmasked
from mona_server.query.facts import Column, Facts
from mona_server.query.requests import Reading
from mona_server.query.statistics import (
    CALIBRATION_BINS,
    STATISTICS,
    TOP_VALUES,
    Statistic,
    area_under_curve,
    find,
    weighted_quantiles,
)

EXACT_ROWS = 1_000_000
"""Up to so many contexts, quantiles and AUC come from the values themselves, beyond from bins of 0.2 % width."""
BIN_BASE = 1.002

Key = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A field and the statistics wanted of it; ``second`` is the other field of two-field statistics."""

    field: str
    types: tuple[Statistic, ...]
    second: str | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """Rows to measure: ``sql`` is a sub-query with ``MONA_SIGN``, the columns of the metrics and the ``keys``."""

    sql: str
    keys: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """Groups that have at least one context."""

    sizes: Mapping[Key, int]
    metrics: tuple[Mapping[Key, Mapping[str, Any]], ...]
    """Per metric: key → statistic → value; None where it is undefined."""
    exact: bool

    def of(self, key: Key, metric: int) -> Mapping[str, Any] | None:
        return self.metrics[metric].get(key)


def read_metrics(reading: Reading, facts: Facts, given: Any, at: str = "metrics") -> tuple[Metric, ...]:
    """``[{"field", "types", "secondary_field"?}]`` with every problem noted."""
    if isinstance(given, Mapping):
        given = [given]
    if not isinstance(given, list | tuple):
        reading.problem(at, 'must be a list such as [{"field": "amount", "types": ["average"]}]')
        return ()
    found = []
    for i, item in enumerate(given):
        path = f"{at}[{i}]"
        if isinstance(item, str):
            item = {"field": item}
        if not isinstance(item, Mapping) or not isinstance(item.get("field"), str):
            reading.problem(path, 'must be an object such as {"field": "amount", "types": ["average"]}')
            continue
        types = item.get("types") or item.get("type") or ["average"]
        types = [types] if isinstance(types, str) else types
        second = item.get("secondary_field") or item.get("secondaryField")
        metric = read_metric(reading, facts, item["field"], types, second, path)
        if metric is not None:
            found.append(metric)
    return tuple(found)


def read_metric(
    reading: Reading, facts: Facts, name: str, types: Sequence[Any], second: str | None, at: str
) -> Metric | None:
    """One metric, or None with problems noted: unknown field or statistic, wrong type, missing second field."""
    column = reading.check(at, lambda: facts.column(name), None)
    other = reading.check(at, lambda: facts.column(second), None) if second else None
    known = []
    for given in types:
        statistic = find(given)
        if statistic is None:
            reading.problem(at, f"{given!r} is not a statistic; known are {', '.join(STATISTICS)}")
        elif statistic.two_fields and not second:
            reading.problem(at, f"{statistic.name} needs a second field, secondary_field")
        elif (
            column is not None
            and not statistic.any_type
            and not all(c.numeric_like for c in (column, other) if c is not None)
        ):
            what = column if not column.numeric_like else other
            reading.problem(
                at, f"{statistic.name} needs numbers or booleans, {what and what.field} is {what and what.kind}"
            )
        else:
            known.append(statistic)
    if column is None or (second and other is None) or not known:
        return None
    return Metric(column.field, tuple(dict.fromkeys(known)), other.field if other else None)


def measure(facts: Facts, scan: Scan, metrics: Sequence[Metric]) -> Measured:
    """Sizes of all groups and the statistics of all metrics. Groups whose signs add up to 0 are left out."""
    found = _sums(facts, scan, metrics)
    keys = _keys(found, scan)
    size = np.asarray(found["size"], np.float64)
    there = np.flatnonzero(size > 0)
    chosen = [keys[i] for i in there.tolist()]
    place = {key: i for i, key in enumerate(chosen)}
    exact = True
    answers = []
    for m, metric in enumerate(metrics):
        columns: dict[str, Sequence[Any]] = {}
        for need in dict.fromkeys(statistic.need for statistic in metric.types):
            wanted = [statistic for statistic in metric.types if statistic.need == need]
            if need in ("moments", "pairs"):
                prefix = f"m{m}_" if need == "moments" else f"q{m}_"
                sums = {k.removeprefix(prefix): v[there] for k, v in found.items() if k.startswith(prefix)}
                sums["size"] = size[there]
                for statistic in wanted:
                    assert statistic.compute is not None
                    columns[statistic.name] = _plain(statistic.compute(sums))
            elif need == "distinct":
                columns.update(_distinct(facts, scan, metric, wanted, place))
            elif need == "top":
                columns["top_values"] = _top(facts, scan, metric, place)
            elif need == "quantiles":
                binned = float(found[f"m{m}_n"].sum()) > EXACT_ROWS
                exact &= not binned
                columns.update(_quantiles(facts, scan, metric, wanted, place, binned=binned))
            elif need == "curve":
                binned = float(found[f"q{m}_n"].sum()) > EXACT_ROWS
                exact &= not binned
                columns["auc"] = _curve(facts, scan, metric, place, binned=binned)
            else:
                columns["calibration_error"] = _calibration(facts, scan, metric, place)
        columns["count"] = [round(n) for n in found[f"m{m}_n"][there].tolist()]
        order = dict.fromkeys(("count", *(statistic.name for statistic in metric.types)))
        answers.append({key: {name: columns[name][i] for name in order} for i, key in enumerate(chosen)})
    return Measured({key: round(float(size[i])) for key, i in zip(chosen, there, strict=True)}, tuple(answers), exact)


def offsets(facts: Facts, scan: Scan, columns: Sequence[Column]) -> list[float]:
    """A number near the mean of each numeric column, from the first 10,000 values, with few bits."""
    found = []
    for column in columns:
        rows = facts.rows(
            f"SELECT avg(x) FROM (SELECT CAST({column.sql} AS DOUBLE) AS x FROM {scan.sql} "
            f"WHERE {column.sql} IS NOT NULL LIMIT 10000)",
            scan.values,
        )
        near = rows[0][0]
        if near is None or not np.isfinite(near):
            found.append(0.0)
            continue
        mantissa, exponent = np.frexp(near)
        found.append(float(np.ldexp(np.round(mantissa * 256) / 256, exponent)))
    return found


def _sums(facts: Facts, scan: Scan, metrics: Sequence[Metric]) -> dict[str, Any]:
    """All signed sums in one pass: ``size``, ``m<i>_*`` of the field, ``q<i>_*`` of the pairs."""
    s = "MONA_SIGN"
    items = [*scan.keys, f"CAST(sum({s}) AS DOUBLE) AS size"]
    constants: dict[str, float] = {}
    numeric = [facts.column(name) for name in dict.fromkeys(n for m in metrics for n in (m.field, m.second) if n)]
    numeric = [column for column in numeric if column.numeric_like and any(_needs_offset(m, column) for m in metrics)]
    near = dict(zip((c.field for c in numeric), offsets(facts, scan, numeric), strict=True))
    for i, metric in enumerate(metrics):
        column = facts.column(metric.field)
        there = f"CASE WHEN {_present(column)} THEN {s} ELSE 0 END"
        items.append(f"CAST(sum({there}) AS DOUBLE) AS m{i}_n")
        if column.numeric_like and any(t.need == "moments" and not t.any_type for t in metric.types):
            c = constants[f"m{i}_c"] = near[column.field]
            x = f"(CAST({column.sql} AS DOUBLE) - {c!r}::DOUBLE)"
            items.append(f"coalesce(sum({s} * {x}), 0) AS m{i}_s1")
            items.append(f"coalesce(sum({s} * {x} * {x}), 0) AS m{i}_s2")
        if metric.second and any(t.two_fields for t in metric.types):
            items += _pair_sums(f"q{i}", column, facts.column(metric.second), metric, near)
    group = f" GROUP BY {', '.join(scan.keys)}" if scan.keys else ""
    found = {
        name: unmasked(column, np.nan if column.dtype.kind == "f" else None)
        for name, column in facts.arrays(f"SELECT {', '.join(items)} FROM {scan.sql}{group}", scan.values).items()
    }
    for name, value in constants.items():
        found[name] = np.full(len(found["size"]), value)
    return found


def _needs_offset(metric: Metric, column: Column) -> bool:
    moments = metric.field == column.field and any(t.need == "moments" and not t.any_type for t in metric.types)
    pair = column.field in (metric.field, metric.second) and any(t.name == "correlation" for t in metric.types)
    return moments or pair


def _pair_sums(q: str, first: Column, second: Column, metric: Metric, near: Mapping[str, float]) -> list[str]:
    """The sums that the two-field statistics of one metric need, over rows with both values."""
    names = {statistic.name for statistic in metric.types}
    both = f"{first.sql} IS NOT NULL AND {second.sql} IS NOT NULL"

    def add(name: str, expression: str, when: str = both) -> str:
        return f"CAST(coalesce(sum(CASE WHEN {when} THEN MONA_SIGN * ({expression}) ELSE 0 END), 0) AS DOUBLE) AS {q}_{name}"

    items = [add("n", "1")]
    if "accuracy" in names:
        equal = f"{first.sql} = {second.sql}"
        if first.kind != second.kind:
            numbers = first.numeric_like and second.numeric_like
            kind = "DOUBLE" if numbers else "VARCHAR"
            equal = f"CAST({first.sql} AS {kind}) = CAST({second.sql} AS {kind})"
        items.append(add("equal", "1", f"{both} AND {equal}"))
    if not (first.numeric_like and second.numeric_like):
        return items
    x, y = f"CAST({first.sql} AS DOUBLE)", f"CAST({second.sql} AS DOUBLE)"
    if "correlation" in names:
        dx = f"({x} - {near[first.field]!r}::DOUBLE)"
        dy = f"({y} - {near[second.field]!r}::DOUBLE)"
        for name, a in (
            ("sx", dx),
            ("sy", dy),
            ("sxx", f"{dx} * {dx}"),
            ("syy", f"{dy} * {dy}"),
            ("sxy", f"{dx} * {dy}"),
        ):
            items.append(add(name, a))
    for wanted, name, expression in (
        ({"ratio_of_sums"}, "x", x),
        ({"ratio_of_sums", "weighted_average"}, "y", y),
        ({"weighted_average"}, "xy", f"{x} * {y}"),
        ({"mean_absolute_error"}, "absolute", f"abs({x} - {y})"),
        ({"root_mean_squared_error"}, "squared", f"({x} - {y}) * ({x} - {y})"),
        (
            {"brier"},
            "brier",
            f"({x} - CASE WHEN {y} >= 0.5 THEN 1 ELSE 0 END) * ({x} - CASE WHEN {y} >= 0.5 THEN 1 ELSE 0 END)",
        ),
    ):
        if wanted & names:
            items.append(add(name, expression))
    if "log_loss" in names:
        p = f"least(greatest({x}, 1e-15), 1 - 1e-15)"
        items.append(add("log", f"-CASE WHEN {y} >= 0.5 THEN ln({p}) ELSE ln(1 - {p}) END"))
    if names & {"precision", "recall", "f1"}:
        for name, sign_x, sign_y in (("tp", ">=", ">="), ("fp", ">=", "<"), ("fn", "<", ">=")):
            items.append(add(name, "1", f"{both} AND {x} {sign_x} 0.5 AND {y} {sign_y} 0.5"))
    return items


def _present(column: Column) -> str:
    """SQL: does the row have a value."""
    if column.lists:
        return f"({column.sql} IS NOT NULL OR coalesce(len({column.list_sql}), 0) > 0)"
    return f"{column.sql} IS NOT NULL"


def _net(scan: Scan, column: Column, *, number: bool, binned: bool = False) -> str:
    """A sub-query of net values: keys, ``v`` and ``n``, where n is not 0. Elements of arrays count one by one."""
    value = f"CAST({column.sql} AS DOUBLE)" if number else column.sql
    if column.lists and not number:
        value = f"unnest(CASE WHEN len({column.list_sql}) > 0 THEN {column.list_sql} ELSE [{column.sql}] END)"
    keys = "".join(f"{key}, " for key in scan.keys)
    inner = f"(SELECT {keys}{value} AS v, MONA_SIGN FROM {scan.sql})"
    if binned:
        # Bins of equal relative width on both sides of 0; a bin stands for its middle.
        v = f"sign(v) * pow({BIN_BASE}::DOUBLE, floor(ln(abs(v)) / ln({BIN_BASE}::DOUBLE)) + 0.5)"
        inner = f"(SELECT {keys}CASE WHEN v = 0 THEN 0 ELSE {v} END AS v, MONA_SIGN FROM {inner} WHERE v IS NOT NULL)"
    return (
        f"(SELECT {keys}v, CAST(sum(MONA_SIGN) AS BIGINT) AS n FROM {inner} WHERE v IS NOT NULL "
        f"GROUP BY {keys}v HAVING sum(MONA_SIGN) <> 0)"
    )


def _distinct(
    facts: Facts, scan: Scan, metric: Metric, wanted: Sequence[Statistic], place: Mapping[Key, int]
) -> dict[str, Sequence[Any]]:
    column = facts.column(metric.field)
    number = column.numeric_like and not column.lists
    bounds = ", min(v) AS low, max(v) AS high" if number else ""
    found = _grouped(facts, scan, f"CAST(count(*) AS DOUBLE) AS n{bounds}", _net(scan, column, number=number), place)
    sums: dict[str, Floats] = {k: found[k] for k in ("low", "high") if k in found}
    sums["distinct"] = np.nan_to_num(found["n"])
    answers: dict[str, Sequence[Any]] = {}
    for statistic in wanted:
        assert statistic.compute is not None
        answers[statistic.name] = (
            _plain(statistic.compute(sums)) if number or statistic.any_type else [None] * len(place)
        )
    return answers


def _grouped(facts: Facts, scan: Scan, items: str, source: str, place: Mapping[Key, int]) -> dict[str, Floats]:
    """Columns of an aggregation, in the order of ``place``; NaN for groups that it does not have."""
    keys = ", ".join(scan.keys)
    group = f" GROUP BY {keys}" if keys else ""
    found = facts.arrays(f"SELECT {keys + ', ' if keys else ''}{items} FROM {source}{group}", scan.values)
    rows = [place.get(key, -1) for key in _keys(found, scan)]
    known = np.asarray([i for i, row in enumerate(rows) if row >= 0], np.int64)
    target = np.asarray(rows, np.int64)[known] if len(known) else known
    answer = {}
    for name, column in found.items():
        if name not in scan.keys:
            answer[name] = np.full(len(place), np.nan)
            answer[name][target] = np.asarray(unmasked(column, np.nan), np.float64)[known]
    return answer


def _top(facts: Facts, scan: Scan, metric: Metric, place: Mapping[Key, int]) -> list[list[dict[str, Any]]]:
    column = facts.column(metric.field)
    net = _net(scan, column, number=False)
    partition = f"PARTITION BY {', '.join(scan.keys)} " if scan.keys else ""
    keys = "".join(f"{key}, " for key in scan.keys)
    rows = facts.rows(
        f"SELECT {keys}v, n FROM (SELECT *, row_number() OVER ({partition}ORDER BY n DESC, v) AS place FROM {net}) "
        f"WHERE place <= {TOP_VALUES} ORDER BY {keys}place",
        scan.values,
    )
    answer: list[list[dict[str, Any]]] = [[] for _ in place]
    for row in rows:
        group = place.get(tuple(row[: len(scan.keys)]))
        if group is not None:
            answer[group].append({"value": row[-2], "count": int(row[-1])})
    return answer


def _values_by_group(
    facts: Facts, scan: Scan, source: str, columns: Sequence[str], place: Mapping[Key, int]
) -> list[tuple[int, dict[str, NDArray[Any]]]]:
    """(group, columns) of a sub-query that is ordered by its keys."""
    keys = "".join(f"{key}, " for key in scan.keys)
    found = facts.arrays(f"SELECT {keys}{', '.join(columns)} FROM {source} ORDER BY {keys}{columns[0]}", scan.values)
    length = len(found[columns[0]])
    if not length:
        return []
    stacked = np.stack([np.asarray(found[key], np.int64) for key in scan.keys]) if scan.keys else np.zeros((1, length))
    starts = np.flatnonzero(np.r_[True, (np.diff(stacked, axis=1) != 0).any(axis=0)])
    parts = []
    for low, high in zip(starts, np.r_[starts[1:], length], strict=True):
        group = place.get(tuple(int(found[key][low]) for key in scan.keys))
        if group is not None:
            parts.append((group, {name: np.asarray(found[name][low:high]) for name in columns}))
    return parts


def _quantiles(
    facts: Facts, scan: Scan, metric: Metric, wanted: Sequence[Statistic], place: Mapping[Key, int], *, binned: bool
) -> dict[str, Sequence[Any]]:
    at = np.array([0.25, 0.75, *(s.quantile for s in wanted if s.quantile is not None)])
    answer = np.full((len(place), len(at)), np.nan)
    source = _net(scan, facts.column(metric.field), number=True, binned=binned)
    for group, columns in _values_by_group(facts, scan, source, ("v", "n"), place):
        answer[group] = weighted_quantiles(columns["v"], columns["n"].astype(np.float64), at)
    found: dict[str, Sequence[Any]] = {}
    place_of = 2
    for statistic in wanted:
        if statistic.quantile is None:
            found[statistic.name] = _plain(answer[:, 1] - answer[:, 0])
        else:
            found[statistic.name] = _plain(answer[:, place_of])
            place_of += 1
    return found


def _pairs(scan: Scan, first: Column, second: Column, score: str) -> str:
    """A sub-query of net pairs: keys, ``v`` (from ``score`` over x), ``y`` (is the label positive) and ``n``."""
    keys = "".join(f"{key}, " for key in scan.keys)
    inner = (
        f"(SELECT {keys}CAST({first.sql} AS DOUBLE) AS x, CAST({second.sql} AS DOUBLE) >= 0.5 AS y, MONA_SIGN "
        f"FROM {scan.sql} WHERE {first.sql} IS NOT NULL AND {second.sql} IS NOT NULL)"
    )
    return (
        f"(SELECT {keys}{score} AS v, y, CAST(sum(MONA_SIGN) AS BIGINT) AS n, sum(MONA_SIGN * x) AS total "
        f"FROM {inner} GROUP BY {keys}{score}, y HAVING sum(MONA_SIGN) <> 0)"
    )


def _curve(facts: Facts, scan: Scan, metric: Metric, place: Mapping[Key, int], *, binned: bool) -> Sequence[Any]:
    assert metric.second is not None
    score = "round(x, 4)" if binned else "x"
    source = _pairs(scan, facts.column(metric.field), facts.column(metric.second), score)
    answer = np.full(len(place), np.nan)
    for group, columns in _values_by_group(facts, scan, source, ("v", "y", "n"), place):
        answer[group] = area_under_curve(columns["v"], columns["y"].astype(bool), columns["n"].astype(np.float64))
    return _plain(answer)


def _calibration(facts: Facts, scan: Scan, metric: Metric, place: Mapping[Key, int]) -> Sequence[Any]:
    """Σ over bins of (bin size / size)·|mean score - share of positives|."""
    assert metric.second is not None
    score = f"least(greatest(floor(x * {CALIBRATION_BINS}), 0), {CALIBRATION_BINS - 1})"
    source = _pairs(scan, facts.column(metric.field), facts.column(metric.second), score)
    answer = np.full(len(place), np.nan)
    for group, columns in _values_by_group(facts, scan, source, ("v", "y", "n", "total"), place):
        bins = columns["v"].astype(np.int64)
        n = columns["n"].astype(np.float64)
        gap = np.bincount(bins, columns["total"]) - np.bincount(bins, n * columns["y"].astype(bool))
        answer[group] = float(np.abs(gap).sum() / n.sum())
    return _plain(answer)


def _keys(found: Mapping[str, Any], scan: Scan) -> list[Key]:
    if not scan.keys:
        return [()] * len(next(iter(found.values()), ()))
    return list(zip(*(np.asarray(found[key], np.int64).tolist() for key in scan.keys), strict=True))


def _plain(column: Any) -> list[float | None]:
    """Python numbers, None for NaN and infinities; whole counts stay whole."""
    return [value if np.isfinite(value) else None for value in np.asarray(column, np.float64).tolist()]


def no_metric(facts: Facts) -> BadRequest:
    """Why a default metric cannot be found."""
    return BadRequest("the class has no numeric field", hint=f"its fields are {', '.join(facts.columns) or 'none yet'}")
