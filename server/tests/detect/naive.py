"""The naive twin: every formula row by row with numpy, one segment after the other, as the specification words it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.parameters import period_ms
from mona_server.detect.verses import Verse
from mona_server.segment import Equals, Segment

DAY_MS = 86_400_000
Mask = NDArray[np.bool_]


@dataclass
class Rows:
    """A small table: texts with None, numbers with NaN."""

    time: NDArray[np.int64]
    texts: dict[str, list[str | None]]
    numbers: dict[str, NDArray[np.float64]]


@dataclass
class Numbers:
    """What a signal carries."""

    value: float
    benchmark: float
    std: float | None
    level: float
    size: float
    ratio: float


def expected(rows: Rows, verse: Verse, at_ms: int) -> dict[tuple[str, str | None], Numbers]:
    """(segment text, metric) → numbers, for all segments with a level."""
    found = {}
    for segment, inside in _segments(rows, verse):
        for metric in verse.metrics or (None,):
            if segment and metric in segment.fields:
                continue
            if segment and inside[_windows(rows, verse, at_ms)].all():
                continue  # the same contexts as the baseline
            numbers = _numbers(rows, verse, at_ms, inside, rows.numbers.get(metric or ""), bool(segment))
            if numbers is not None and not np.isnan(numbers.level):
                found[segment.text, metric] = numbers
    return found


def _segments(rows: Rows, verse: Verse) -> Iterator[tuple[Segment, Mask]]:
    everybody = np.ones(len(rows.time), dtype=bool)
    if verse.type.with_baseline:
        yield Segment(), everybody
    fields = [axis.field for axis in verse["segment_by"]]
    for depth in range(1, verse["max_segment_depth"] + 1):
        for chosen in combinations(fields, depth):
            for values in product(*(sorted(set(rows.texts[f]), key=str) for f in chosen)):
                inside = everybody.copy()
                for field, value in zip(chosen, values, strict=True):
                    inside &= np.array([v == value for v in rows.texts[field]])
                yield Segment.of({f: Equals(v) for f, v in zip(chosen, values, strict=True)}), inside


def _windows(rows: Rows, verse: Verse, at: int) -> Mask:
    """Rows in any of the windows."""
    if verse.type.family == "Drift":
        latest = verse["benchmark_set_period_type"] == "latest"
        target, benchmark = period_ms(verse["target_set_period"]), period_ms(verse["benchmark_set_period"])
        length = max(target, benchmark) if latest else target + benchmark
    elif verse.type.family == "SuddenChange":
        length = verse["time_series_points"] * period_ms(verse["time_resolution"])
    else:
        length = period_ms(verse["time_period"])
    begin = at - length
    if verse.type.family == "SuddenChange":
        start = int(rows.time.min()) // 3_600_000 * 3_600_000
        while begin < start:
            begin += period_ms(verse["time_resolution"])
    return (rows.time >= begin) & (rows.time < at)


def _numbers(
    rows: Rows, verse: Verse, at: int, inside: Mask, x: NDArray[np.float64] | None, is_segment: bool
) -> Numbers | None:
    family, statistic = verse.type.family, str(verse.type.statistic)
    time = rows.time
    if family == "Drift":
        target_from = at - period_ms(verse["target_set_period"])
        target = (time >= target_from) & (time < at)
        until = at if verse["benchmark_set_period_type"] == "latest" else target_from
        benchmark = (time >= until - period_ms(verse["benchmark_set_period"])) & (time < until)
        return _drift(verse, at, time, inside, x, target, benchmark, until)
    if family in ("Outlier", "Threshold"):
        window = (time >= at - period_ms(verse["time_period"])) & (time < at)
        if not window.any():
            return None
        size = float((inside & window).sum())
        sizes = (size, size / window.sum())
        if family == "Threshold":
            value, n = _statistic(statistic, inside & window, x)
            whole, _ = _statistic(statistic, window, x)
            limit = verse["threshold"]
            if n < 2 or not value > limit:
                return None
            benchmark_value = whole if whole > limit and is_segment else limit
            return Numbers(value, benchmark_value, None, abs(value - benchmark_value), *sizes)
        return _outlier(statistic, inside & window, window, x, sizes)
    return _sudden(verse, at, time, inside, x)


def _drift(
    verse: Verse,
    at: int,
    time: NDArray[np.int64],
    inside: Mask,
    x: NDArray[np.float64] | None,
    target: Mask,
    benchmark: Mask,
    until: int,
) -> Numbers | None:
    nt, nb, wt, wb = (float(m.sum()) for m in (inside & target, inside & benchmark, target, benchmark))
    if not wt or not wb or not nt + nb or nt < 1 or nb < 1:
        return None
    sizes = (nt + nb, (nt * nt / wt + nb * nb / wb) / (nt + nb))
    statistic = str(verse.type.statistic)
    if statistic in ("sum", "size"):
        width = period_ms(verse["time_resolution"])
        series = []
        weights = np.ones(len(time)) if x is None else np.nan_to_num(x)
        have = np.ones(len(time), dtype=bool) if x is None else ~np.isnan(x)
        if (inside & have & target).sum() < 2 or (inside & have & benchmark).sum() < 2:
            return None
        start = int(time.min()) // 3_600_000 * 3_600_000
        points: dict[str, list[float]] = {"t": [], "b": []}
        for k in range(1, 1 + (at - until + period_ms(verse["benchmark_set_period"])) // width):
            begin = at - k * width
            if begin < start:
                break
            frame = (time >= begin) & (time < begin + width)
            number = float(weights[frame & inside].sum())
            series.append(number)
            points["t" if begin >= at - period_ms(verse["target_set_period"]) else "b"].append(number)
        if not points["b"]:
            return None
        return _ratio(float(np.mean(points["t"])), float(np.mean(points["b"])), float(np.std(series)), sizes)
    assert x is not None
    if statistic == "existence ratio":
        x = (~np.isnan(x)).astype(float)
    have = ~np.isnan(x)
    t, b, both = (x[inside & have & m] for m in (target, benchmark, target | benchmark))
    if len(t) < 2 or len(b) < 2:
        return None
    if statistic == "std":
        return _ratio(float(t.std()), float(b.std()), float(both.std()), sizes)
    return _ratio(float(t.mean()), float(b.mean()), float(both.std()), sizes)


def _outlier(
    statistic: str, inside: Mask, window: Mask, x: NDArray[np.float64] | None, sizes: tuple[float, float]
) -> Numbers | None:
    assert x is not None
    if statistic == "existence ratio":
        x = (~np.isnan(x)).astype(float)
    own, whole = x[inside & ~np.isnan(x)], x[window & ~np.isnan(x)]
    if len(own) < 2:
        return None
    if statistic == "std":
        return _ratio(float(own.std()), float(whole.std()), float(whole.std()), sizes)
    return _ratio(float(own.mean()), float(whole.mean()), float(whole.std()), sizes)


def _sudden(
    verse: Verse, at: int, time: NDArray[np.int64], inside: Mask, x: NDArray[np.float64] | None
) -> Numbers | None:
    width, statistic = period_ms(verse["time_resolution"]), str(verse.type.statistic)
    start = int(time.min()) // 3_600_000 * 3_600_000
    begins = [at - k * width for k in range(verse["time_series_points"], 0, -1)]
    begins = [b for b in begins if b >= start]
    series, have = [], 0
    for begin in begins:
        frame = inside & (time >= begin) & (time < begin + width)
        number, n = _statistic(statistic, frame, x)
        series.append(number)
        have += n
    if not begins or have < 2:
        return None
    last_frame = inside & (time >= begins[-1]) & (time < at)
    window = (time >= begins[0]) & (time < at)
    size = float((inside & window).sum())
    if last_frame.sum() < verse["min_culprit_size"] or not window.sum():
        return None
    good = np.array([v for v in series if not np.isnan(v)])
    last = series[-1]
    if len(good) < max(5, len(begins) / 2) or np.isnan(last):
        return None
    top, bottom = np.percentile(good, verse["percentile"]), np.percentile(good, 100 - verse["percentile"])
    if bottom <= last <= top:
        return None
    limit = float(top if last > top else bottom)
    return _ratio(last, limit, abs(limit - float(np.median(good))), (size, size / window.sum()))


def _statistic(statistic: str, rows: Mask, x: NDArray[np.float64] | None) -> tuple[float, int]:
    if statistic == "size" or x is None:
        return float(rows.sum()), int(rows.sum())
    if statistic == "existence ratio":
        return (float((~np.isnan(x[rows])).mean()) if rows.any() else np.nan), int(rows.sum())
    values = x[rows & ~np.isnan(x)]
    if statistic == "sum":
        return float(values.sum()), len(values)
    if not len(values):
        return np.nan, 0
    return float(values.std() if statistic == "std" else values.mean()), len(values)


def _ratio(value: float, benchmark: float, std: float, sizes: tuple[float, float]) -> Numbers:
    distance = abs(value - benchmark)
    level = distance / std if std else (1e9 if distance else 0.0)
    return Numbers(value, benchmark, std, level, *sizes)


def close(a: float | None, b: float | None, spread: float = 0.0) -> bool:
    """Equal to rounding; sums leave 1e-8 of the metric's ``spread`` in a spread that is far smaller than it."""
    if a is None or b is None:
        return a is b
    return bool(np.isclose(a, b, rtol=1e-9, atol=max(1e-9, 1e-8 * spread)))
