"""Suggestions from data, and what they must be on the tutorial's."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mona_server.config import parse
from mona_server.config.fields import FieldBuilder
from mona_server.config.suggest import suggest_class, suggest_config


def suggested(values: list[Any], name: str = "x") -> dict[str, Any]:
    """The fields suggested for one variable with these values."""
    found = suggest_class([(f"id{i}", {name: value}) for i, value in enumerate(values)])
    parse({"C": found.config}).or_raise()
    return dict(found.config["fields"])


def test_the_tutorial(inference_rows: list[dict[str, Any]], feedback_rows: list[dict[str, Any]]) -> None:
    """Types, identifier and widths as people expect them, without issues; four times the contexts take about four times as long."""
    contexts: dict[str, dict[str, Any]] = {row["id"]: dict(row) for row in inference_rows}
    for row in feedback_rows:
        contexts.setdefault(row["id"], {}).update(row)
    latest = list(contexts.items())[-20_000:]
    at = [time.process_time()]
    suggest_class(latest[::4], verses=True)
    at.append(time.process_time())
    found = suggest_class(latest, verses=True)
    at.append(time.process_time())
    assert at[2] - at[1] < 3 * 4 * (at[1] - at[0])
    assert found.confidence == "normal"
    fields = found.config["fields"]
    assert set(found.new_fields) == set(fields)
    for name in ("occupation", "city", "state", "purpose", "stage", "model_version"):
        assert fields[name]["type"] == "string"
    for name in ("loan_taken", "loan_paid_back"):
        assert fields[name] == {"type": "boolean"}
    assert fields["id"] == {"type": "string", "tags": ["id"], "segmentations": {}}
    assert fields["timestamp"] == {"type": "timestamp"}
    assert fields["offered_amount"]["segmentations"] == {"original": {"default": True, "bucket_size": 700}}
    parsed = parse({"LOAN": found.config})
    assert parsed.issues == ()
    assert {verse.type.type for verse in parsed.classes["LOAN"].verses} == {"AverageDrift", "AverageSuddenChange"}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ([True, False, None], {"type": "boolean"}),
        (["a", "b"], {"type": "string"}),
        ([1, 2, 3], {"type": "numeric", "segmentations": {"original": {"default": True, "discrete": True}}}),
        ([0.0, 1.0, 0.5], {"type": "numeric", "segmentations": {"original": {"default": True, "bucket_size": 0.02}}}),
        ([7, 7, 7], {"type": "numeric", "segmentations": {}}),
        (["a", "a"], {"type": "string", "segmentations": {}}),
        ([1, "a", True], {"type": "string"}),
        (
            [1611930299, 1611930300],
            {"type": "numeric", "segmentations": {"original": {"default": True, "discrete": True}}},
        ),
    ],
)
def test_one_variable(values: list[Any], field: dict[str, Any]) -> None:
    """By what 95 % of its values are."""
    assert suggested(values) == {"x": field}


def test_a_stray_value_does_not_change_the_type() -> None:
    """One text among a hundred numbers is a fault of the sender, not a kind."""
    assert suggested([*range(100), "n/a"])["x"]["type"] == "numeric"
    assert suggested([*range(10), "n/a"])["x"]["type"] == "string"


@pytest.mark.parametrize("name", ["created_at", "eventTime", "date", "order-ts", "Timestamp"])
def test_times_are_told_by_name_and_value(name: str) -> None:
    """A number of ten digits alone may be an amount."""
    assert suggested([1611930299, "2021-01-29T14:24:59Z"], name) == {name: {"type": "timestamp"}}
    assert suggested([5, 6], name)[name]["type"] == "numeric"


def test_identifiers() -> None:
    """Equal to the context id; nearly all distinct; or named so with many values."""
    equal = suggest_class([(f"c{i}", {"ref": f"c{i}"}) for i in range(3)])
    assert equal.config["fields"]["ref"]["tags"] == ["id"]
    assert suggested([f"v{i}" for i in range(100)])["x"]["tags"] == ["id"]
    assert "tags" not in suggested([f"v{i}" for i in range(99)])["x"]
    users = [i % 1001 for i in range(3000)]
    assert suggested(users, "user_id")["user_id"]["tags"] == ["id"]
    assert "tags" not in suggested(users, "users")["users"]


def test_arrays_and_objects() -> None:
    """Lengths of arrays, elements of few kinds, leaves of objects to three levels."""
    contexts = [
        ("a", {"tags": ["x", "y"], "scores": [0.5], "o": {"n": {"deep": 1, "er": {"lost": 2}}, "b.c": True}}),
        ("b", {"tags": ["x"], "scores": [0.1, 0.2], "o": {"n": {"deep": 2, "er": {"lost": 3}}, "b.c": False}}),
    ]
    found = suggest_class(contexts)
    fields = found.config["fields"]
    assert list(fields) == ["tags_length", "tags", "scores_length", "o_n_deep", "o_b_c"]
    assert fields["tags"] == {"type": "string"}
    assert fields["tags_length"]["function"] == "array_length"
    assert fields["o_n_deep"]["source"] == "o.n.deep"
    built, problems = FieldBuilder(parse({"C": found.config}).or_raise().classes["C"]).build(contexts[0][1], 0)
    assert problems == []
    assert built == {"tags_length": 2, "tags": ["x", "y"], "scores_length": 1, "o_n_deep": 1, "o_b_c": True}


def test_long_texts_get_measures() -> None:
    """Nobody segments by an essay."""
    fields = suggested(["word " * 60, "word " * 70], "answer")
    assert set(fields) == {"answer_length", "answer_word_count"}
    assert all(field["tags"] == ["text"] and field["source"] == "answer" for field in fields.values())


def test_names_that_no_field_may_have_are_changed() -> None:
    """The source keeps the variable's own name."""
    fields = suggest_class([("a", {"total amount": 1.5, "7": 2, "a.b": "x", "MONA_X": 1})]).config["fields"]
    assert {name: field.get("source", name) for name, field in fields.items()} == {
        "total_amount": "total amount",
        "field_7": "7",
        "a_b": "a.b",
        "field_MONA_X": "MONA_X",
    }
    parse({"C": {"fields": fields}}).or_raise()


def test_existing_definitions_are_never_changed() -> None:
    """New fields come after them; a variable that a field copies already is no news."""
    current: dict[str, Any] = {
        "description": "mine",
        "fields": {"a": {"type": "string"}, "renamed": {"type": "numeric", "source": "b"}},
        "stanzas": {"s": {"verses": []}},
    }
    found = suggest_class([("x", {"a": 5, "b": 6, "c": "new"})], current, verses=True)
    assert found.new_fields == ("c",)
    assert found.config == {**current, "fields": {**current["fields"], "c": {"type": "string"}}}


def test_all_classes_at_once() -> None:
    """The answer of the wire: configuration, new fields and confidence by class; classes without data stay."""
    answer = suggest_config({"NEW": [("a", {"x": 1.5})]}, {"OLD": {"fields": {}}})
    assert answer["new_fields"] == {"NEW": ["x"]}
    assert answer["confidence"] == {"NEW": "low"}
    assert set(answer["suggested_config"]) == {"OLD", "NEW"}
    assert parse(answer["suggested_config"]).errors == ()


def test_nothing_gives_nothing() -> None:
    """No contexts, or contexts without values."""
    assert suggest_class([]).config == {"fields": {}}
    assert suggest_class([("a", {"x": None}), ("b", {})]).new_fields == ()
