"""Every parameter is declared once; values are read strictly and written back alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mona_server.detect.parameters import (
    CADENCE,
    DIRECTIONS,
    FRACTION,
    PERIOD,
    PERIOD_OR_EMPTY,
    POINTS,
    SEGMENT,
    SEGMENT_BY,
    SEGMENTS,
    BadValue,
    Derived,
    Group,
    Kind,
    period_ms,
)
from mona_server.detect.verses import VERSES, VerseType, resolve
from tests.support import PUBLISHED_VERSE


def minimal(verse_type: VerseType) -> dict[str, Any]:
    """The least that a verse of the type needs."""
    given: dict[str, Any] = {"metrics": ["x"]} if verse_type.has_metrics else {}
    names = {p.name for p in verse_type.parameters if p.required}
    return (
        given
        | ({"threshold": 1} if "threshold" in names else {})
        | ({"version_field": "version"} if "version_field" in names else {})
    )


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (CADENCE, ["1m", "30m", "12h", "6d", "5w"], ["7m", "7d", "0d", "1M", "", None, 1, "1d "]),
        (PERIOD, ["1m", "36h", "14d", "6w"], ["", "0d", "-1d", "1.5h", "2y", None, 14]),
        (PERIOD_OR_EMPTY, ["", "6w"], ["x", None, False]),
        (FRACTION, [0, 0.5, 1], [-0.1, 1.1, True, "0.5", None, float("nan")]),
        (POINTS, [5, 30, "60d"], [0, 4, 2.5, "60", True]),
        (DIRECTIONS, [["asc"], ["asc", "desc"]], [[], ["up"], "asc"]),
        (SEGMENT, [{}, "{}", {"a": [{"value": 1}]}], [[], {"a": []}, {"a": [{"x": 1}]}, "{"]),
        (SEGMENTS, [[], [{"a": [{"value": 1}]}], {"a": [{"value": 1}]}], [[{"a": 1}]]),
        (
            SEGMENT_BY,
            [[], ["a", {"name": "b", "avoid_values": ["x"], "segmentation": "coarse"}]],
            ["a", [1], [{"name": "a", "nope": 1}], [{"name": "a", "avoid_values": "x"}], [{"name": 1}]],
        ),
    ],
)
def test_kinds_read_strictly(kind: Kind, good: list[Any], bad: list[Any]) -> None:
    """A kind takes exactly its forms, and what it wrote it reads again as the same value."""
    for given in good:
        value = kind.read(given)
        assert kind.read(kind.write(value)) == value
    for given in bad:
        with pytest.raises(BadValue):
            kind.read(given)


def test_bad_value_says_where() -> None:
    """The path of the bad part inside of a list is told."""
    with pytest.raises(BadValue) as caught:
        SEGMENT_BY.read(["a", {"name": "b", "segmentation": 3}])
    assert caught.value.at == "[1].segmentation"


def test_periods_have_lengths() -> None:
    """A period is a number of minutes, hours, days or weeks."""
    assert [period_ms(text) for text in ("1m", "1h", "1d", "1w")] == [60_000, 3_600_000, 86_400_000, 604_800_000]


@pytest.mark.parametrize("verse_type", VERSES.values(), ids=list(VERSES))
class TestEveryType:
    """The contract of the registry."""

    def test_declarations_are_complete(self, verse_type: VerseType) -> None:
        """Names are unique, every default is a value of its kind, every parameter says what it is for."""
        names = [p.name for p in verse_type.parameters]
        assert len(names) == len(set(names))
        for parameter in verse_type.parameters:
            assert parameter.doc.endswith("."), parameter.name
            assert parameter.group in Group
            if not parameter.required and not isinstance(parameter.default, Derived):
                written = parameter.kind.write(parameter.default)
                assert parameter.kind.read(written) == parameter.default, parameter.name

    def test_minimal_verse_resolves(self, verse_type: VerseType) -> None:
        """With only what is required, every parameter of the type has a value, as JSON with sorted keys."""
        verse, problems = resolve(verse_type, minimal(verse_type), context_class="LOAN", stanza="loan")
        assert not problems
        assert verse is not None
        resolved = verse.resolved()
        assert list(resolved) == sorted(resolved)
        assert set(resolved) == {p.name for p in verse_type.parameters} | {"arc_class", "type", "name"}
        assert json.loads(json.dumps(resolved)) == resolved
        assert verse.name == f"loan__{verse_type.type}"
        again, _ = resolve(verse_type, resolved, context_class="LOAN", stanza="loan")
        assert again is not None
        assert again.resolved() == resolved

    def test_description_is_json(self, verse_type: VerseType) -> None:
        """Forms are built from the description alone."""
        described = json.loads(json.dumps(verse_type.to_json()))
        assert {p["name"] for p in described["parameters"]} == {p.name for p in verse_type.parameters}


def test_resolved_oracle_has_the_published_first_keys() -> None:
    """The resolved verse of the published insight begins with exactly these keys and values."""
    verse, problems = resolve(
        VERSES["AverageDrift"], PUBLISHED_VERSE, context_class="LOAN_APPLICATION_TUTORIAL", stanza="loan"
    )
    assert not problems
    assert verse is not None
    first = {
        "always_segment_baseline_by": [],
        "arc_class": "LOAN_APPLICATION_TUTORIAL",
        "avoid_related_anomalies_for": [],
        "avoid_same_field_for_segment_and_metric": True,
        "avoid_segmenting_on_missing": False,
        "baseline_min_segment_size": 1,
        "baseline_segment": '{"stage": [{"value": "inference"}]}',
        "benchmark_baseline_min_segment_size": 1,
        "benchmark_baseline_segment": "{}",
        "benchmark_max_segment_size": None,
        "benchmark_max_segment_size_fraction": None,
        "benchmark_min_segment_size": 100,
        "benchmark_min_segment_size_fraction": 0,
        "benchmark_set_period": "6w",
        "benchmark_set_period_type": "previous_to_target",
        "cadence": "1d",
        "create_extra_adjacent_signals": True,
        "default_urgency": "normal",
        "description": "",
        "disabled": False,
    }
    assert list(verse.resolved().items())[: len(first)] == list(first.items())


def test_values_come_from_the_nearest_level() -> None:
    """Verse before stanza before global defaults before the type; lists are replaced, not merged."""
    verse, problems = resolve(
        VERSES["AverageDrift"],
        {"type": "AverageDrift", "min_segment_size": 7},
        context_class="A",
        stanza="s",
        stanza_values={"metrics": ["x"], "min_segment_size": 5, "threshold": 3, "cadence": "1h"},
        defaults={"metrics": ["y", "z"], "min_score": 2, "name": "never"},
    )
    assert not problems
    assert verse is not None
    assert (verse["metrics"], verse["min_segment_size"], verse["min_score"]) == (("x",), 7, 2)
    assert verse["evaluation_delay"] == "5m"
    assert verse.name == "s__AverageDrift"


def test_all_problems_are_reported_at_once() -> None:
    """Bad values are errors with their level, unknown parameters warnings with the nearest name."""
    verse, problems = resolve(
        VERSES["AverageThreshold"],
        {"type": "AverageThreshold", "min_segment_sise": 3, "cadence": "7d"},
        context_class="A",
        stanza="s",
        stanza_values={"time_period": "x"},
    )
    assert verse is None
    found = {(p.level, p.path, p.severity) for p in problems}
    assert found == {
        ("verse", "cadence", "error"),
        ("stanza", "time_period", "error"),
        ("verse", "threshold", "error"),
        ("verse", "metrics", "error"),
        ("verse", "min_segment_sise", "warning"),
    }
    assert any("did you mean min_segment_size?" in p.message for p in problems)


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({}, 1),
        ({"time_resolution": ""}, 0.3),
        ({"time_resolution": "", "use_relative_sizes": True}, 0.1),
        ({"time_resolution": "", "use_relative_sizes": True, "normalize_relative_size_drift": False}, 0.3),
    ],
)
def test_least_level_of_size_drift_follows_its_mode(given: dict[str, Any], level: float) -> None:
    """Each mode of SegmentSizeDrift has its own scale, hence its own default."""
    verse, _ = resolve(VERSES["SegmentSizeDrift"], given, context_class="A", stanza="s")
    assert verse is not None
    assert verse["min_anomaly_level"] == level


def test_original_types_are_all_there() -> None:
    """The names that original configuration files use."""
    expected = [
        "AverageDrift",
        "SumDrift",
        "StandardDeviationDrift",
        "ExistenceRatioDrift",
        "SegmentSizeDrift",
        "AverageDriftAcrossVersions",
        "AverageOutlier",
        "StandardDeviationOutlier",
        "ExistenceRatioOutlier",
        "SegmentSizeOutlier",
        "AverageSuddenChange",
        "SumSuddenChange",
        "ExistenceRatioSuddenChange",
        "SegmentSizeSuddenChange",
        "AverageThreshold",
        "StandardDeviationThreshold",
        "ExistenceRatioThreshold",
        "NewSegments",
    ]
    assert set(expected) <= set(VERSES)
    assert VERSES["AverageDrift"].signal_type == "KapiAverageDriftInSegment"
    assert VERSES["NewSegments"].signal_type == "NewSegments"
