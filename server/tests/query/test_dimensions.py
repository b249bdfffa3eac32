"""``get_segments_for_dimensions``: two time ranges of a field's segments, side by side."""

from __future__ import annotations

from typing import Any

import pytest

from mona_server.query.dimensions import DimensionsRequest, get_segments_for_dimensions
from mona_server.query.requests import InvalidRequest
from tests.query.lab import DAY_MS
from tests.query.test_segments import KINDS, dataset_of

DAY_S = DAY_MS // 1000


def ask(lab: Any, config: Any = None, **body: Any) -> dict[str, Any]:
    dataset = dataset_of(lab, config)
    given = {
        "context_class": "C",
        "dimension": "city",
        "target_time_range": [2 * DAY_S, 4 * DAY_S],
        "compared_time_range": [0, 2 * DAY_S],
        "metric_1_field": "x",
        "metric_1_type": "average",
        "metric_2_field": "x",
        "metric_2_type": "sum",
        "min_segment_size": 1,
        "sort_function": "SIZE_TOP",
    }
    return get_segments_for_dimensions(dataset, DimensionsRequest.parse(dataset, {**given, **body}))


@pytest.fixture
def lab(new_lab: Any) -> Any:
    lab = new_lab(KINDS)
    rows = [("Haifa", 0, 2.0), ("Haifa", 2, 4.0), ("Haifa", 3, 8.0), ("Acre", 1, 1.0), ("Acre", 3, 5.0), (None, 2, 7.0)]
    for i, (city, day, x) in enumerate(rows):
        lab.put(str(i), day * DAY_MS, {"city": city, "x": x, "vip": i % 2 == 0, "tags": ["a", "b"] if i else ["a"]})
    return lab


def test_the_shape_of_an_answer(lab: Any) -> None:
    """As rest.md 3.3 shows it; MISSING is a segment whose value is null."""
    answer = ask(lab)
    assert answer["segments"][0] == {
        "segment": {"city": [{"value": "Haifa"}]},
        "value": "Haifa",
        "target": {"size": 2, "ratio": 0.5, "metric_1": 6.0, "metric_2": 12.0},
        "compared": {"size": 1, "ratio": 0.5, "metric_1": 2.0, "metric_2": 2.0},
        "change": {"size": 1.0, "metric_1": 2.0, "metric_2": 5.0},
    }
    assert [item["value"] for item in answer["segments"]] == ["Haifa", "Acre", None]
    assert answer["segments"][2]["compared"] == {"size": 0, "ratio": 0.0, "metric_1": None, "metric_2": None}
    assert answer["segments"][2]["change"] == {"size": None, "metric_1": None, "metric_2": None}
    assert answer["baseline"]["target"] == {"size": 4, "ratio": 1.0, "metric_1": 6.0, "metric_2": 24.0}
    assert (answer["total_segments"], answer["truncated"], answer["exact"]) == (3, False, True)


def test_every_sort_puts_missing_numbers_last(lab: Any) -> None:
    """Changes sort by the change, sizes and metrics by the target, names by name."""
    order = {
        "SIZE_BOTTOM": ["Acre", None, "Haifa"],
        "METRIC_1_TOP": [None, "Haifa", "Acre"],
        "METRIC_1_BOTTOM": ["Acre", "Haifa", None],
        "METRIC_1_CHANGE_TOP": ["Acre", "Haifa", None],
        "METRIC_2_CHANGE_BOTTOM": ["Acre", "Haifa", None],
        "NAME": ["Acre", "Haifa", None],
    }
    for sort, names in order.items():
        assert [item["value"] for item in ask(lab, sort_function=sort)["segments"]] == names, sort


def test_the_least_size_counts_in_the_target(lab: Any) -> None:
    """Segments below it are left out and not counted."""
    answer = ask(lab, min_segment_size=2)
    assert [item["value"] for item in answer["segments"]] == ["Haifa"]
    assert answer["total_segments"] == 1


def test_several_dimensions_are_crossed(lab: Any) -> None:
    """Up to three fields; the value is then a list."""
    found = ask(lab, dimension=["city", "vip"], sort_function="NAME")["segments"]
    assert [item["value"] for item in found] == [["Acre", True], ["Haifa", False], ["Haifa", True], [None, False]]
    assert found[0]["segment"] == {"city": [{"value": "Acre"}], "vip": [{"value": True}]}


def test_an_array_counts_in_each_of_its_values(lab: Any) -> None:
    """Shares of an array field add up to more than 1; the baseline counts each context once."""
    answer = ask(lab, dimension="tags")
    assert [(item["value"], item["target"]["size"]) for item in answer["segments"]] == [("a", 4), ("b", 4)]
    assert answer["baseline"]["target"]["size"] == 4


def test_numbers_are_split_by_their_segmentation(lab: Any) -> None:
    """Buckets cover both ranges, and their words are the value."""
    config = {"fields": {"x": {"type": "numeric", "segmentations": {"w": {"bucket_size": 4}}}}}
    answer = ask(lab, config, dimension="x", sort_function="NAME")
    assert [(i["value"], i["target"]["size"], i["compared"]["size"]) for i in answer["segments"]] == [
        ("[4, 8)", 3, 0),
        ("[8, 12)", 1, 0),
    ]


def test_filters_of_one_side_leave_the_other_alone(lab: Any) -> None:
    """``target_segments_filter`` restricts the target, ``excluded_segments`` both."""
    vip = [{"vip": [{"value": True}]}]
    assert ask(lab, target_segments_filter=vip)["baseline"]["target"]["size"] == 2
    assert ask(lab, target_segments_filter=vip)["baseline"]["compared"]["size"] == 2
    assert ask(lab, excluded_segments=vip)["baseline"]["compared"]["size"] == 1
    assert ask(lab, compared_segments_filter=vip)["baseline"]["compared"]["size"] == 1


def test_a_bad_request_lists_all_problems(lab: Any) -> None:
    """Missing keys, unknown statistics, fields and sorts come together."""
    dataset = dataset_of(lab)
    with pytest.raises(InvalidRequest) as caught:
        DimensionsRequest.parse(
            dataset, {"dimension": "town", "metric_1_field": "x", "metric_1_type": "?", "sort_function": "UP"}
        )
    assert [issue.path for issue in caught.value.issues] == [
        "metric_1_field",
        "metric_2_field",
        "metric_2_type",
        "target_time_range",
        "compared_time_range",
        "min_segment_size",
        "sort_function",
        "dimension",
    ]
