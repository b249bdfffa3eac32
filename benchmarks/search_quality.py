"""How often the search speaks when nothing happened, and how small a change it finds.

    python -m benchmarks search_quality -- [--sets 40] [--fields 20] [--values 40] [--rows 50000] [--seeds 5]

Unchanged sets: skewed fields, a heavy-tailed metric, days that are noisy for everybody, 8 weeks. Power: 100,000 judged
rows (400,000 in all, 8 fields of 10 values), a shift in one two-way segment of about the given share; "found" means
exactly this segment and nothing else. All verses with their defaults but no least level, depth 2.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.search import search
from mona_server.detect.signal import SearchResult
from mona_server.detect.source import SourceQuestion
from mona_server.detect.table_source import Coded, Column, TableSource
from mona_server.detect.verses import VERSES, resolve

DAY_MS = 86_400_000
START_MS = 19_723 * DAY_MS  # a Monday
DAYS, TARGET = 56, 14
VERSE_TYPES = ("AverageDrift", "SumDrift", "SegmentSizeDrift", "AverageOutlier", "AverageSuddenChange", "NewSegments")
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05)
SHIFTS = (0.1, 0.2, 0.3, 0.5, 1.0)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="search_quality")
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--fields", type=int, default=20)
    parser.add_argument("--values", type=int, default=40)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(argv)
    if options.sets:
        print(
            f"{options.sets} unchanged sets of {options.fields} fields x {options.values} values, {options.rows} rows:"
        )
        for name in VERSE_TYPES:
            began = time.perf_counter()
            spoke = sum(
                bool(_run(*_world(seed, options.rows, options.fields, options.values, name), name).findings)
                for seed in range(options.sets)
            )
            each = (time.perf_counter() - began) / options.sets
            print(
                f"  {name:22s} {spoke:3d} with a finding ({spoke / options.sets:5.1%}), {each:.1f} s a set", flush=True
            )
    if options.seeds:
        print(f"share found, of {options.seeds} seeds; columns are shifts in standard deviations:")
        print("  share  " + "".join(f"{shift:7.1f}" for shift in SHIFTS))
        for share in SHARES:
            found = [sum(_finds(seed, share, shift) for seed in range(options.seeds)) for shift in SHIFTS]
            print(f"  {share:6.2%} " + "".join(f"{f / options.seeds:7.0%}" for f in found), flush=True)


def _world(
    seed: int, rows: int, fields: int, values: int, verse: str = ""
) -> tuple[dict[str, Column], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    weight = np.exp(0.05 * rng.standard_normal(DAYS))
    day = rng.choice(DAYS, rows, p=weight / weight.sum())
    level = 0.1 * rng.standard_normal(DAYS)[day]
    columns: dict[str, Column] = {}
    for j in range(fields):
        p = 1 / (1 + np.arange(values)) ** 0.5
        code = rng.choice(values, rows, p=p / p.sum()).astype(np.int32)
        columns[f"f{j}"] = Coded(code, tuple(f"v{i}" for i in range(values)))
        # Segments that differ from everybody all the time are outliers, so there they do not.
        level = level + (0.0 if verse == "AverageOutlier" else 0.1) * rng.standard_normal(values)[code]
    columns["m"] = 10 + level + rng.standard_t(5, rows)
    return columns, START_MS + day * DAY_MS + rng.integers(0, DAY_MS, rows)


def _run(columns: dict[str, Column], time_ms: NDArray[np.int64], type_name: str) -> SearchResult:
    fields = [name for name in columns if name != "m"]
    given: dict[str, Any] = {"segment_by": fields, "min_anomaly_level": 0, "max_segment_depth": 2}
    given |= {"metrics": ["m"]} if VERSES[type_name].has_metrics else {}
    verse, problems = resolve(VERSES[type_name], given, context_class="C", stanza="s")
    assert verse is not None, problems

    def source(question: SourceQuestion) -> TableSource:
        return TableSource(columns, time_ms, question)

    now = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=DAYS, minutes=30)
    return search(verse, source, now, data_start_ms=START_MS)


def _finds(seed: int, share: float, shift: float) -> bool:
    columns, time_ms = _world(1000 + seed, 400_000, 8, 10)
    first, second, values = columns["f0"], columns["f1"], columns["m"]
    assert isinstance(first, Coded)
    assert isinstance(second, Coded)
    assert isinstance(values, np.ndarray)
    counts = np.bincount(first.codes * 10 + second.codes, minlength=100) / len(time_ms)
    a, b = divmod(int(np.argmin(np.abs(counts - share))), 10)
    inside = (first.codes == a) & (second.codes == b) & (time_ms >= START_MS + (DAYS - TARGET) * DAY_MS)
    columns["m"] = np.where(inside, values + shift * values.std(), values)
    expected = f'{{"f0": [{{"value": "v{a}"}}], "f1": [{{"value": "v{b}"}}]}}'
    return [signal.segment.text for signal in _run(columns, time_ms, "AverageDrift").signals] == [expected]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
