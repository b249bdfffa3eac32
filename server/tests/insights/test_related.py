"""Fields that moved with a finding: what is compared, and with which type of verse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mona_server.insights.related import correlate, same_type
from tests.detect.tutorial import verse


def test_correlation_needs_common_frames() -> None:
    """Eight frames in which both have a value; a constant correlates with nothing."""
    a = np.arange(10.0)
    assert correlate(a, -a) == pytest.approx(-1)
    gaps = a.copy()
    gaps[:3] = np.nan
    assert correlate(a, gaps) is None
    assert correlate(a, np.full(10, 0.1)) is None


@pytest.mark.parametrize(
    ("type_name", "compared"),
    [
        ("AverageDrift", "AverageDrift"),
        ("SegmentSizeDrift", "AverageDrift"),
        ("AverageThreshold", None),
        ("DistributionDrift", None),
        ("NewSegments", None),
    ],
)
def test_other_fields_are_asked_for_the_same_type_of_anomaly(type_name: str, compared: str | None) -> None:
    """For sizes for that of means; limits and categories of one field mean nothing for another."""
    given: dict[str, Any] = {} if type_name.startswith(("SegmentSize", "New")) else {"metrics": ["amount"]}
    given |= {"threshold": 1} if type_name == "AverageThreshold" else {}
    main = verse(type_name, segment_by=["a"], **given)
    found = same_type(main, ["cost", "delay"])
    assert (found.type.type if found else None) == compared
    assert same_type(main, []) is None
    if found:
        assert found["metrics"] == ("cost", "delay")
        assert found["min_segment_size"] == 0
