"""Reading configurations: all issues at once, original files as they are, parameters resolved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mona_server.config import ConfigError, parse, verse_names
from mona_server.segment import Equals, Segment
from tests.config.build import codes
from tests.support import PUBLISHED_VERSE

TUTORIAL: dict[str, Any] = {
    "LOAN_APPLICATION_TUTORIAL": {
        "fields": {
            "occupation": {"type": "string"},
            "city": {"type": "string", "function": "concat_strings", "sources": ["state", "city"], "args": ["_"]},
            "purpose": {"type": "string"},
            "stage": {"type": "string"},
            "model_version": {"type": "string"},
            "loan_taken": {"type": "boolean"},
            "credit_score": {
                "type": "numeric",
                "segmentations": {"original": {"default": True, "bucket_size": 0.02}},
            },
            "label": {"type": "numeric"},
            "offered_amount": {"type": "numeric", "segmentations": {"original": {"bucket_size": 700}}},
            "approved_amount": {"type": "numeric"},
            "approved": {"type": "boolean", "function": "existence_check", "source": "approved_amount"},
            "credit_label_delta": {"type": "numeric", "function": "delta", "sources": ["credit_score", "label"]},
            "return_until": {"type": "timestamp"},
        },
        "stanzas_global_defaults": {"segment_by": ["occupation", "purpose", "city"]},
        "stanzas": {
            "loan": {"verses": [PUBLISHED_VERSE]},
            "general": {
                "metrics": ["credit_score", "offered_amount"],
                "verses": [
                    {"type": "AverageDrift", "min_anomaly_level": 0.2, "min_segment_size_fraction": 0.02},
                    {"type": "AverageOutlier", "min_anomaly_level": 0.3, "time_period": "1w"},
                    {"type": "AverageSuddenChange", "min_culprit_size": 10, "time_series_points": 30},
                ],
            },
        },
        "notifications": {"team": {"emails": ["a@b.c"], "verse_name": "loan_AverageDrift"}},
    }
}


def verse_values(given: dict[str, Any], verse: str) -> Any:
    return next(iter(parse(given).or_raise().classes.values())).verse(verse)


def test_the_tutorial_configuration_is_read_without_issues() -> None:
    """Fields, stanzas and notifications as an original file writes them."""
    parsed = parse(TUTORIAL)
    assert parsed.issues == ()
    loan = parsed.classes["LOAN_APPLICATION_TUTORIAL"]
    assert [verse.name for verse in loan.verses] == [
        "loan__AverageDrift",
        "general__AverageDrift",
        "general__AverageOutlier",
        "general__AverageSuddenChange",
    ]
    assert verse_names(loan.verses[0]) == ("loan__AverageDrift", "loan_AverageDrift", "loanAverageDrift")
    assert loan.verses[0]["baseline_segment"] == Segment.of({"stage": Equals("inference")})


def test_every_json_example_of_the_specification_is_read(reference: Path) -> None:
    """The examples of the configuration chapter are valid as they stand, with and without the user id."""
    example = (
        '{"my-user-id": {"LOAN": {"fields": {"amount": {"type": "numeric"}}, "stanzas": {}}, "CHAT": {"fields": {}}}}'
    )
    assert example in (reference / "spec/config.md").read_text()
    wrapped = parse(example, user_id="my-user-id")
    bare = parse(json.loads(example)["my-user-id"], user_id="my-user-id")
    assert wrapped.issues == bare.issues == ()
    assert wrapped.classes == bare.classes
    assert set(wrapped.classes) == {"LOAN", "CHAT"}


def test_a_class_named_like_the_user_stays_a_class() -> None:
    """Only a level without fields of its own is the user id level."""
    assert set(parse({"me": {"fields": {}}}, user_id="me").classes) == {"me"}
    assert set(parse({"me": {"fields": {"fields": {"type": "string"}}}}, user_id="me").classes) == {"me"}


def test_parameters_come_from_verse_stanza_defaults_type() -> None:
    """A value replaces the one of the next level; lists are not merged; what a type does not know is ignored."""
    given = {
        "C": {
            "fields": {name: {"type": "numeric"} for name in ("a", "b", "c")},
            "stanza_global_defaults": {"metrics": ["a"], "cadence": "1w", "min_score": 9, "threshold": 5},
            "stanzas": {
                "s": {
                    "metrics": ["b"],
                    "cadence": "2d",
                    "verses": [{"type": "AverageDrift", "metrics": ["c"], "name": "own"}, {"type": "AverageDrift"}],
                }
            },
        }
    }
    own, plain = verse_values(given, "own"), verse_values(given, "s__AverageDrift")
    assert (own.metrics, plain.metrics) == (("c",), ("b",))
    assert (own["cadence"], own["min_score"], own["benchmark_set_period"]) == ("2d", 9, "6w")
    assert own.get("threshold") is None


def test_all_issues_are_reported_at_once_with_their_lines() -> None:
    """Each has a path, a code, a line where the text is known, and the nearest known name."""
    text = """{
  "LOAN": {
    "fields": {
      "amount": {"type": "number"},
      "purpose": {"type": "string", "functoin": "identity"},
      "length": {"type": "numeric", "function": "lenght", "source": "purpose"}
    },
    "stanzas": {
      "s": {"verses": [{"type": "AverageDrift", "metrics": ["purpose", "amuont"], "cadence": "7d"}]}
    }
  }
}"""
    parsed = parse(text)
    found = {issue.path: (issue.code, issue.severity, issue.line) for issue in parsed.issues}
    assert found == {
        "LOAN.fields.amount.type": ("unknown_type", "error", 4),
        "LOAN.fields.purpose.functoin": ("unknown_key", "warning", 5),
        "LOAN.fields.length.function": ("unknown_function", "error", 6),
        "LOAN.stanzas.s.verses[0].cadence": ("bad_cadence", "error", 9),
    }
    messages = " ".join(issue.message for issue in parsed.issues)
    for suggestion in ("'numeric'", "'function'", "'length'"):
        assert f"did you mean {suggestion}" in messages
    with pytest.raises(ConfigError, match=r"3 errors: LOAN\.fields\.amount\.type \(line 4\): 'number' is not a type"):
        parsed.or_raise()


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"fields": {"a b": {"type": "string"}}}, "C.fields.a b", "bad_name"),
    ({"fields": {"_": {"type": "string"}}}, "C.fields._", "bad_name"),
    ({"fields": {"12": {"type": "string"}}}, "C.fields.12", "bad_name"),
    ({"fields": {"MONA_X": {"type": "string"}}}, "C.fields.MONA_X", "bad_name"),
    ({"fields": {"a": {}}}, "C.fields.a.type", "missing_type"),
    ({"fields": {"a": 3}}, "C.fields.a", "bad_field"),
    ({}, "C.fields", "missing_fields"),
    ({"fields": {"a": {"type": "numeric", "source": "x", "sources": ["x"]}}}, "C.fields.a.sources", "two_sources"),
    (
        {"fields": {"a": {"type": "numeric", "function": "delta", "sources": ["x"]}}},
        "C.fields.a.sources",
        "wrong_number_of_sources",
    ),
    ({"fields": {"a": {"type": "numeric", "function": "clip", "args": ["x"]}}}, "C.fields.a.args[0]", "bad_args"),
    ({"fields": {"a": {"type": "numeric", "function": "abs", "args": [1]}}}, "C.fields.a.args", "bad_args"),
    ({"fields": {"a": {"type": "boolean", "function": "is_in_set", "args": ["x"]}}}, "C.fields.a.args[0]", "bad_args"),
    (
        {"fields": {"a": {"type": "boolean", "function": "regex_match", "args": ["(?=x)"]}}},
        "C.fields.a.args[0]",
        "bad_args",
    ),
    ({"fields": {}, "time_zone": "Mars"}, "C.time_zone", "bad_time_zone"),
    ({"fields": {}, "retention_days": 0}, "C.retention_days", "bad_class"),
    ({"fields": {}, "notifications": {"n": {"min_score": 1}}}, "C.notifications.n", "no_destination"),
    ({"fields": {}, "segmentations": {"a": {}}}, "C.segmentations.a", "unknown_field"),
    ({"fields": {}, "field_vectors": {"v": {"fields": ["a"]}}}, "C.field_vectors.v.fields[0]", "unknown_field"),
    (
        {"fields": {}, "stanzas_global_defaults": {"cadence": "1d"}, "stanza_global_defaults": {"cadence": "2d"}},
        "C.stanza_global_defaults",
        "two_defaults",
    ),
    ({"fields": {}, "stanzas_global_defaults": {"cadence": "9d"}}, "C.stanzas_global_defaults.cadence", "bad_cadence"),
    (
        {"fields": {}, "main_kpis": [{"name": "k", "type": "average", "field": "x"}]},
        "C.main_kpis[0].field",
        "unknown_field",
    ),
]


@pytest.mark.parametrize(("given", "path", "code"), BAD, ids=[f"{code}:{path}" for _, path, code in BAD])
def test_errors(given: dict[str, Any], path: str, code: str) -> None:
    """One error each, at the place of the fault."""
    assert codes({"C": given}) == [(path, code, "error")]


FIELDS = {
    "n": {"type": "numeric", "segmentations": {"a": {"bucket_size": 1}}},
    "s": {"type": "string"},
    "t": {"type": "timestamp"},
    "hidden": {"function": "identity", "do_not_save": True},
}
BAD_VERSES: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "AverageDrift", "metrics": ["s"]}, "metrics[0]", "not_numeric"),
    ({"type": "AverageDrift", "metrics": ["x"]}, "metrics[0]", "unknown_field"),
    ({"type": "AverageDrift", "metrics": ["hidden"]}, "metrics[0]", "unsaved_field"),
    ({"type": "AverageDrift"}, "metrics", "missing_parameter"),
    ({"type": "AverageDrift", "metrics": ["n"], "segment_by": ["t"]}, "segment_by[0]", "not_segmentable"),
    (
        {"type": "AverageDrift", "metrics": ["n"], "segment_by": [{"name": "n", "segmentation": "b"}]},
        "segment_by[0]",
        "unknown_segmentation",
    ),
    (
        {"type": "AverageDrift", "metrics": ["n"], "baseline_segment": {"x": [{"value": 1}]}},
        "baseline_segment",
        "unknown_field",
    ),
    (
        {"type": "AverageDrift", "metrics": ["n"], "timestamp_field_name": "n"},
        "timestamp_field_name",
        "not_a_timestamp",
    ),
    (
        {"type": "AverageDrift", "metrics": ["n"], "min_segment_size_fraction": 2},
        "min_segment_size_fraction",
        "bad_fraction",
    ),
    ({"type": "AverageDrift", "metrics": ["n"], "target_set_period": "2y"}, "target_set_period", "bad_period"),
    ({"type": "AverageThreshold", "metrics": ["n"]}, "threshold", "missing_parameter"),
    ({"type": "SumOutlier", "metrics": ["n"]}, "type", "unknown_verse_type"),
    ({"type": "Surprise", "metrics": ["n"]}, "type", "unknown_verse_type"),
    ({"metrics": ["n"]}, "type", "missing_type"),
]


@pytest.mark.parametrize(("verse", "path", "code"), BAD_VERSES, ids=[f"{code}:{path}" for _, path, code in BAD_VERSES])
def test_verse_errors(verse: dict[str, Any], path: str, code: str) -> None:
    """One error each, at the parameter of the verse."""
    given = {"C": {"fields": FIELDS, "stanzas": {"s": {"verses": [verse]}}}}
    assert codes(given) == [(f"C.stanzas.s.verses[0].{path}", code, "error")]


def test_existence_takes_any_field() -> None:
    """A text field has no average, but it has an existence ratio and a distribution."""
    verses = [{"type": kind, "metrics": ["s", "t"]} for kind in ("ExistenceRatioDrift", "ExistenceRatioOutlier")]
    assert codes({"C": {"fields": FIELDS, "stanzas": {"s": {"verses": verses}}}}) == []


def test_two_verses_of_one_type_need_names() -> None:
    """Rules and insights name verses, so a name is unique in its stanza."""
    verse = {"type": "AverageDrift", "metrics": ["n"]}
    stanza = {"verses": [verse, verse]}
    assert codes({"C": {"fields": FIELDS, "stanzas": {"s": stanza}}}) == [
        ("C.stanzas.s.verses", "duplicate_verse_name", "error")
    ]
    named = {"verses": [verse, {**verse, "name": "second"}]}
    assert codes({"C": {"fields": FIELDS, "stanzas": {"s": named}}}) == []


def test_an_inherited_fault_is_reported_once() -> None:
    """A bad value of a stanza concerns all of its verses, and is one issue."""
    stanza = {"metrics": ["n"], "cadence": "8d", "verses": [{"type": "AverageDrift"}, {"type": "AverageOutlier"}]}
    assert codes({"C": {"fields": FIELDS, "stanzas": {"s": stanza}}}) == [
        ("C.stanzas.s.cadence", "bad_cadence", "error")
    ]


def test_unknown_keys_are_kept_with_a_warning() -> None:
    """Original files may hold keys that nobody here knows."""
    given = {"C": {"fields": {"a": {"type": "string", "colour": "red"}}, "future": {"x": 1}}}
    parsed = parse(given)
    assert [(i.path, i.severity) for i in parsed.issues] == [("C.future", "warning"), ("C.fields.a.colour", "warning")]
    assert parsed.raw == given
    assert parsed.normal["C"]["future"] == {"x": 1}


VERSES_OF_OLD = [
    {"type": "AverageDream"},
    {"type": "SumOutlier"},
    {"type": "AverageOutlier", "metrics": ["a"]},
    {"type": "AverageDrift"},
]


def test_lenient_reading_keeps_what_is_unknown_inactive() -> None:
    """Unknown functions and verse types are errors, or with lenient warnings and parts that rest."""
    given = {
        "C": {
            "fields": {"a": {"type": "numeric", "function": "secret_sauce"}, "b": {"type": "numeric"}},
            "stanzas": {"s": {"metrics": ["b"], "verses": VERSES_OF_OLD}},
        }
    }
    assert [severity for _, _, severity in codes(given)] == ["error", "error", "error"]
    parsed = parse(given, lenient=True)
    assert {issue.severity for issue in parsed.issues} == {"warning"}
    one = parsed.or_raise().classes["C"]
    assert list(one.saved_fields) == ["b"]
    assert [verse.type for verse in one.inactive_verses] == ["AverageDream", "SumOutlier", "AverageOutlier"]
    assert [verse.name for verse in one.verses] == ["s__AverageDrift"]


def test_a_source_that_is_a_later_field_is_said() -> None:
    """It means the variable; where the later field is something else, that may surprise."""
    fields = {
        "a": {"type": "numeric", "source": "b"},
        "b": {"type": "numeric", "function": "negate", "source": "c"},
        "c": {"type": "numeric"},
    }
    assert codes({"C": {"fields": fields}}) == [("C.fields.a", "source_is_later_field", "warning")]


def test_class_level_segmentations_move_into_their_fields() -> None:
    """The field's own definition of the same name wins."""
    given = {
        "C": {
            "fields": {
                "a": {"type": "numeric"},
                "b": {"type": "numeric", "segmentations": {"x": {"default": True, "bucket_size": 5}}},
            },
            "segmentations": {"a": {"x": {"bucket_size": 1}}, "b": {"x": {"default": True, "bucket_size": 2}}},
        }
    }
    parsed = parse(given).or_raise()
    sizes = {name: one.segmentations["x"].bucket_size for name, one in parsed.classes["C"].fields.items()}
    assert sizes == {"a": 1, "b": 5}
    assert "segmentations" not in parsed.normal["C"]
    assert parse(parsed.normal).classes == parsed.classes


def test_normal_forms_are_stable() -> None:
    """The normal form of a normal form is itself, and it means the same."""
    parsed = parse(TUTORIAL).or_raise()
    again = parse(parsed.normal).or_raise()
    assert again.normal == parsed.normal
    name = "LOAN_APPLICATION_TUTORIAL"
    assert again.classes[name].fields == parsed.classes[name].fields
    assert [v.text for v in again.classes[name].verses] == [v.text for v in parsed.classes[name].verses]


def test_spellings_have_one_normal_form() -> None:
    """Aliases, single sources, defaults of the format and segments as text."""
    long = {
        "fields": {"a": {"type": "numeric", "function": "identity", "sources": ["a"], "args": [], "tags": []}},
        "stanza_global_defaults": {"baseline_segment": '{"a": [{"value": 1}]}'},
        "stanzas": {},
    }
    short = {
        "fields": {"a": {"type": "numeric"}},
        "stanzas_global_defaults": {"baseline_segment": {"a": [{"value": 1}]}},
    }
    assert parse({"C": long}).normal == parse({"C": short}).normal


def test_kpis_of_another_shape_are_kept_and_not_shown() -> None:
    """Original files may hold some."""
    given = {
        "fields": {"n": {"type": "numeric"}},
        "main_kpis": [
            "n",
            {"name": "Mean", "type": "average", "field": "n", "period": "1w"},
            {"name": "All", "type": "count"},
        ],
    }
    parsed = parse({"C": given}).or_raise()
    assert [issue.code for issue in parsed.warnings] == ["unknown_kpi"]
    assert [(kpi.name, kpi.field, kpi.period) for kpi in parsed.classes["C"].kpis] == [
        ("Mean", "n", "1w"),
        ("All", None, "7d"),
    ]


@pytest.mark.parametrize("given", ["[]", "3", "null", "{", b"\xff", None, 5, [1]])
def test_what_is_no_configuration_is_one_error(given: Any) -> None:
    """Never an exception."""
    parsed = parse(given)
    assert [issue.severity for issue in parsed.issues] == ["error"]
    assert parsed.classes == {}


def test_duplicate_keys_are_errors_at_the_second_one() -> None:
    """JSON readers would silently take the last."""
    text = '{"C": {"fields": {\n"a": {"type": "string"},\n"a": {"type": "numeric"}}}}'
    (issue,) = parse(text).issues
    assert (issue.path, issue.code, issue.line, issue.column) == ("C.fields.a", "duplicate_key", 3, 1)
