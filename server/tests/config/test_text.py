"""Configuration text: places of keys, duplicate keys, what is not JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.config.text import NotJson, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    """Every key and list item of a value."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return {(*path, key) for key, _ in items} | {below for key, one in items for below in paths(one, (*path, key))}


@given(JSON, st.sampled_from([None, 2]))
def test_every_key_and_item_has_a_place(value: Any, indent: int | None) -> None:
    """For any JSON, however laid out: the places are those of the standard reader's keys, in reading order."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    document = read(text)
    assert document.value == value
    assert set(document.positions) == paths(value)
    lines = text.split("\n")
    for path, (line, column) in document.positions.items():
        if isinstance(path[-1], str):
            assert lines[line - 1][column - 1 :].startswith(json.dumps(path[-1], ensure_ascii=False))


def test_duplicates_are_found_once() -> None:
    """The later key is reported with its own place; what lies below it is not repeated."""
    text = '{"a": {"b": 1,\n "b": 2},\n "a": {"b": 3}}'
    assert read(text).duplicates == ((("a", "b"), (2, 2)), (("a",), (3, 2)))


@pytest.mark.parametrize("text", ["", "{", '{"a": NaN}', "[1,]", "{'a': 1}", '{"a": 1} x', "[" * 100_000])
def test_what_is_not_json_says_where(text: str) -> None:
    """Also constants that Python's reader would let pass, and nesting beyond its depth."""
    with pytest.raises(NotJson) as error:
        read(text)
    assert error.value.line >= 1
