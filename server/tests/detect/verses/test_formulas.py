"""Each formula, vectorised over sums, equals the naive twin that walks over rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.detect import search
from mona_server.detect.table_columns import Column, coded
from tests.detect.naive import DAY_MS, Rows, close, expected
from tests.detect.tutorial import Table, verse

AT_MS = 20_000 * DAY_MS
NOW = datetime.fromtimestamp(AT_MS / 1000 + 3_600, UTC)

CASES: dict[str, dict[str, Any]] = {
    "AverageDrift": {"target_set_period": "5d", "benchmark_set_period": "2w"},
    "StandardDeviationDrift": {"target_set_period": "36h", "benchmark_set_period": "2w"},
    "ExistenceRatioDrift": {
        "target_set_period": "1w",
        "benchmark_set_period": "2w",
        "benchmark_set_period_type": "latest",
    },
    "SumDrift": {"target_set_period": "1w", "benchmark_set_period": "2w"},
    "SegmentSizeDrift": {"target_set_period": "1w", "benchmark_set_period": "2w"},
    "AverageOutlier": {"time_period": "2w"},
    "StandardDeviationOutlier": {"time_period": "2w"},
    "ExistenceRatioOutlier": {"time_period": "2w"},
    "AverageSuddenChange": {"time_series_points": 20, "min_culprit_size": 1, "percentile": 80},
    "SumSuddenChange": {"time_series_points": 20, "min_culprit_size": 1, "percentile": 80},
    "ExistenceRatioSuddenChange": {"time_series_points": 20, "min_culprit_size": 1, "percentile": 80},
    "SegmentSizeSuddenChange": {"time_series_points": 20, "min_culprit_size": 0, "percentile": 80},
    "AverageThreshold": {"time_period": "2w", "threshold": 0},
    "StandardDeviationThreshold": {"time_period": "2w", "threshold": 1},
    "ExistenceRatioThreshold": {"time_period": "2w", "threshold": 0.7},
    "SumThreshold": {"time_period": "2w", "threshold": 5},
    "SegmentSizeThreshold": {"time_period": "2w", "threshold": 3},
}


def made(seed: int, length: int, scale: float, whole: bool) -> Rows:
    """Random rows over 25 days."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, length) * scale + scale
    if whole:
        values = np.round(values)
    values[rng.random(length) < 0.2] = np.nan
    return Rows(
        np.sort(AT_MS - rng.integers(-DAY_MS, 24 * DAY_MS, length)),
        {
            "a": [[None, "x", "y", "z"][i] for i in rng.integers(0, 4, length)],
            "b": [["u", "v"][i] for i in rng.integers(0, 2, length)],
        },
        {"m": values},
    )


@pytest.mark.parametrize("type_name", CASES)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.integers(3, 300),
    scale=st.sampled_from([1.0, 1e-3, 1e6]),
    whole=st.booleans(),
)
def test_levels_equal_the_naive_twin(type_name: str, seed: int, length: int, scale: float, whole: bool) -> None:
    """Every segment's value, reference, divisor, level and sizes; and no segment more or less."""
    rows = made(seed, length, scale, whole)
    metrics = {} if type_name.startswith("SegmentSize") else {"metrics": ["m"]}
    asked = verse(type_name, segment_by=["a", "b"], min_anomaly_level=0, **metrics, **CASES[type_name])
    columns: dict[str, Column] = {"a": coded(rows.texts["a"]), "b": coded(rows.texts["b"]), "m": rows.numbers["m"]}
    table = Table(columns, rows.time)
    result = search(asked, table.source, NOW, data_start_ms=table.start_ms)
    wanted = expected(rows, asked, AT_MS)
    found = {(signal.segment.text, signal.metric): signal for signal in result.signals}
    assert set(found) == set(wanted)
    present = rows.numbers["m"][~np.isnan(rows.numbers["m"])]
    spread = float(present.std()) if type_name.startswith("StandardDeviation") and len(present) else 0.0
    for key, signal in found.items():
        numbers = wanted[key]
        assert close(signal.value, numbers.value, spread), (key, signal, numbers)
        assert close(signal.benchmark, numbers.benchmark, spread), (key, signal, numbers)
        assert close(signal.std, numbers.std), (key, signal, numbers)
        assert close(signal.level, numbers.level), (key, signal, numbers)
        assert close(signal.size, numbers.size), (key, signal, numbers)
        assert close(signal.ratio, numbers.ratio), (key, signal, numbers)
