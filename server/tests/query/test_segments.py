"""``get_segment`` against a naive twin over the rows of what is true now."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.config.parse import parse
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.reader import Dataset
from mona_server.query.requests import InvalidRequest
from mona_server.query.segments import SegmentRequest, get_segment
from mona_server.query.statistics import STATISTICS
from mona_server.segment import Segment
from tests.query import naive
from tests.query.lab import DAY_MS, Lab, histories

KINDS: Any = {"city": "string", "vip": "boolean", "x": "numeric", "p": "numeric", "tags": "string"}
DAY_S = DAY_MS // 1000

history = histories(
    [-3.5, 0.0, 1.0, 7.0, 12.25, 1e6, 1e6 + 0.5], 12, 40, p=st.sampled_from([0.0, 0.05, 0.5, 0.75, 0.9, 1.0])
)
segments = st.sampled_from(
    [
        {},
        {"city": [{"value": "Haifa"}]},
        {"city": [{"value": "it's"}, {"value": None}]},
        {"city": [{"not_value": "Haifa"}]},
        {"city": [{"values": ["Acre", "Łódź"]}]},
        {"city": [{"regex": "^[AŁ]"}]},
        {"x": [{"min_value": 0, "max_value": 7}]},
        {"x": [{"max_value": 1}], "vip": [{"value": True}]},
        {"x": [{"value": "SpecialValueSemantics.MISSING"}]},
        {"tags": [{"value": "a"}, {"value": "b"}]},
        {"tags": [{"not_value": "a"}]},
        {"tags": [{"value": None}]},
        {"vip": [{"not_value": None}]},
    ]
)
ONE = ["average", "sum", "variance", "normalized_variance", "std", "standard_error", "interquartile_range", "existence_ratio",
       "count", "min", "max", "median", "p05", "p25", "p75", "p95", "p99", "distinct_count"]  # fmt: skip
TWO = [name for name, statistic in STATISTICS.items() if statistic.two_fields]


def dataset_of(lab: Lab, config: dict[str, Any] | None = None) -> Dataset:
    parsed = parse({"T": {"C": config}}, user_id="T").classes["C"] if config else None
    return Dataset("T", "C", lab.facts(), parsed)


def filled(folder: Path, engine: DuckEngine, steps: Any) -> Lab:
    return Lab(folder, KINDS, engine).play(steps)


def ask(lab: Lab, **body: Any) -> dict[str, Any]:
    dataset = dataset_of(lab)
    body = {"context_class": "C", "timestamp_from": 0, "timestamp_to": 4 * DAY_S, **body}
    return get_segment(dataset, SegmentRequest.parse(dataset, body))


def rows_of(lab: Lab, segment: Any = None, excluded: Any = None, start: int = 0, end: int = 4 * DAY_MS) -> list[Any]:
    return [
        row
        for time, row in lab.state.values()
        if start <= time < end
        and naive.inside(row, Segment.parse(segment or {}))
        and not (excluded and naive.inside(row, Segment.parse(excluded)))
    ]


def same(mine: Any, his: Any) -> bool:
    if his is None or mine is None or isinstance(his, list):
        return bool(mine == his)
    return bool(mine == pytest.approx(his, rel=1e-9, abs=1e-9))


@settings(max_examples=30, deadline=None)
@given(steps=history, segment=segments, excluded=st.one_of(st.none(), segments.filter(bool)))
def test_every_statistic_equals_its_naive_twin(engine: DuckEngine, steps: Any, segment: Any, excluded: Any) -> None:
    """Whatever the history: each statistic is the one of the rows that are true now, in whole and by frame."""
    with tempfile.TemporaryDirectory() as folder:
        lab = filled(Path(folder), engine, steps)
        metrics: list[Any] = [
            {"field": "x", "types": ONE},
            {"field": "vip", "types": ["average", "std", "max"]},
            {"field": "city", "types": ["count", "existence_ratio", "distinct_count", "top_values"]},
            {"field": "tags", "types": ["count", "distinct_count", "top_values"]},
            {"field": "p", "types": TWO, "secondary_field": "vip"},
        ]
        answer = ask(lab, metrics=metrics, requested_segments=[segment], time_series_resolutions=["1d"],
                     excluded_segments=[excluded] if excluded else [])  # fmt: skip
        [found] = answer["segments"]
        assert found["size"] == len(rows_of(lab, segment, excluded))
        days = found["time_series"]["1d"]
        assert [day["from"] for day in days] == [0, DAY_S, 2 * DAY_S, 3 * DAY_S]
        for item, start, end in [
            (found, 0, 4 * DAY_MS),
            *((day, k * DAY_MS, (k + 1) * DAY_MS) for k, day in enumerate(days)),
        ]:
            rows = rows_of(lab, segment, excluded, start, end)
            assert item["size"] == len(rows)
            for metric in metrics:
                for name in metric["types"]:
                    mine = item["metrics"][metric["field"]][name]
                    his = naive.statistic(name, rows, metric["field"], metric.get("secondary_field")) if rows else None
                    if name in ("count", "distinct_count") and not rows:
                        his = 0 if name == "count" else None
                    if name == "top_values" and not rows:
                        his = None
                    assert same(mine, his), (metric["field"], name, mine, his)


def test_the_shape_of_an_answer(new_lab: Any) -> None:
    """As rest.md 3.2 shows it: order of the request, ratios of the baseline, empty frames, meta."""
    lab = new_lab(KINDS)
    lab.put("1", 0, {"city": "Haifa", "x": 1.0})
    lab.put("2", 2 * DAY_MS, {"city": "Acre", "x": 3.0})
    answer = ask(lab, requested_segments=[{"city": [{"value": "Acre"}]}, {"city": [{"value": "Oslo"}]}],
                 time_series_resolutions=["2d"], timestamp_to=4 * DAY_S)  # fmt: skip
    assert answer == {
        "segments": [
            {
                "segment": {"city": [{"value": "Acre"}]},
                "size": 1,
                "ratio": 0.5,
                "metrics": {"x": {"count": 1, "average": 3.0}},
                "time_series": {
                    "2d": [
                        {"from": 0, "to": 2 * DAY_S, "size": 0, "metrics": {"x": {"count": 0, "average": None}}},
                        {"from": 2 * DAY_S, "to": 4 * DAY_S, "size": 1, "metrics": {"x": {"count": 1, "average": 3.0}}},
                    ]
                },
            },
            {
                "segment": {"city": [{"value": "Oslo"}]},
                "size": 0,
                "ratio": 0.0,
                "metrics": {"x": {"count": 0, "average": None}},
                "time_series": {
                    "2d": [
                        {"from": 0, "to": 2 * DAY_S, "size": 0, "metrics": {"x": {"count": 0, "average": None}}},
                        {
                            "from": 2 * DAY_S,
                            "to": 4 * DAY_S,
                            "size": 0,
                            "metrics": {"x": {"count": 0, "average": None}},
                        },
                    ]
                },
            },
        ],
        "super_segments": [],
        "baseline": {
            "segment": {},
            "size": 2,
            "metrics": {"x": {"count": 2, "average": 2.0}},
            "time_series": {
                "2d": [
                    {"from": 0, "to": 2 * DAY_S, "size": 1, "metrics": {"x": {"count": 1, "average": 1.0}}},
                    {"from": 2 * DAY_S, "to": 4 * DAY_S, "size": 1, "metrics": {"x": {"count": 1, "average": 3.0}}},
                ]
            },
        },
        "meta": {"timestamp_from": 0, "timestamp_to": 4 * DAY_S, "time_zone": "UTC", "as_of": None, "exact": True},
    }


def test_days_follow_the_time_zone_through_daylight_saving(new_lab: Any) -> None:
    """In New York 10 March 2024 has 23 hours; a context at its local midnight opens the day."""
    lab = new_lab(KINDS)
    zone = ZoneInfo("America/New_York")
    midnights = [1710046800, 1710129600, 1710216000]  # 10, 11, 12 March 2024, local
    for i, at in enumerate(midnights):
        lab.put(str(i), at * 1000, {})
        lab.put(f"{i}b", at * 1000 - 1, {})
    answer = ask(lab, timestamp_from=midnights[0] - 3600, timestamp_to=midnights[2] + 3600, time_zone=zone.key,
                 time_series_resolutions=["1d"], metrics=[])  # fmt: skip
    frames = answer["segments"][0]["time_series"]["1d"]
    assert [frame["from"] for frame in frames] == [midnights[0] - 3600, *midnights]
    assert [frame["size"] for frame in frames] == [1, 2, 2, 1]
    assert midnights[1] - midnights[0] == 23 * 3600


def test_an_offset_shifts_the_edges(new_lab: Any) -> None:
    """``time_series_offset_seconds`` moves inner edges; the window stays."""
    lab = new_lab(KINDS)
    lab.put("1", 0, {})
    frames = ask(lab, time_series_resolutions=["1d"], time_series_offset_seconds=3600, metrics=[],
                 timestamp_to=2 * DAY_S)["segments"][0]["time_series"]["1d"]  # fmt: skip
    assert [(f["from"], f["to"]) for f in frames] == [(0, 3600), (3600, DAY_S + 3600), (DAY_S + 3600, 2 * DAY_S)]


def test_the_right_end_is_excluded_unless_asked(new_lab: Any) -> None:
    """``right_inclusive`` adds the contexts of the very last moment."""
    lab = new_lab(KINDS)
    lab.put("1", 4 * DAY_MS, {})
    assert ask(lab)["baseline"]["size"] == 0
    assert ask(lab, right_inclusive=True)["baseline"]["size"] == 1


def test_super_segments_leave_out_one_field_each(new_lab: Any) -> None:
    """A two-way segment has two super-segments."""
    lab = new_lab(KINDS)
    lab.put("1", 0, {"city": "Haifa", "vip": True})
    lab.put("2", 0, {"city": "Haifa", "vip": False})
    two = {"city": [{"value": "Haifa"}], "vip": [{"value": True}]}
    answer = ask(lab, requested_segments=[two], include_super_segments=True)
    assert [(item["segment"], item["size"]) for item in answer["super_segments"]] == [
        ({"vip": [{"value": True}]}, 1),
        ({"city": [{"value": "Haifa"}]}, 2),
    ]


def test_histograms_use_the_default_segmentation_or_the_largest_values(new_lab: Any) -> None:
    """Buckets come from the configuration, texts by value; MISSING is a bin, what no bin has is "other"."""
    lab = new_lab(KINDS)
    for i, (x, city) in enumerate([(1.0, "a"), (2.0, "a"), (12.0, None), (None, "b"), (99.0, "b")]):
        lab.put(str(i), 0, {"x": x, "city": city})
    config = {
        "fields": {
            "x": {"type": "numeric", "segmentations": {"o": {"bucket_size": 10, "min_value": 0, "max_value": 20}}}
        }
    }
    config["fields"]["city"] = {"type": "string"}
    dataset = dataset_of(lab, config)
    body = {"timestamp_from": 0, "timestamp_to": DAY_S, "with_histogram": True,
            "metrics": [{"field": "x"}, {"field": "city", "types": ["count"]}]}  # fmt: skip
    [found] = get_segment(dataset, SegmentRequest.parse(dataset, body))["segments"]
    assert found["histograms"]["x"] == [
        {"segment": {"x": [{"min_value": 0, "max_value": 10}]}, "size": 2},
        {"segment": {"x": [{"min_value": 10, "max_value": 20}]}, "size": 1},
        {"segment": {"x": [{"value": "SpecialValueSemantics.MISSING"}]}, "size": 1},
        {"segment": None, "label": "other", "size": 1},
    ]
    assert [item["size"] for item in found["histograms"]["city"]] == [2, 2, 1]


def test_a_bad_request_lists_all_problems(new_lab: Any) -> None:
    """One answer names every key that is wrong."""
    dataset = dataset_of(new_lab(KINDS))
    body = {
        "timestamp_to": "soon",
        "time_zone": "Mars/Base",
        "time_series_resolutions": ["1 day"],
        "metrics": [{"field": "x", "types": ["averge"]}, {"field": "citty"}, {"field": "city", "types": ["std"]},
                    {"field": "p", "types": ["auc"]}],
        "requested_segments": [{"town": [{"value": 1}]}],
        "baseline_segment": {"city": [{"oops": 1}]},
        "timestamp_field_name": "city",
    }  # fmt: skip
    with pytest.raises(InvalidRequest) as caught:
        SegmentRequest.parse(dataset, body)
    assert [issue.path for issue in caught.value.issues] == [
        "timestamp_from",
        "timestamp_to",
        "time_series_resolutions",
        "time_zone",
        "metrics[0]",
        "metrics[1]",
        "metrics[2]",
        "metrics[3]",
        "baseline_segment.city[0]",
        "timestamp_field_name",
        "requested_segments.town",
    ]
    assert "known are" in caught.value.issues[4].message
    assert "did you mean city" in caught.value.issues[5].message


def test_synonyms_of_keys_are_understood(new_lab: Any) -> None:
    """Camel case and old names ask the same."""
    lab = new_lab(KINDS)
    lab.put("1", 0, {"city": "Haifa"})
    dataset = dataset_of(lab)
    body = {
        "arcClass": "C",
        "timestampFrom": "0",
        "timestampTo": str(DAY_S),
        "negativeSegments": '{"city": [{"value": "Haifa"}]}',
    }
    assert get_segment(dataset, SegmentRequest.parse(dataset, body))["baseline"]["size"] == 0
