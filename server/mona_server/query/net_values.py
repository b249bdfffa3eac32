"""Statistics that are no sums: from the net values of each group, those whose signs do not add up to 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats
from mona_server.query.axes import LONGEST_VALUE
from mona_server.query.engines.duckdb import unmasked
from mona_server.query.facts import Column, Facts
from mona_server.query.scan import Key, Metric, Scan, keys_of, plain
from mona_server.query.statistics import (
    CALIBRATION_BINS,
    TOP_VALUES,
    Statistic,
    area_under_curve,
    weighted_quantiles,
)

BIN_BASE = 1.002
"""Beyond :data:`mona_server.query.measure.EXACT_ROWS`, values are rounded to bins of this relative width."""


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


def distinct(
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
            plain(statistic.compute(sums)) if number or statistic.any_type else [None] * len(place)
        )
    return answers


def _grouped(facts: Facts, scan: Scan, items: str, source: str, place: Mapping[Key, int]) -> dict[str, Floats]:
    """Columns of an aggregation, in the order of ``place``; NaN for groups that it does not have."""
    keys = ", ".join(scan.keys)
    group = f" GROUP BY {keys}" if keys else ""
    found = facts.arrays(f"SELECT {keys + ', ' if keys else ''}{items} FROM {source}{group}", scan.values)
    rows = [place.get(key, -1) for key in keys_of(found, scan)]
    known = np.asarray([i for i, row in enumerate(rows) if row >= 0], np.int64)
    target = np.asarray(rows, np.int64)[known] if len(known) else known
    answer = {}
    for name, column in found.items():
        if name not in scan.keys:
            answer[name] = np.full(len(place), np.nan)
            answer[name][target] = np.asarray(unmasked(column, np.nan), np.float64)[known]
    return answer


def top(facts: Facts, scan: Scan, metric: Metric, place: Mapping[Key, int]) -> list[list[dict[str, Any]]]:
    column = facts.column(metric.field)
    net = _net(scan, column, number=False)
    partition = f"PARTITION BY {', '.join(scan.keys)} " if scan.keys else ""
    keys = "".join(f"{key}, " for key in scan.keys)
    value = f"CASE WHEN len(v) > {LONGEST_VALUE} THEN left(v, {LONGEST_VALUE}) || '…' ELSE v END"
    rows = facts.rows(
        f"SELECT {keys}{value if column.sql_type == 'VARCHAR' else 'v'} AS v, n FROM (SELECT *, row_number() OVER ({partition}ORDER BY n DESC, v) AS place FROM {net}) "
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


def numbers(
    facts: Facts, scan: Scan, metric: Metric, wanted: Sequence[Statistic], place: Mapping[Key, int]
) -> Mapping[str, Sequence[Any]]:
    """Quantiles, extremes, number and largest of the values of a number, from one pass."""
    answer: dict[str, list[Any]] = {s.name: [[] if s.need == "top" else None] * len(place) for s in wanted}
    if "distinct_count" in answer:
        answer["distinct_count"] = [0.0] * len(place)
    source = _net(scan, facts.column(metric.field), number=True)
    for group, columns in _values_by_group(facts, scan, source, ("v", "n"), place):
        v, n = columns["v"], columns["n"].astype(np.float64)
        low, high = weighted_quantiles(v, n, np.array([0.25, 0.75]))
        for statistic in wanted:
            value: Any = {"min": v[0], "max": v[-1], "distinct_count": len(v), "interquartile_range": high - low}.get(
                statistic.name
            )
            if statistic.quantile is not None:
                value = weighted_quantiles(v, n, np.array([statistic.quantile]))[0]
            if statistic.need == "top":
                order = np.lexsort((v, -n))[:TOP_VALUES]
                answer[statistic.name][group] = [{"value": float(v[i]), "count": int(n[i])} for i in order]
            else:
                answer[statistic.name][group] = float(value)
    return answer


def quantiles(
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
            found[statistic.name] = plain(answer[:, 1] - answer[:, 0])
        else:
            found[statistic.name] = plain(answer[:, place_of])
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


def curve(facts: Facts, scan: Scan, metric: Metric, place: Mapping[Key, int], *, binned: bool) -> Sequence[Any]:
    assert metric.second is not None
    score = "round(x, 4)" if binned else "x"
    source = _pairs(scan, facts.column(metric.field), facts.column(metric.second), score)
    answer = np.full(len(place), np.nan)
    for group, columns in _values_by_group(facts, scan, source, ("v", "y", "n"), place):
        answer[group] = area_under_curve(columns["v"], columns["y"].astype(bool), columns["n"].astype(np.float64))
    return plain(answer)


def calibration(facts: Facts, scan: Scan, metric: Metric, place: Mapping[Key, int]) -> Sequence[Any]:
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
    return plain(answer)
