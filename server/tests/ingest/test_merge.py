"""Merging: the worked examples of the specification, and its laws of order and repetition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.ingest.envelope import Message
from mona_server.ingest.fold import _text
from mona_server.ingest.merge import MAX_ADDED, Context, merge

ARRIVAL = 1_700_000_000_000


def context(values: dict[str, Any], time_ms: int = 5, *, explicit: bool = True) -> Context:
    return Context(values, time_ms, explicit, 1, 1)


@pytest.mark.parametrize(
    ("before", "message", "action", "after"),
    [
        ({"a": 1, "b": 2}, {"a": 3}, "OVERWRITE", {"a": 3, "b": 2}),
        ({"a": 1, "b": 2}, {"a": None}, "OVERWRITE", {"b": 2}),
        ({"a": 1}, {"a": 3, "c": 5}, "ADD", {"a": [1, 3], "c": 5}),
        ({"a": [1, 2]}, {"a": [3, 4]}, "ADD", {"a": [1, 2, 3, 4]}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, "OVERWRITE", {"a": {"y": 2}}),
        ({"a": 1}, {"b": 2}, "NEW", {"b": 2}),
        ({"a": 1}, {"a": None, "b": None}, "ADD", {"a": 1}),
        ({"a": 1}, {"a": None, "b": 2}, "NEW", {"b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, "ADD", {"a": [{"x": 1}, {"y": 2}]}),
        ({}, {"a": [1]}, "ADD", {"a": [1]}),
        ({"a": 1}, {"a": [2, 3]}, "ADD", {"a": [1, 2, 3]}),
        ({"a": 1}, {}, "OVERWRITE", {"a": 1}),
    ],
)
def test_worked_examples(before: dict[str, Any], message: dict[str, Any], action: str, after: dict[str, Any]) -> None:
    """Section 8 of the specification, and the array and null rules of section 2."""
    merged = merge(context(before), action, message, export_ms=None, arrival_ms=ARRIVAL)
    assert merged is not None
    assert merged.values == after


def test_delete_forgets_the_context() -> None:
    """A later message starts anew, its time included."""
    assert merge(context({"a": 1}), "DELETE", {"b": 2}, export_ms=None, arrival_ms=9) is None
    again = merge(None, "OVERWRITE", {"b": 2}, export_ms=None, arrival_ms=9)
    assert again == Context({"b": 2}, 9, False, 9, 9)


@pytest.mark.parametrize(
    ("export_ms", "time_ms", "explicit"),
    [(None, 100, True), (50, 50, True), (150, 100, True)],
)
def test_a_late_label_does_not_move_a_named_time(export_ms: int | None, time_ms: int, explicit: bool) -> None:
    """The earliest explicit timestamp counts; an arrival does not compete with it."""
    after = merge(context({"a": 1}, 100), "OVERWRITE", {"b": 1}, export_ms=export_ms, arrival_ms=10)
    assert after is not None
    assert (after.time_ms, after.explicit) == (time_ms, explicit)


def test_an_explicit_time_replaces_an_arrival() -> None:
    """An arrival counts only while no message named a time, whichever is earlier."""
    before = context({"a": 1}, 100, explicit=False)
    after = merge(before, "OVERWRITE", {}, export_ms=500, arrival_ms=120)
    assert after is not None
    assert (after.time_ms, after.explicit) == (500, True)


def test_new_takes_its_own_time() -> None:
    """NEW forgets values and times."""
    after = merge(context({"a": 1}, 100), "NEW", {"b": 1}, export_ms=None, arrival_ms=700)
    assert after == Context({"b": 1}, 700, False, 700, 700)


def test_added_arrays_are_bounded() -> None:
    """A context cannot grow without end by ADD; what is there is never shortened."""
    full = context({"a": list(range(MAX_ADDED))})
    after = merge(full, "ADD", {"a": [1, 2]}, export_ms=None, arrival_ms=1)
    assert after is not None
    assert len(after.values["a"]) == MAX_ADDED


VALUES = st.dictionaries(
    st.sampled_from("abcd"), st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)
)
MESSAGES = st.lists(
    st.tuples(st.sampled_from(["OVERWRITE", "ADD", "NEW", "DELETE"]), VALUES, st.none() | st.integers(1, 50))
)


def fold(messages: Sequence[tuple[str, dict[str, Any], int | None]]) -> Context | None:
    state: Context | None = None
    for i, (action, values, export_ms) in enumerate(messages):
        state = merge(state, action, values, export_ms=export_ms, arrival_ms=100 + i)
    return state


@given(MESSAGES, VALUES, st.none() | st.integers(1, 50))
def test_repeating_an_overwrite_changes_nothing(before: Any, values: dict[str, Any], export_ms: int | None) -> None:
    """Values and time are the same after the second time."""
    once = fold([*before, ("OVERWRITE", values, export_ms)])
    twice = fold([*before, ("OVERWRITE", values, export_ms), ("OVERWRITE", values, export_ms)])
    assert once is not None
    assert twice is not None
    assert (once.values, once.time_ms, once.explicit) == (twice.values, twice.time_ms, twice.explicit)


@given(st.lists(st.tuples(st.just("OVERWRITE"), VALUES, st.integers(1, 50)), min_size=1, max_size=5), st.randoms())
def test_the_time_does_not_depend_on_the_order(messages: list[Any], random: Any) -> None:
    """Between messages other than NEW and DELETE, the order of arrival does not matter for the time."""
    shuffled = list(messages)
    random.shuffle(shuffled)
    first, second = fold(messages), fold(shuffled)
    assert first is not None
    assert second is not None
    assert first.time_ms == second.time_ms == min(export_ms for _, _, export_ms in messages)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), st.randoms())
def test_overwrites_of_different_keys_commute(keys: list[int], random: Any) -> None:
    """Parts that arrive separately may arrive in any order."""
    messages = [("OVERWRITE", {str(k): k}, 7) for k in keys]
    shuffled = list(messages)
    random.shuffle(shuffled)
    first, second = fold(messages), fold(shuffled)
    assert first is not None
    assert second is not None
    assert (first.values, first.time_ms) == (second.values, second.time_ms)


@given(MESSAGES)
def test_arguments_are_not_changed(messages: Any) -> None:
    """Merging is pure: the same messages give the same context again, and no null is ever stored."""
    first = fold(messages)
    assert first == fold(messages)
    assert first is None or None not in first.values.values()


VALUES = st.dictionaries(
    st.sampled_from("abcde"), st.one_of(st.none(), st.integers(0, 3), st.text(max_size=3)), max_size=4
)


@given(
    st.lists(st.tuples(st.sampled_from(["OVERWRITE", "OVERWRITE", "ADD", "NEW", "DELETE"]), VALUES), max_size=6),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":")]),
)
def test_text_put_together_is_the_merged_object(messages: list[tuple[str, Any]], separators: tuple[str, str]) -> None:
    """Whatever the messages are, the JSON that the fold keeps without writing it anew says what merging says."""
    context: Context | None = None
    text: bytes | None = None
    for index, (action, given_values) in enumerate(messages):
        raw = json.dumps(given_values, separators=separators).encode()
        message = Message(index, "C", "1", None, action, raw)
        values = message.values()
        after = merge(context, action, values, export_ms=None, arrival_ms=0)
        text = _text(text, context, after, message, values)
        context = after
        if text is not None:
            assert context is not None
            assert json.loads(text) == context.values
            assert list(json.loads(text)) == list(context.values)
        elif action == "OVERWRITE" and index == 0 and separators == (",", ":"):
            assert None in values.values()
