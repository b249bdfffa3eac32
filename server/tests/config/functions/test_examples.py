"""The worked examples of the specification, through the whole way from configuration to field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mona_server.config.functions import FUNCTIONS
from tests.config.build import built, problems_of

EXAMPLES: list[tuple[str, dict[str, Any], dict[str, Any], Any]] = [
    (
        "city",
        {"type": "string", "function": "concat_strings", "sources": ["state", "city"], "args": ["_"]},
        {"state": "Arkansas", "city": "Fort Smith"},
        "Arkansas_Fort Smith",
    ),
    (
        "credit_label_delta",
        {"type": "numeric", "function": "delta", "sources": ["credit_score", "label"]},
        {"credit_score": 0.25, "label": 1},
        -0.75,
    ),
    (
        "credit_label_abs_delta",
        {"type": "numeric", "function": "abs_delta", "sources": ["credit_score", "label"]},
        {"credit_score": 0.25, "label": 1},
        0.75,
    ),
    (
        "offered_approved_delta_normalized",
        {"type": "numeric", "function": "relative_delta", "sources": ["approved_amount", "offered_amount"]},
        {"approved_amount": 900, "offered_amount": 1000},
        -0.1,
    ),
    ("approved", {"type": "boolean", "function": "existence_check", "source": "approved_amount"}, {}, False),
    (
        "is_big",
        {
            "type": "boolean",
            "function": "range_check",
            "source": "amount",
            "args": [{"left": {"value": 5000, "inclusive": False}}],
        },
        {"amount": 5000},
        False,
    ),
    (
        "gap",
        {"type": "numeric", "function": "delta_top_to_second_score", "source": "scores"},
        {"scores": {"cat": 0.7, "dog": 0.2, "cow": 0.1}},
        0.5,
    ),
    (
        "answer_words",
        {"type": "numeric", "function": "word_count", "source": "response.choices[0].text"},
        {"response": {"choices": [{"text": "It's 2 o'clock."}]}},
        3,
    ),
    (
        "tokens",
        {"type": "numeric", "function": "coalesce", "sources": ["response.usage.total_tokens", "tokens"]},
        {"response": {"usage": {"total_tokens": None}}, "tokens": 12},
        12,
    ),
]


@pytest.mark.parametrize(("name", "field", "variables", "result"), EXAMPLES, ids=[one[0] for one in EXAMPLES])
def test_example(name: str, field: dict[str, Any], variables: dict[str, Any], result: Any) -> None:
    """Section 10 of the specification of build functions."""
    assert built({name: field}, variables) == {name: pytest.approx(result) if isinstance(result, float) else result}


def test_every_function_of_the_specification_exists(reference: Path) -> None:
    """The table of the specification and ours hold the same names."""
    names = set()
    for line in (reference / "spec/build-functions.md").read_text().splitlines():
        if line.startswith("| `"):
            names |= set(re.findall(r"`([a-z_0-9]+)`", line.split("|")[1]))
    assert names == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("args", "x", "inside"),
    [
        ([{"left": {"value": 0.8, "inclusive": True}, "right": {"value": 1, "inclusive": False}}], 1, False),
        ([{"left": 5, "right": 9, "inclusive": False}], 5, False),
        ([{"left": 5, "right": 9}], 9, True),
        ([{"right": 3}], -100, True),
        ([[{"right": 3}, [{"left": 8}]]], 5, False),
        ([[{"right": 3}, [{"left": 8}]]], 8, True),
    ],
)
def test_range_check_reads_old_and_new_ranges(args: list[Any], x: float, inside: bool) -> None:
    """A side is a number or an object; lists of ranges may be nested; a missing side is open."""
    field = {"type": "boolean", "function": "range_check", "source": "x", "args": args}
    assert built({"f": field}, {"x": x}) == {"f": inside}


def test_sets_come_from_the_data_of_the_class() -> None:
    """A text argument names an entry of data; numbers are equal by value and never to texts or booleans."""
    field = {"type": "boolean", "function": "is_in_set", "source": "x", "args": ["big"]}
    data = {"big": [1, "two"]}
    found = [built({"f": field}, {"x": x}, data=data)["f"] for x in (1.0, "two", "1", True, 2)]
    assert found == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        ("log", [], -1),
        ("sqrt", [], -4),
        ("divide", [0], 5),
        ("exp", [], 10_000),
        ("power", [0.5], -8),
        ("modulo", [0], 5),
    ],
)
def test_domain_errors_are_problems(function: str, args: list[Any], value: float) -> None:
    """No result where the formula has none: null and one entry."""
    field = {"type": "numeric", "function": function, "source": "x", "args": args}
    assert [name for name, _ in problems_of({"f": field}, {"x": value})] == ["f"]


def test_time_zones_come_from_the_class() -> None:
    """2021-01-29 22:30 UTC is already Saturday in Jerusalem, the class's zone."""
    field = {"type": "boolean", "function": "is_weekend", "source": "t"}
    night = {"t": "2021-01-29T22:30:00Z"}
    assert built({"f": field}, night)["f"] is False
    assert built({"f": field}, night, time_zone="Asia/Jerusalem")["f"] is True
    assert built({"f": {**field, "args": ["Asia/Jerusalem"]}}, night)["f"] is True


def test_early_timestamps_pass_between_fields() -> None:
    """Milliseconds of 1999 have 12 digits, which no message may send; between fields they are understood."""
    fields = {
        "born": {"type": "timestamp"},
        "year": {"type": "numeric", "function": "year", "source": "born"},
        "month_start": {"type": "timestamp", "function": "truncate_time", "source": "born", "args": ["d"]},
        "first": {"type": "timestamp", "function": "coalesce", "sources": ["month_start", "born"]},
    }
    midnight = 915148800000
    assert built(fields, {"born": "1999-01-01T05:00:00Z"}) == {
        "born": midnight + 5 * 3_600_000,
        "year": 1999,
        "month_start": midnight,
        "first": midnight,
    }


def test_truncating_follows_the_clock_of_the_zone() -> None:
    """On the day that summer time begins, the day in Berlin begins at 23:00 UTC; the hour is unharmed."""
    field = {"type": "timestamp", "function": "truncate_time", "source": "t", "args": ["d", "Europe/Berlin"]}
    hour = {**field, "args": ["h", "Asia/Kolkata"]}
    found = built({"day": field, "hour": hour}, {"t": "2021-03-28T12:15:00Z"})
    assert found == {"day": 1616886000000, "hour": 1616932800000 - 30 * 60_000}


def test_unknown_addresses_compare_across_spellings() -> None:
    """A number or address that the prompt holds in another spelling is known."""
    field = {"type": "numeric", "sources": ["answer", "prompt"]}
    fields = {
        "phones": {**field, "function": "unknown_phone_number_count"},
        "emails": {**field, "function": "unknown_email_count"},
    }
    texts = {
        "answer": "Call (555) 010-9999 or 555-010-8888, write to A@B.co or new@b.co",
        "prompt": "My number is 555 010 9999 and my address a@b.co",
    }
    assert built(fields, texts) == {"phones": 1, "emails": 1}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Das ist nicht die Antwort auf die Frage, die wir gestellt haben.", "de"),
        ("Ce n'est pas la réponse que nous avons demandée, mais elle est dans le texte.", "fr"),
        ("これは質問に対する答えではありません。もう一度お願いします。", "ja"),
        ("Это не ответ на вопрос, который мы задали вчера.", "ru"),
        ("short", None),
    ],
)
def test_language_guess(text: str, language: str | None) -> None:
    """By script, then by frequent words; short texts are not guessed."""
    expected = {} if language is None else {"f": language}
    assert built({"f": {"type": "string", "function": "language_guess", "source": "t"}}, {"t": text}) == expected


def test_long_chains_of_times_are_compiled_once() -> None:
    """Each field is looked at once, however many of the earlier ones it names."""
    fields: dict[str, dict[str, object]] = {"t0": {"function": "context_time", "do_not_save": True}}
    fields["t1"] = fields["t0"]
    for i in range(2, 200):
        fields[f"t{i}"] = {"function": "coalesce", "sources": [f"t{i - 1}", f"t{i - 2}"], "do_not_save": True}
    fields["last"] = {"type": "timestamp", "source": "t199"}
    assert built(fields, {}, 5) == {"last": 5}
