"""With what a signal's contexts are compared: for each family of verses."""

from __future__ import annotations

from typing import Any

import pytest

from mona_server.insights.distribution import _sides

DAY = 86_400
T = 20_000 * DAY
SEGMENT = {"city": [{"value": "Haifa"}]}
STAGE = {"stage": [{"value": "serving"}]}
BOTH = {**SEGMENT, **STAGE}


def signal(type_: str, *, benchmark: bool = False, segment: Any = SEGMENT) -> dict[str, Any]:
    """Of the last day (a sudden change: of 30), compared with the week before where the verse does so."""
    first = T - (30 if type_.endswith("SuddenChange") else 1) * DAY
    more = {"threshold": 1} if type_.endswith("Threshold") else {}
    compared = (first - 7 * DAY, first) if benchmark else (None, None)
    return {
        "segment": segment,
        "baseline_segment": STAGE,
        "window": {"from": first, "to": T, "benchmark_from": compared[0], "benchmark_to": compared[1]},
        "verse": {"type": type_, "arc_class": "LOAN", "metrics": ["score"], **more},
    }


@pytest.mark.parametrize(
    ("given", "target", "benchmark"),
    [
        (signal("AverageDrift", benchmark=True), (T - DAY, T, BOTH), (T - 8 * DAY, T - DAY, BOTH)),
        (signal("AverageOutlier"), (T - DAY, T, BOTH), (T - DAY, T, STAGE)),
        (signal("AverageSuddenChange"), (T - DAY, T, BOTH), (T - 30 * DAY, T - DAY, BOTH)),
        (signal("AverageThreshold"), (T - DAY, T, BOTH), (T - DAY, T, STAGE)),
        (signal("AverageThreshold", segment={}), (T - DAY, T, STAGE), None),
    ],
    ids=["drift", "outlier", "sudden change", "threshold", "threshold of everybody"],
)
def test_populations(given: dict[str, Any], target: Any, benchmark: Any) -> None:
    """Window and segment of both; the baseline's conditions hold for each."""

    def shown(side: Any) -> Any:
        return None if side is None else (side["from"], side["to"], side["segment"])

    found = _sides(given, "first")
    assert (shown(found[0]), shown(found[1])) == (target, benchmark)
