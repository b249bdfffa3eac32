"""How often the search speaks when nothing happened, and how small a change it finds.

    python -m benchmarks search_quality -- [--sets 40] [--fields 20] [--values 40] [--rows 50000] [--worlds plain]
        [--verses all] [--seeds 5] [--readings] [--pictures docs/images]

Unchanged sets: all verse types that pass the second gate, 8 weeks, segments of at least 0.1 % of the rows (so that hardly a
test is wasted on what is too small), no least level, depth 2. ``worlds`` are kinds of noise, see :func:`unchanged`. Power:
100,000 judged rows of 400,000, 8 fields of 10 values, a shift in one two-way segment of about the given share; "found"
means exactly this segment and nothing else. Pictures: calibration and power as SVG (``search_pictures.py``).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import search_pictures
from mona_server.detect.search import search
from mona_server.detect.signal import SearchResult
from mona_server.detect.source import SourceQuestion
from mona_server.detect.table_columns import Coded, Column
from mona_server.detect.table_source import TableSource
from mona_server.detect.verses import VERSES, resolve

DAY_MS = 86_400_000
START_MS = 19_723 * DAY_MS  # a Monday
DAYS, TARGET = 56, 14
UNTESTED = (
    "StandardDeviationThreshold",
    "SumThreshold",
    "SegmentSizeThreshold",
)
"""Facts rather than estimates: no chance is asked for."""
TESTED = tuple(name for name in VERSES if name not in UNTESTED)
WORLDS = ("plain", "heavy", "lognormal", "autocorrelated", "correlated", "baskets", "own_days")
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05)
SHIFTS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0)
READINGS = (
    ("100,000 rows, 2 of 8 weeks judged", 100_000, 14),
    ("100,000 rows, 4 of 8 weeks judged", 100_000, 28),
    ("200,000 rows, 4 of 8 weeks (100,000) judged", 200_000, 28),
    ("400,000 rows, 2 of 8 weeks (100,000) judged", 400_000, 14),
)
"""Ways to read "0.3 sd in 0.5 % of 100,000 rows": rows in all, days judged."""

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Table:
    columns: dict[str, Column]
    time_ms: Times

    def source(self, question: SourceQuestion) -> TableSource:
        columns = {**self.columns, "MONA_TIMESTAMP": np.asarray(self.time_ms, np.float64)}
        return TableSource(columns, self.time_ms, question)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="search_quality")
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--fields", type=int, default=20)
    parser.add_argument("--values", type=int, default=40)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--worlds", default="plain", help=f"some of {','.join(WORLDS)}")
    parser.add_argument("--verses", default="all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--readings", action="store_true", help="the small shift under four readings")
    parser.add_argument("--pictures", type=Path, help="folder for calibration.svg and power.svg")
    options = parser.parse_args(argv)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    names = TESTED if options.verses == "all" else tuple(options.verses.split(","))
    if options.sets:
        for kind in options.worlds.split(","):
            best = _silence(kind, names, options)
            if options.pictures and kind == "plain":
                search_pictures.calibration(best, options.pictures / "calibration.svg")
    if options.seeds:
        found = _power(options.seeds)
        if options.pictures:
            search_pictures.power(found, options.pictures / "power.svg")
    if options.readings:
        for text, rows, judged in READINGS:
            hits = sum(_finds(seed, 0.005, 0.3, rows, judged) for seed in range(2 * options.seeds))
            print(f"  0.3 sd in 0.5 %: {text}: found in {hits} of {2 * options.seeds}", flush=True)


def _silence(kind: str, names: tuple[str, ...], options: argparse.Namespace) -> dict[str, list[float]]:
    """Print how many sets have a finding; per verse the smallest q of each set."""
    print(f"{options.sets} unchanged sets ({kind}), {options.fields} fields x {options.values}, {options.rows} rows:")
    best: dict[str, list[float]] = {}
    began = time.process_time()
    for name in names:
        began_verse, spoke, best[name] = time.process_time(), 0, []
        for seed in range(options.sets):
            result = _run(unchanged(seed, options.rows, options.fields, options.values, kind, name), name)
            # A hard limit that everybody violates needs no evidence, and counts for none.
            spoke += any(signal.chance.q_value is not None for signal in result.signals)
            asked = [s.chance.q_value for s in (*result.signals, *result.held_back) if s.chance.q_value is not None]
            best[name].append(min(asked, default=1.0))
        each = (time.process_time() - began_verse) / options.sets
        print(f"  {name:28s} {spoke:3d} ({spoke / options.sets:5.1%}), {each:.2f} CPU s a set", flush=True)
    print(f"  together {(time.process_time() - began) / 60:.1f} CPU minutes", flush=True)
    return best


def _power(seeds: int) -> dict[float, list[float]]:
    """Print and return the share of seeds in which a shift is found: share of the rows → one number per shift."""
    print(f"share found, of {seeds} seeds; columns are shifts in standard deviations:")
    print("  share  " + "".join(f"{shift:7.2f}" for shift in SHIFTS))
    found = {}
    for share in SHARES:
        found[share] = [sum(_finds(seed, share, shift) for seed in range(seeds)) / seeds for shift in SHIFTS]
        print(f"  {share:6.2%} " + "".join(f"{rate:7.0%}" for rate in found[share]), flush=True)
    return found


def unchanged(seed: int, rows: int, fields: int, values: int, kind: str = "plain", verse: str = "") -> Table:
    """Skewed fields, a metric with heavy tails, days that are noisy for everybody; nothing changes.

    ``kind``: *heavy* (t with 2.5 degrees of freedom), *lognormal* values, *autocorrelated* days, *correlated* fields,
    *baskets* (ten rows of one day share a household, and half of the fields), *own_days* (values of some fields have days
    of their own). ``verse``: segments that differ all the time, in mean or size, are outliers, so for those they do not.
    """
    rng = np.random.default_rng(seed)
    spread = 0.0 if VERSES[verse or "AverageDrift"].family in ("Outlier", "Threshold") else 0.1
    shock, weight = 0.1 * rng.standard_normal(DAYS), 0.05 * rng.standard_normal(DAYS)
    if kind == "autocorrelated":
        shock, weight = 2 * _memory(shock), 2 * _memory(weight)
    share = np.exp(weight) / np.exp(weight).sum()
    households = rows // 10
    household = rng.integers(0, households, rows)
    day = rng.choice(DAYS, households, p=share)[household] if kind == "baskets" else rng.choice(DAYS, rows, p=share)
    level = shock[day] + (0.5 * rng.standard_normal(households)[household] if kind == "baskets" else 0.0)
    columns: dict[str, Column] = {}
    p = 1 / (1 + np.arange(values)) ** (0.0 if verse == "SegmentSizeOutlier" else 0.5)
    code = np.zeros(rows, np.int32)
    for j in range(fields):
        before = code
        code = rng.choice(values, rows, p=p / p.sum()).astype(np.int32)
        if kind == "correlated" and j % 3:
            code = np.where(rng.random(rows) < 0.6, before, code)
        if kind == "baskets" and j % 2 == 0:
            code = rng.choice(values, households, p=p / p.sum()).astype(np.int32)[household]
        columns[f"f{j}"] = Coded(code, tuple(f"v{i}" for i in range(values)))
        level = level + spread * rng.standard_normal(values)[code]
        if kind == "own_days" and j < 4:
            level = level + 0.15 * rng.standard_normal((values, DAYS))[code, day]
    match kind:
        case "heavy":
            noise = rng.standard_t(2.5, rows)
        case "lognormal":
            noise = np.exp(1.2 * rng.standard_normal(rows))
            noise -= noise.mean()
        case _:
            noise = rng.standard_t(5, rows)
    metric = np.asarray(10 + level + noise, np.float64)
    columns["m"] = metric
    present = rng.random(rows) < 0.7 + 0.1 * np.tanh(5 * shock[day])
    columns["sometimes"] = np.where(present, metric, np.nan)
    newer = rng.random(rows) < np.clip((day - 37) / 9, 0, 1)
    columns["version"] = Coded(newer.astype(np.int32), ("v1", "v2"))
    return Table(columns, START_MS + day * DAY_MS + rng.integers(0, DAY_MS, rows))


def _memory(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """An autoregressive series (0.6) from independent days."""
    out = days.copy()
    for k in range(1, len(days)):
        out[k] = 0.6 * out[k - 1] + 0.8 * days[k]
    return out


def _run(table: Table, name: str, *, judged: int = TARGET) -> SearchResult:
    fields = [field for field in table.columns if field.startswith("f")]
    given: dict[str, Any] = {"segment_by": fields, "min_anomaly_level": 0}
    given["max_segment_depth"] = 1 if name == "DistributionDrift" else 2
    given["min_segment_size"] = len(table.time_ms) // 1000 if name != "NewSegments" else 1
    if VERSES[name].has_metrics:
        given["metrics"] = ["sometimes" if name.startswith("ExistenceRatio") else "m"]
    if name.endswith("Threshold"):
        # A little beyond everybody: segments differ from it by chance.
        given |= {"threshold": 0.75 if name.startswith("ExistenceRatio") else 10.1, "time_period": "2w"}
    if name == "AverageDriftAcrossVersions":
        given["version_field"] = "version"
    if judged != TARGET:
        given |= {"target_set_period": f"{judged}d", "benchmark_set_period": f"{DAYS - judged}d"}
    verse, problems = resolve(VERSES[name], given, context_class="C", stanza="s")
    assert verse is not None, problems
    now = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=DAYS, minutes=30)
    return search(verse, table.source, now, data_start_ms=START_MS)


def _finds(seed: int, share: float, shift: float, rows: int = 400_000, judged: int = TARGET) -> bool:
    table = unchanged(1000 + seed, rows, 8, 10)
    first, second, values = table.columns["f0"], table.columns["f1"], table.columns["m"]
    assert isinstance(first, Coded)
    assert isinstance(second, Coded)
    assert isinstance(values, np.ndarray)
    counts = np.bincount(first.codes * 10 + second.codes, minlength=100) / rows
    a, b = divmod(int(np.argmin(np.abs(counts - share))), 10)
    inside = (first.codes == a) & (second.codes == b) & (table.time_ms >= START_MS + (DAYS - judged) * DAY_MS)
    table.columns["m"] = np.where(inside, values + shift * values.std(), values)
    expected = f'{{"f0": [{{"value": "v{a}"}}], "f1": [{{"value": "v{b}"}}]}}'
    found = _run(table, "AverageDrift", judged=judged).signals
    return [signal.segment.text for signal in found] == [expected]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
