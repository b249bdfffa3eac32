"""Every worked example of the specification on the tutorial data, to the last digit; and the published insight."""

from __future__ import annotations

from typing import Any

import pytest

from mona_server.detect import SearchResult, Signal, search
from mona_server.segment import ALL, Equals, Segment
from tests.detect.tutorial import NOW, T, Table, table_of, verse

TEXTS = ["occupation", "city", "state", "purpose", "stage", "model_version"]
NUMBERS = [
    "offered_amount",
    "approved_amount",
    "credit_score",
    "loan_taken",
    *(f"feature_{i}" for i in range(10)),
]
VACATION = Segment.of({"purpose": Equals("Vacation costs")})


@pytest.fixture(scope="module")
def loans(inference_rows: list[dict[str, Any]]) -> Table:
    return table_of(inference_rows, TEXTS, NUMBERS)


def run(loans: Table, type_name: str, **given: Any) -> SearchResult:
    return search(verse(type_name, **given), loans.source, NOW, data_start_ms=loans.start_ms)


def found(loans: Table, segment: Segment, type_name: str, **given: Any) -> Signal:
    """The one signal of a segment."""
    signals = [s for s in run(loans, type_name, **given).signals if s.segment == segment]
    assert len(signals) == 1
    return signals[0]


def close(expected: float) -> Any:
    return pytest.approx(expected, rel=1e-14, abs=0)


OFFERED = {"metrics": ["offered_amount"], "segment_by": ["purpose"], "min_anomaly_level": 0}


def test_the_published_insight(loans: Table) -> None:
    """AverageDrift of offered_amount where purpose is Vacation costs, as the original published it."""
    signal = found(
        loans,
        VACATION,
        "AverageDrift",
        metrics=["offered_amount"],
        segment_by=["purpose"],
        baseline_segment={"stage": [{"value": "inference"}]},
        min_anomaly_level=0.1,
        min_segment_size=500,
        benchmark_min_segment_size=100,
        target_set_period="2w",
        benchmark_set_period="6w",
    )
    written = signal.to_json("someone")
    assert written["value"] == close(7763.624505928854)
    assert written["benchmark"] == close(8803.671052631578)
    assert written["std"] == close(8471.481976080446)
    assert written["anomaly_level"] == close(0.12277031924748652)
    assert written["segment_size"] == 861.0
    assert written["segment_ratio"] == close(0.03511660394054663)
    assert written["score"] == close(3.602425108045929)
    assert written["is_desc"] is True
    assert written["verse_name"] == "loan__AverageDrift"
    assert written["signal_type"] == "KapiAverageDriftInSegment"
    assert written["timestamp"] == T
    assert written["segment"] == {"purpose": [{"value": "Vacation costs"}]}
    assert written["baseline_segment"] == {"stage": [{"value": "inference"}]}
    assert (written["target_size"], written["benchmark_size"]) == (253, 608)
    assert written["params"] == {
        "MIN_SEGMENT_SIZE": 500,
        "MAX_SEGMENT_SIZE": None,
        "STD_MULTIPLIER_THRESHOLD": 0.1,
        "AVERAGE_EPSILON": 0.01,
    }
    assert list(written)[:18] == [
        *("user_id", "arc_class", "stanza_name", "verse_name", "timestamp", "signal_type", "is_desc"),
        *("anomaly_level", "score", "is_score_inf", "value", "benchmark", "std", "segment", "baseline_segment"),
        *("segment_size", "segment_ratio", "kapi"),
    ]


def test_standard_deviation_drift(loans: Table) -> None:
    """|std t - std b| / S."""
    signal = found(loans, VACATION, "StandardDeviationDrift", **OFFERED)
    assert signal.value == close(7366.557814133048)
    assert signal.benchmark == close(8873.001699809369)
    assert signal.std == close(8471.481976080446)
    assert signal.level == close(0.17782530729922144)


def test_existence_ratio_drift(loans: Table) -> None:
    """The drift of the indicator, on all data."""
    signal = found(loans, ALL, "ExistenceRatioDrift", metrics=["approved_amount"], min_anomaly_level=0)
    assert signal.value == close(4787 / 6007)
    assert signal.benchmark == close(14718 / 18880)
    assert signal.level == close(0.042139594073404896)


def test_sum_drift(loans: Table) -> None:
    """Sums per day."""
    signal = found(loans, VACATION, "SumDrift", **OFFERED)
    assert signal.value == close(140299.7857142857)
    assert signal.benchmark == close(127443.61904761905)
    assert signal.std == close(77500.05210880202)
    assert signal.level == close(0.16588590996839506)


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({}, 0.4064703282255142),
        ({"time_resolution": ""}, 0.24835526315789483),
        (
            {"time_resolution": "", "use_relative_sizes": True, "normalize_relative_size_drift": False},
            0.30786012809616864,
        ),
        ({"time_resolution": "", "use_relative_sizes": True}, 0.05424819228574222),
    ],
)
def test_segment_size_drift(loans: Table, given: dict[str, Any], level: float) -> None:
    """Each of the four modes."""
    signal = found(loans, VACATION, "SegmentSizeDrift", segment_by=["purpose"], min_anomaly_level=0, **given)
    assert signal.level == close(level)
    assert signal.metric is None


def test_drift_across_versions(loans: Table) -> None:
    """v2 against v1 on feature_2."""
    given = {"metrics": ["feature_2"], "version_field": "model_version", "min_anomaly_level": 0}
    signal = found(loans, ALL, "AverageDriftAcrossVersions", **given)
    assert (signal.target_size, signal.benchmark_size, signal.count) == (4207, 14410, 4205 + 14410)
    assert signal.value == close(624.2877526753864)
    assert signal.benchmark == close(484.68965995836226)
    assert signal.level == close(0.270718752661414)


@pytest.mark.parametrize(
    ("type_name", "metric", "segment", "level"),
    [
        ("AverageOutlier", "credit_score", "Wedding expenses", 0.4362609178816239),
        ("StandardDeviationOutlier", "offered_amount", "Vacation costs", 0.22216413919994596),
        ("ExistenceRatioOutlier", "feature_9", "Vacation costs", 0.06179993462206856),
    ],
)
def test_outliers(loans: Table, type_name: str, metric: str, segment: str, level: float) -> None:
    """Eight weeks, baseline all 24,887 contexts."""
    signal = found(
        loans,
        Segment.of({"purpose": Equals(segment)}),
        type_name,
        metrics=[metric],
        segment_by=["purpose"],
        min_anomaly_level=0,
        time_period="8w",
    )
    assert signal.baseline_size == 24_887
    assert signal.level == close(level)
    if metric == "credit_score":
        assert signal.value == close(0.14672712850871825)
        assert signal.benchmark == close(0.2460501383568915)
        assert signal.std == close(0.2276688233510841)
        assert signal.score == close(10.766014368316089)
        assert signal.desc


def test_segment_size_outlier(loans: Table) -> None:
    """Home construction among its 25 siblings, MISSING included."""
    signal = found(
        loans,
        Segment.of({"purpose": Equals("Home construction")}),
        "SegmentSizeOutlier",
        segment_by=["purpose"],
        time_period="8w",
    )
    assert (signal.value, signal.benchmark) == (6641, close(995.48))
    assert signal.std == close(1304.1940076537692)
    assert signal.level == close(4.328742477628945)


def test_sudden_change(loans: Table) -> None:
    """feature_2 on 28 April, everybody and education."""
    given = {"metrics": ["feature_2"], "segment_by": ["occupation"], "min_anomaly_level": 0}
    signal = found(loans, ALL, "AverageSuddenChange", **given)
    assert signal.value == close(2015.3203883495146)
    assert signal.benchmark == close(539.8140128153784)
    assert signal.level == close(28.00747770739815)
    education = found(loans, Segment.of({"occupation": Equals("education")}), "AverageSuddenChange", **given)
    assert education.target_size == 56
    assert education.value == close(2261.4285714285716)
    assert education.benchmark == close(708.4690909090907)
    assert education.std == close(abs(708.4690909090907 - 548.9425639658848))
    assert education.level == close(9.734804049688615)


def test_new_segments(loans: Table) -> None:
    """model_version v2 appears two weeks before the end."""
    signal = found(
        loans,
        Segment.of({"model_version": Equals("v2")}),
        "NewSegments",
        segment_by=["model_version"],
        time_period="7d",
    )
    assert (signal.size, signal.level) == (4207, close(0.7003495921425004))
    assert signal.score == close(45.425648503439106)


GENERAL: dict[str, Any] = {
    "segment_by": ["occupation", "purpose", "city"],
    "max_false_discovery_rate": 0.05,
    "fold_redundant": True,
}
METRICS = ["credit_score", "offered_amount", "approved_amount", "feature_2"]


def test_one_sudden_change_is_one_finding(loans: Table) -> None:
    """feature_2 jumped for everybody on 28 April: one finding on all data, the segments folded under it."""
    result = run(
        loans,
        "AverageSuddenChange",
        metrics=METRICS,
        min_anomaly_level=2,
        min_culprit_size=10,
        min_segment_size_fraction=0.05,
        time_series_points=30,
        **GENERAL,
    )
    (finding,) = result.findings
    assert (finding.main.metric, finding.main.segment) == ("feature_2", ALL)
    assert len(finding.related) >= 10
    assert {one.relation for one in finding.related} == {"child"}
    assert {one.signal.metric for one in finding.related} == {"feature_2"}


def test_outliers_that_are_no_chance(loans: Table) -> None:
    """Two purposes differ from everybody in four weeks, with the gate at its default."""
    result = run(
        loans, "AverageOutlier", metrics=METRICS, min_anomaly_level=0.3, min_segment_size_fraction=0.02, **GENERAL
    )
    found = {(s.metric, str(s.segment)): (s.size, round(s.level, 4)) for s in result.signals}
    assert found == {
        ("credit_score", "purpose = Wedding expenses"): (287, 0.4072),
        ("credit_score", "purpose = Medical insurance"): (855, 0.3357),
    }
    assert all(s.chance.q_value is not None and s.chance.q_value < 0.05 for s in result.signals)


def test_a_new_version_is_one_finding(loans: Table) -> None:
    """model_version v2, with all that is new inside of it folded under it; rare combinations could be chance."""
    result = run(loans, "NewSegments", **GENERAL | {"segment_by": ["model_version", "occupation", "purpose", "city"]})
    assert [str(s.segment) for s in result.signals] == ["model_version = v2"]
    assert len(result.findings[0].related) > 100
    assert result.held_back
    assert all(not s.chance.passed and s.chance.reason for s in result.held_back)


def test_the_published_change_could_be_chance(loans: Table) -> None:
    """With the gate at its default the published insight is kept back, and says why."""
    given = OFFERED | {"min_anomaly_level": 0.1, "min_segment_size": 500, "benchmark_min_segment_size": 100}
    result = run(loans, "AverageDrift", **given, max_false_discovery_rate=0.05, fold_redundant=True)
    assert VACATION not in {s.segment for s in result.signals}
    (kept,) = [s for s in result.held_back if s.segment == VACATION]
    assert kept.to_json()["gates"]["chance"]["passed"] is False
    assert "chance" in kept.chance.reason
