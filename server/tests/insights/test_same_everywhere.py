"""The offline check and the server find the same in the same contexts, for every verse type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mona_server.detect.verses import VERSES
from mona_server.insights.check import check
from tests.insights.mill import DAY, Mill
from tests.insights.test_check import _twelve, comparable
from tests.insights.test_runs import T0

AT = T0 + 42 * DAY
GIVEN: dict[str, dict[str, Any]] = {
    "AverageDriftAcrossVersions": {"version_field": "version"},
    "NewSegments": {"time_period": "1w", "backfill_points": 2},
    "DistributionDrift": {"metrics": ["amount", "kind"]},
    "ExistenceRatioDrift": {"metrics": ["amount", "kind"]},
}


def rows() -> list[dict[str, Any]]:
    """Six weeks with a changed segment, late versions, arrays, gaps and a new kind."""
    rng = np.random.default_rng(11)
    made = []
    for number in range(42):
        for i in range(80):
            late = number >= 35
            city = ("Haifa", "Oslo", "Lima")[int(rng.integers(0, 3))]
            row: dict[str, Any] = {
                "id": f"{number}-{i}",
                "timestamp": (T0 + number * DAY + i * 1000) * 1000,
                "city": city,
                "kind": "new" if late and i % 9 == 0 else f"k{int(rng.integers(0, 4))}",
                "version": "v2" if number >= 38 and i % 2 else "v1",
                "tags": [["red"], ["red", "blue"], []][int(rng.integers(0, 3))],
                "ok": bool(rng.random() < 0.7),
                "amount": float(rng.normal() * 10 + 50 + (12 if late and city == "Oslo" else 0)),
            }
            if rng.random() < (0.4 if late and city == "Lima" else 0.1):
                del row["amount"]
            if rng.random() < 0.05:
                del row["city"]
            made.append(row)
    return made


ROWS = rows()


def config(type_name: str, **more: Any) -> dict[str, Any]:
    verse_type = VERSES[type_name]
    verse: dict[str, Any] = {"type": type_name, "segment_by": ["city", "kind", "tags", "amount", "ok"]}
    if verse_type.has_metrics:
        verse["metrics"] = ["amount", "ok"]
    if type_name.endswith("Drift"):
        verse |= {"target_set_period": "1w", "benchmark_set_period": "5w"}
    if type_name.endswith("SuddenChange"):
        verse |= {"min_anomaly_level": 0.01, "percentile": 60}
    if type_name.endswith("Threshold"):
        verse |= {"threshold": 0.5, "time_period": "1w"}
    return {
        "fields": {
            "city": {"type": "string"},
            "kind": {"type": "string"},
            "version": {"type": "string"},
            "tags": {"type": "string"},
            "ok": {"type": "boolean"},
            "amount": {
                "type": "numeric",
                "segmentations": {"wide": {"default": True, "bucket_size": 20, "min_value": 0, "max_value": 120}},
            },
        },
        "stanzas": {"s": {"verses": [verse | GIVEN.get(type_name, {}) | more]}},
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """One store with the rows, configured anew by each test: the fields stay the same."""
    made = Mill(tmp_path_factory.mktemp("filled"))
    made.configure(config("AverageDrift"))
    made.send(ROWS)
    yield made
    made.close()


@pytest.mark.parametrize("type_name", VERSES)
@pytest.mark.parametrize("gate", [0.05, 1])
def test_the_server_and_the_check_agree(filled: Mill, type_name: str, gate: float) -> None:
    """Every insight, number and word, with the chance gate and without it."""
    given = config(type_name, max_false_discovery_rate=gate, max_segment_depth=2)
    given["stanzas"]["s"]["verses"][0]["name"] = f"{type_name}{gate}"
    filled.configure(given)
    theirs = list(filled.run(f"{type_name}{gate}", AT).insights)
    mine = list(check(ROWS, {"LOAN": given}, now=AT))

    def shown(found: list[Any]) -> Any:
        return json.loads(json.dumps([comparable(one) for one in found], sort_keys=True), parse_float=_rounded)

    assert sorted(shown(mine), key=_name) == sorted(shown(theirs), key=_name)
    if gate == 1:
        assert mine


def _rounded(number: str) -> float:
    """Ten digits; what is zero but for rounding is zero."""
    value = _twelve(number)
    return 0.0 if abs(value) < 1e-9 else float(f"{value:.9g}")


def _name(insight: dict[str, Any]) -> str:
    return str(insight["title"])
