"""Ten weeks of contexts for searches with the second gate, and how to ask for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from mona_server.detect import SearchResult, search
from mona_server.detect.table_columns import Coded
from tests.detect.tutorial import Table, verse

DAY_MS = 86_400_000
AT_MS = 20_000 * DAY_MS
NOW = datetime.fromtimestamp(AT_MS / 1000, UTC)
DAYS = 70


def table(seed: int = 0, per_day: int = 300, **numbers: Any) -> Table:
    """Ten weeks of contexts with two fields and a score whose days share a shock."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS), per_day)
    length = len(day)
    shock = rng.normal(0, 0.2, DAYS)
    return Table(
        {
            "a": Coded(rng.integers(0, 5, length).astype(np.int32), tuple("ABCDE")),
            "b": Coded(rng.integers(0, 4, length).astype(np.int32), tuple("wxyz")),
            "score": rng.normal(0, 1, length) + shock[day],
            **numbers,
        },
        AT_MS - (DAYS - day) * DAY_MS + rng.integers(0, DAY_MS, length),
    )


def codes(of: Table, name: str) -> np.ndarray:
    column = of.columns[name]
    assert isinstance(column, Coded)
    return column.codes


def recent(of: Table, days: int = 14) -> np.ndarray:
    return np.asarray(of.time_ms >= AT_MS - days * DAY_MS)


def run(of: Table, type_name: str = "AverageDrift", **given: Any) -> SearchResult:
    metrics = {} if type_name.startswith(("SegmentSize", "New")) else {"metrics": ["score"]}
    asked = {"max_false_discovery_rate": 0.05, "fold_redundant": True, "segment_by": ["a", "b"]}
    known = given.pop("known", ())
    asked |= metrics | {"min_anomaly_level": 0.01} | given
    return search(verse(type_name, **asked), of.source, NOW, data_start_ms=of.start_ms, known=known)


def names(result: SearchResult) -> list[str]:
    return [str(signal.segment) for signal in result.signals]
