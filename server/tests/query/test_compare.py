"""Two populations side by side, correlations, histograms over time and field profiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mona_server.query import profile
from mona_server.query.compare import (
    CompareRequest,
    CorrelationsRequest,
    chi_square,
    compare,
    correlations,
    q_values,
    weighted_correlations,
)
from mona_server.query.distribution import HistogramRequest, get_histogram
from mona_server.query.requests import InvalidRequest
from tests.query.lab import DAY_MS
from tests.query.test_segments import KINDS, dataset_of

DAY_S = DAY_MS // 1000


@pytest.fixture
def lab(new_lab: Any) -> Any:
    """200 contexts a day on two days; ``x`` moves up and Oslo appears on the second; some were corrected."""
    lab = new_lab(KINDS)
    rng = np.random.default_rng(3)
    for day in (0, 1):
        for i in range(200):
            city = "Oslo" if day and i % 4 == 0 else ["Haifa", "Acre"][i % 2]
            x = float(rng.normal(3 * day, 1))
            values = {"x": x, "p": x / 2 + float(rng.normal(0, 0.1)), "vip": bool(rng.random() < 0.5), "city": city}
            if i % 10 == 0:
                lab.put(f"{day}-{i}", day * DAY_MS + i, {**values, "x": 99.0, "city": "wrong"})
            lab.put(f"{day}-{i}", day * DAY_MS + i, values)
        lab.flush()
    return lab


def test_compare_puts_the_most_different_field_first(lab: Any) -> None:
    """Statistics, common bins, distance, and q-values that separate change from none."""
    dataset = dataset_of(lab)
    body = {
        "a": {"from": 0, "to": DAY_S, "segment": {}},
        "b": {"from": DAY_S, "to": 2 * DAY_S},
        "fields": ["vip", "x", "city"],
    }
    answer = compare(dataset, CompareRequest.parse(dataset, body))
    assert (answer["a"]["size"], answer["b"]["size"]) == (200, 200)
    assert [item["field"] for item in answer["fields"]] == ["x", "city", "vip"]
    x, city, vip = answer["fields"]
    rows = [np.array([r["x"] for t, r in lab.state.values() if t // DAY_MS == day]) for day in (0, 1)]
    assert x["a"]["average"] == pytest.approx(rows[0].mean())
    assert x["b"]["median"] == pytest.approx(np.median(rows[1]))
    assert x["q_value"] < 1e-6
    assert city["q_value"] < 1e-6
    assert vip["q_value"] > 0.01
    assert [item["segment"] for item in x["histograms"]["a"]] == [item["segment"] for item in x["histograms"]["b"]]
    assert sum(item["size"] for item in x["histograms"]["a"]) == 200
    assert not any("wrong" in str(item["segment"]) for item in city["histograms"]["a"])


def test_compare_takes_two_segments_of_one_window(lab: Any) -> None:
    """The sides may also differ by segment alone."""
    dataset = dataset_of(lab)
    side = {"from": 0, "to": 2 * DAY_S}
    body = {"a": {**side, "segment": {"city": [{"value": "Oslo"}]}}, "b": {**side, "segment": {}}, "fields": ["x"]}
    answer = compare(dataset, CompareRequest.parse(dataset, body))
    assert (answer["a"]["size"], answer["b"]["size"]) == (50, 400)


def test_a_bad_comparison_lists_all_problems(lab: Any) -> None:
    """Sides and fields are checked together."""
    dataset = dataset_of(lab)
    with pytest.raises(InvalidRequest) as caught:
        CompareRequest.parse(dataset, {"a": 3, "b": {"from": 5, "to": 1}, "fields": ["town", "MONA_TIMESTAMP"]})
    assert [issue.path for issue in caught.value.issues] == ["a", "b", "fields[0]", "fields[1]"]


def test_correlations_use_contexts_that_have_both(lab: Any) -> None:
    """Corrected rows weigh nothing, missing values leave a pair out."""
    lab.put("lonely", 5, {"x": 1e6})
    dataset = dataset_of(lab)
    answer = correlations(
        dataset, CorrelationsRequest.parse(dataset, {"from": 0, "to": 2 * DAY_S, "fields": ["x", "p", "vip"]})
    )
    rows = [r for _, r in lab.state.values() if "p" in r]
    expected = np.corrcoef([[r[f] for r in rows] for f in ("x", "p", "vip")])
    assert np.array(answer["matrix"])[0, 1:] == pytest.approx(expected[0, 1:], rel=1e-9)
    assert answer["matrix"][1][2] == pytest.approx(expected[1, 2], rel=1e-9)
    assert answer["pairs"][0] == {"a": "x", "b": "p", "correlation": answer["matrix"][0][1], "count": 400}
    assert (answer["size"], answer["exact"]) == (401, True)


def test_a_constant_field_correlates_with_nothing() -> None:
    """It is undefined, not 0 or 1."""
    r, n = weighted_correlations(np.array([[1.0, 1.0, 1.0, np.nan], [1.0, 2.0, 4.0, 8.0]]), np.ones(4))
    assert np.isnan(r[0, 1])
    assert n.tolist() == [[3, 3], [3, 4]]


def test_a_histogram_over_time_has_the_same_bins_in_every_frame(lab: Any) -> None:
    """Sizes of each frame in the order of the bins, "other" last."""
    dataset = dataset_of(lab)
    body = {"from": 0, "to": 2 * DAY_S, "field": "city", "time_series_resolution": "1d"}
    answer = get_histogram(dataset, HistogramRequest.parse(dataset, body))
    assert [item["size"] for item in answer["histogram"]] == [200, 150, 50, 0]
    assert answer["frames"] == [
        {"from": 0, "to": DAY_S, "sizes": [100, 100, 0, 0, 0]},
        {"from": DAY_S, "to": 2 * DAY_S, "sizes": [100, 50, 50, 0, 0]},
    ]


def test_profiles_describe_every_field(lab: Any) -> None:
    """Counts and shares of what is true now; quantiles of numbers, largest values of all."""
    dataset = dataset_of(lab)
    found = {item["name"]: item for item in profile.field_profiles(dataset)}
    assert list(found) == list(KINDS)
    x = np.array([r["x"] for _, r in lab.state.values()])
    assert found["x"]["count"] == 400
    assert found["x"]["missing_ratio"] == 0
    assert found["x"]["quantiles"]["0.5"] == pytest.approx(np.median(x))
    assert found["x"]["distinct"] == len(set(x.tolist()))
    assert found["city"]["top_values"][0] == {"value": "Acre", "count": 200}
    assert found["city"]["distinct"] == 3
    assert found["tags"]["missing_ratio"] == 1


def test_a_large_class_is_profiled_from_a_sample(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts stay exact; the rest says that it is not."""
    monkeypatch.setattr(profile, "EXACT_ROWS", 100)
    monkeypatch.setattr(profile, "SAMPLE_ROWS", 100)
    [found] = profile.field_profiles(dataset_of(lab), ["x"])
    assert found["count"] == 400
    assert not found["distinct_exact"]
    assert 40 < found["distinct"] < 180


def test_an_overview_counts_contexts_that_are_there(lab: Any) -> None:
    """Deleted contexts do not count, nor do the times they had."""
    lab.put("last", 10 * DAY_MS, {})
    lab.put("last", 10 * DAY_MS, None)
    assert profile.overview(dataset_of(lab)) == profile.Overview(400, 0, DAY_MS + 199)
    lab.put("early", -1, {})
    assert profile.overview(dataset_of(lab)) == profile.Overview(401, -1, DAY_MS + 199)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=8))
def test_chi_square_is_that_of_scipy_without_small_bins(bins: list[tuple[int, int]]) -> None:
    """With no bin to join, the p-value is scipy's."""
    a, b = [x + 20 for x, _ in bins], [y + 20 for _, y in bins]
    assert chi_square(a, b, least=0) == pytest.approx(stats.chi2_contingency([a, b], correction=False)[1], rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_q_values_are_those_of_benjamini_and_hochberg(p_values: list[float]) -> None:
    """Against scipy's."""
    expected = stats.false_discovery_control(p_values)
    assert q_values(p_values) == pytest.approx(expected.tolist())
