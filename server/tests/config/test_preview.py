"""What a configuration would make of data, and the templates for calls of language models."""

from __future__ import annotations

from typing import Any

import pytest

from mona_server.config import parse
from mona_server.config.fields import FieldBuilder
from mona_server.config.openai import TEMPLATES, template
from mona_server.config.preview import ClassProfile, FieldProfile, build_contexts, check_data
from mona_server.errors import BadRequest

FIELDS: dict[str, Any] = {
    "x": {"type": "numeric", "segmentations": {"a": {"bucket_size": 1, "min_value": 0, "max_value": 10}}},
    "s": {"type": "string"},
}


def test_results_show_fields_and_errors() -> None:
    """One item for each context, in order, every saved field named."""
    context_class = parse({"C": {"fields": FIELDS}}).or_raise().classes["C"]
    assert build_contexts(context_class, [("a", {"x": 1, "s": "t"}, 5000), ("b", {"x": "?"}, 6500)], "me") == [
        {
            "context": "a",
            "user_id": "me",
            "arc_class": "C",
            "timestamp": 5.0,
            "fields": {"x": 1, "s": "t"},
            "errors": [],
        },
        {
            "context": "b",
            "user_id": "me",
            "arc_class": "C",
            "timestamp": 6.5,
            "fields": {"x": None, "s": None},
            "errors": [{"field": "x", "reason": "numeric: not a finite number"}],
        },
    ]


def test_data_warns() -> None:
    """Bounds that drop data, many buckets, metrics without values, many segments, verses that cannot fire."""
    verse = {"type": "AverageDrift", "metrics": ["y"], "segment_by": ["s"], "min_segment_size": 2000}
    fields = {
        **FIELDS,
        "y": {"type": "numeric", "segmentations": {"a": {"bucket_size": 0.001}}},
    }
    parsed = parse({"C": {"fields": fields, "stanzas": {"v": {"verses": [verse]}}}}).or_raise()
    profile = ClassProfile(
        contexts=1000,
        fields={
            "x": FieldProfile(count=1000, low=0, high=100, outside={"a": 300}),
            "y": FieldProfile(count=0, low=0, high=50),
            "s": FieldProfile(count=1000, distinct=20_000),
        },
    )
    warned = check_data(parsed, {"C": profile})
    assert warned.errors == ()
    assert [(issue.path, issue.code) for issue in warned.warnings] == [
        ("C.fields.x.segmentations.a", "drops_data"),
        ("C.fields.y.segmentations.a", "many_buckets"),
        ("C.stanzas.v.v__AverageDrift", "metric_without_data"),
        ("C.stanzas.v.v__AverageDrift", "many_values"),
        ("C.stanzas.v.v__AverageDrift", "never_fires"),
    ]
    assert check_data(parsed, {}).issues == ()
    assert check_data(parsed, {"C": ClassProfile(contexts=0, fields={})}).issues == ()


@pytest.mark.parametrize("api_type", list(TEMPLATES))
def test_templates_are_valid_configurations(api_type: str) -> None:
    """Without an issue, and with verses."""
    parsed = parse({"CALLS": template(api_type)})
    assert parsed.issues == ()
    assert parsed.classes["CALLS"].verses


def test_an_unknown_kind_of_call_is_refused() -> None:
    """With the kinds there are."""
    with pytest.raises(BadRequest, match="did you mean 'ChatCompletion'"):
        template("ChatCompletions")


CHAT = {
    "api_name": "ChatCompletion",
    "input": {"model": "gpt-4o", "temperature": 0.7, "messages": [{"role": "user"}, {"role": "user"}]},
    "latency": 1.5,
    "is_exception": False,
    "is_async": False,
    "response": {
        "model": "gpt-4o-2024-08-06",
        "choices": [{"finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    },
    "analysis": {
        "privacy": {
            "total_prompt_email_count": 1,
            "last_user_message_emails_count": 0,
            "answer_unknown_email_count": [2],
        },
        "textual": {"answer_length": [40], "total_prompt_word_count": 12, "answer_words_not_in_prompt_ratio": [0.5]},
        "profanity": {"answer_has_profanity": [False], "last_user_message_profanity_prob": 0.1},
    },
}


def test_the_chat_template_reads_the_helpers_message() -> None:
    """Flat names for nested keys; the cost follows from the price table, whatever the date in the model's name."""
    fields, problems = FieldBuilder(parse({"C": template("ChatCompletion")}).or_raise().classes["C"]).build(CHAT, 0)
    assert problems == []
    assert fields["total_cost"] == pytest.approx(1000 * 2.5e-6 + 100 * 10e-6)
    expected = {
        "model": "gpt-4o-2024-08-06",
        "model_family": "gpt-4o",
        "finish_reason": "stop",
        "message_count": 2,
        "temperature": 0.7,
        "total_tokens": 1100,
        "total_prompt_email_count": 1,
        "last_user_message_email_count": 0,
        "answer_unknown_email_count": 2,
        "answer_length": 40,
        "answer_has_profanity": False,
    }
    assert {name: fields[name] for name in expected} == expected


def test_a_model_without_a_price_has_no_cost() -> None:
    """Unknown is not free."""
    message = {**CHAT, "response": {**CHAT["response"], "model": "own-model"}}  # type: ignore[dict-item]
    fields, problems = FieldBuilder(parse({"C": template("ChatCompletion")}).or_raise().classes["C"]).build(message, 0)
    assert problems == []
    assert "total_cost" not in fields
