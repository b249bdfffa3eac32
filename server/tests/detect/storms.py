"""Tables in which much moves at once, and how to ask for them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from mona_server.detect import SearchResult, search
from mona_server.detect.source import SourceQuestion, SumsSource
from mona_server.detect.table_columns import Coded, Column
from mona_server.detect.table_source import TableSource
from mona_server.segment import Range
from tests.detect.ten_weeks import AT_MS, DAY_MS, DAYS, NOW, codes, recent
from tests.detect.tutorial import Table, verse

FIELDS = {"a": 3, "b": 8, "c": 10, "d": 12}
BROAD, SMALL = "a = a0", "b = b2 and c = c3"
EDGES = (None, 1.0, 2.0, 4.0, None)
BUCKETS = tuple(Range(low, high) for low, high in pairwise(EDGES))


class Bucketed(Table):
    """The same with the number of ``b`` in buckets."""

    def source(self, question: SourceQuestion) -> SumsSource:
        return TableSource(self.columns, self.time_ms, question, {("number", None): BUCKETS})


def table(seed: int, per_day: int = 500) -> Table:
    """Four fields, of which the first has one common value, and a score."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS), per_day)
    columns: dict[str, Column] = {
        name: Coded(
            np.minimum(rng.geometric(0.45 if name == "a" else 0.2, len(day)) - 1, count - 1).astype(np.int32),
            tuple(f"{name}{i}" for i in range(count)),
        )
        for name, count in FIELDS.items()
    }
    columns["score"] = rng.normal(0, 1, len(day))
    return Table(columns, AT_MS - (DAYS - day) * DAY_MS + rng.integers(0, DAY_MS, len(day)))


def broad_and_small(seed: int) -> Table:
    """A large change of a common value, and a small one of a segment that shares some contexts with it."""
    data = table(seed)
    score = np.asarray(data.columns["score"])
    score[recent(data) & (codes(data, "a") == 0)] += 1.0
    score[recent(data) & (codes(data, "b") == 2) & (codes(data, "c") == 3)] += 0.5
    return data


def run(of: Table, depth: int = 3, **given: Any) -> SearchResult:
    asked = {
        "max_false_discovery_rate": 0.05,
        "fold_redundant": True,
        "segment_by": list(FIELDS),
        "max_segment_depth": depth,
        "metrics": ["score"],
        "min_anomaly_level": 0,
        "min_segment_size_fraction": 0.001,
    }
    return search(verse("AverageDrift", **asked | given), of.source, NOW, data_start_ms=of.start_ms)
