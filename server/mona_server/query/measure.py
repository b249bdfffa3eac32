"""Sizes and statistics of groups of rows: the one way in which pages and endpoints get their numbers.

A :class:`Scan` is a sub-query with integer key columns; each combination of keys is a group. Sums take one pass
over all metrics; what is no sum takes one pass per field, over net values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mona_server.detect.source import centre
from mona_server.query import net_values
from mona_server.query.engines.duckdb import unmasked
from mona_server.query.facts import Column, Facts
from mona_server.query.requests import Reading
from mona_server.query.scan import Key, Metric, Scan, keys_of, plain, present_sql
from mona_server.query.statistics import STATISTICS, find

EXACT_ROWS = 1_000_000
"""Up to so many contexts, quantiles and AUC come from the values themselves, beyond from bins of 0.2 % width."""


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
    keys = keys_of(found, scan)
    size = np.asarray(found["size"], np.float64)
    there = np.flatnonzero(size > 0)
    chosen = [keys[i] for i in there.tolist()]
    place = {key: i for i, key in enumerate(chosen)}
    exact = True
    answers = []
    for m, metric in enumerate(metrics):
        columns: dict[str, Sequence[Any]] = {}
        asked = list(metric.types)
        binned = float(found[f"m{m}_n"].sum()) > EXACT_ROWS
        if not binned and any(s.need == "quantiles" for s in asked) and facts.column(metric.field).kind == "numeric":
            # One pass over the values serves all that need them.
            together = [s for s in asked if s.need in ("quantiles", "distinct", "top")]
            columns.update(net_values.numbers(facts, scan, metric, together, place))
            asked = [s for s in asked if s not in together]
        for need in dict.fromkeys(statistic.need for statistic in asked):
            wanted = [statistic for statistic in asked if statistic.need == need]
            if need in ("moments", "pairs"):
                prefix = f"m{m}_" if need == "moments" else f"q{m}_"
                sums = {k.removeprefix(prefix): v[there] for k, v in found.items() if k.startswith(prefix)}
                sums["size"] = size[there]
                for statistic in wanted:
                    assert statistic.compute is not None
                    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is undefined
                        columns[statistic.name] = plain(statistic.compute(sums))
            elif need == "distinct":
                columns.update(net_values.distinct(facts, scan, metric, wanted, place))
            elif need == "top":
                columns["top_values"] = net_values.top(facts, scan, metric, place)
            elif need == "quantiles":
                exact &= not binned
                columns.update(net_values.quantiles(facts, scan, metric, wanted, place, binned=binned))
            elif need == "curve":
                coarse = float(found[f"q{m}_n"].sum()) > EXACT_ROWS
                exact &= not coarse
                columns["auc"] = net_values.curve(facts, scan, metric, place, binned=coarse)
            else:
                columns["calibration_error"] = net_values.calibration(facts, scan, metric, place)
        columns["count"] = [round(n) for n in found[f"m{m}_n"][there].tolist()]
        order = dict.fromkeys(("count", *(statistic.name for statistic in metric.types)))
        answers.append({key: {name: columns[name][i] for name in order} for i, key in enumerate(chosen)})
    return Measured({key: round(float(size[i])) for key, i in zip(chosen, there, strict=True)}, tuple(answers), exact)


def offsets(facts: Facts, scan: Scan, columns: Sequence[Column]) -> list[float]:
    """The offset of each numeric column, from its first 10,000 values."""
    found = []
    for column in columns:
        x = facts.arrays(
            f"SELECT CAST({column.sql} AS DOUBLE) AS x FROM {scan.sql} WHERE isfinite(CAST({column.sql} AS DOUBLE)) LIMIT 10000",
            scan.values,
        )["x"]
        with np.errstate(over="ignore", invalid="ignore"):
            found.append(centre(float(x.mean()), float(x.std())) if len(x) else 0.0)
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
        there = f"CASE WHEN {present_sql(column)} THEN {s} ELSE 0 END"
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
