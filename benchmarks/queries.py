"""What pages and endpoints ask, beside the same number from plain DuckDB over the same files.

    python -m benchmarks queries -- [--rows 1000000] [--days 70] [--rounds 5]

The plain query knows nothing of corrections, time zones or missing frames: it is the floor. Both run in turns in one
process; the table has the median and the slowest of the rounds, and how many times the floor the median is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.search_speed import DAY_MS, FIRST_DAY, open_facts, write_facts
from mona_server.query import service
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.reader import Dataset
from mona_server.settings import Engine


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="queries", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="contexts")
    parser.add_argument("--days", type=int, default=70)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(argv)
    given.axes, given.values, given.fields, given.metrics = 6, 200, 20, 3
    with tempfile.TemporaryDirectory() as folder:
        data = write_facts(Path(folder) / "facts", given)
        engine = DuckEngine(Engine(memory="2GB"))
        dataset = Dataset("T", "C", open_facts(data, given, engine))
        print(f"{given.rows:,} contexts, {given.days} days; seconds")
        print(f"{'':34} {'median':>8} {'slowest':>8} {'floor':>8} {'x floor':>8}")
        for name, (ask, sql) in _questions(dataset, given).items():
            _measure(name, ask, sql.replace("FACTS", f"'{data}/*.parquet'"), given.rounds)
        engine.close()


def _questions(dataset: Dataset, given: Any) -> dict[str, tuple[Callable[[], Any], str]]:
    """Name → (what is asked, the plain query)."""
    day_s = DAY_MS // 1000
    start, end = FIRST_DAY * day_s, (FIRST_DAY + given.days) * day_s
    window = {"from": start, "to": end}
    one = {"s0": [{"value": "value 003 of 0"}]}
    where = "WHERE s0 = 'value 003 of 0'"
    split = (FIRST_DAY + given.days - 14) * DAY_MS
    sides = {"target_time_range": [split // 1000, end], "compared_time_range": [start, split // 1000]}
    dimension = {
        **sides,
        "dimension": "s0",
        "metric_1_field": "x0",
        "metric_1_type": "average",
        "metric_2_field": "x1",
        "metric_2_type": "std",
        "min_segment_size": 1,
        "sort_function": "SIZE_TOP",
    }

    def segment(**more: Any) -> Callable[[], Any]:
        body = {**window, "requested_segments": [one], **more}
        return lambda: service.get_segment(dataset, service.SegmentRequest.parse(dataset, body))

    def contexts() -> Any:
        return service.list_contexts(dataset, service.ContextsRequest.parse(dataset, {"limit": 50}))

    def dimensions() -> Any:
        return service.get_segments_for_dimensions(dataset, service.DimensionsRequest.parse(dataset, dimension))

    return {
        "overview of a class": (
            lambda: service.overview(dataset),
            'SELECT count(*), min("MONA_TIMESTAMP"), max("MONA_TIMESTAMP") FROM FACTS',
        ),
        "a segment: size, average, std": (
            segment(metrics=[{"field": "x1", "types": ["average", "std"]}]),
            f"SELECT count(*), avg(x1), stddev_pop(x1) FROM FACTS {where}",
        ),
        "the same by day": (
            segment(metrics=[{"field": "x1", "types": ["average", "std"]}], time_series_resolutions=["1d"]),
            f'SELECT "MONA_DAY", count(*), avg(x1), stddev_pop(x1) FROM FACTS {where} GROUP BY 1',
        ),
        "the same with a histogram": (
            segment(metrics=[{"field": "x1", "types": ["average"]}], with_histogram=True),
            f"SELECT floor(x1 / 20), count(*) FROM FACTS {where} GROUP BY 1",
        ),
        "its median": (
            segment(metrics=[{"field": "x1", "types": ["median"]}]),
            f"SELECT quantile_cont(x1, 0.5) FROM FACTS {where}",
        ),
        "200 segments of a field, two ranges": (
            dimensions,
            f'SELECT s0, "MONA_TIMESTAMP" >= {split}, count(*), avg(x0), stddev_pop(x1) FROM FACTS GROUP BY 1, 2',
        ),
        "a page of 50 contexts": (contexts, 'SELECT * FROM FACTS ORDER BY "MONA_TIMESTAMP" DESC LIMIT 50'),
        "profiles of four fields": (
            lambda: service.field_profiles(dataset, ["s0", "s1", "x0", "x1"]),
            "SELECT count(DISTINCT s0), count(DISTINCT s1), count(DISTINCT x0), count(DISTINCT x1), median(x0) FROM FACTS",
        ),
    }


def _measure(name: str, ask: Callable[[], Any], sql: str, rounds: int) -> None:
    mine, floor = [], []
    with duckdb.connect() as db:
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            ask()
            middle = time.perf_counter()
            db.execute(sql).fetchall()
            mine.append(middle - begun)
            floor.append(time.perf_counter() - middle)
    # The first round reads the files into the system's cache.
    mine, floor = sorted(mine[1:]), sorted(floor[1:])
    median, plain = mine[len(mine) // 2], floor[len(floor) // 2]
    print(f"{name:34} {median:8.3f} {mine[-1]:8.3f} {plain:8.3f} {median / plain:8.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
