"""The numbers behind the warnings of a validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mona_server.config import parse
from mona_server.config.preview import ClassProfile, FieldProfile, check_data
from mona_server.query.facts import Kind
from mona_server.query.fit import class_profile
from tests.query.lab import DAY_MS, Lab

FIELDS: dict[str, Any] = {
    "x": {"type": "numeric", "segmentations": {"a": {"bucket_size": 1, "min_value": 0, "max_value": 10}}},
    "s": {"type": "string"},
    "never": {"type": "numeric"},
    "new": {"type": "numeric"},
}
VERSE = {"type": "AverageDrift", "metrics": ["never", "new"], "segment_by": ["s"], "min_segment_size": 5}


def test_recent_contexts_count_once(new_lab: Callable[[Mapping[str, Kind]], Lab]) -> None:
    """Corrections count once, data before the last four weeks not; arrays are values too."""
    lab = new_lab({"x": "numeric", "s": "string", "never": "numeric"})
    config = parse({"C": {"fields": FIELDS, "stanzas": {"v": {"verses": [VERSE]}}}}).or_raise()
    assert class_profile(lab.facts(), config.classes["C"]) == ClassProfile(contexts=0, fields={})
    lab.put("old", 0, {"x": -1000.0})
    lab.put("a", 100 * DAY_MS, {"x": 1.0, "s": "one"})
    lab.flush()
    lab.put("a", 100 * DAY_MS, {"x": 10.0, "s": "one"})
    lab.put("b", 100 * DAY_MS, {"x": 20.0, "s": ["one", "two"]})
    lab.put("c", 100 * DAY_MS, {"x": 0.0})
    profile = class_profile(lab.facts(), config.classes["C"])
    assert profile.contexts == 3
    assert profile.fields["x"] == FieldProfile(count=3, distinct=4, low=0, high=20, outside={"a": 2})
    assert profile.fields["s"].count == 2
    assert [issue.code for issue in check_data(config, {"C": profile}).warnings] == [
        "drops_data",
        "metric_without_data",
        "never_fires",
    ]
