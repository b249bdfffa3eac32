"""Segments: one text for one meaning, and errors that say where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.segment import MISSING, Equals, Range, Segment, SegmentError, parse_segments

scalars = st.one_of(
    st.text(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
conditions = st.one_of(
    scalars.map(lambda v: {"value": v}),
    st.just({"value": MISSING}),
    st.lists(scalars, min_size=1, max_size=3).map(lambda v: {"values": v}),
    scalars.map(lambda v: {"not_value": v}),
    st.integers(-9, 9).map(lambda v: {"min_value": v}),
    st.tuples(st.integers(-9, 0), st.integers(1, 9)).map(lambda v: {"min_value": v[0], "max_value": v[1]}),
)
segments = st.dictionaries(st.text(min_size=1), st.lists(conditions, min_size=1, max_size=3), max_size=4)


@given(segments)
def test_a_segment_survives_json(given: dict[str, Any]) -> None:
    """Reading what was written gives the same segment and the same text."""
    segment = Segment.parse(given)
    again = Segment.parse(segment.text)
    assert again == segment
    assert again.text == segment.text
    assert hash(again) == hash(segment)


@given(segments)
def test_the_order_of_fields_does_not_matter(given: dict[str, Any]) -> None:
    """Two objects that differ in key order are one segment."""
    assert Segment.parse(dict(reversed(given.items()))) == Segment.parse(given)


def test_words_for_people() -> None:
    """Conditions read as a sentence, missing values included."""
    segment = Segment.of({"b": Equals(None), "a": [Range(1, 2), Equals("x")]})
    assert str(segment) == "(1 <= a < 2 or a = x) and b is missing"
    assert str(Segment()) == "all data"


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ({"a": [{"min_value": "x"}]}, "a[0].min_value"),
        ({"a": []}, "a"),
        ({"a": [{"value": 1, "regex": "x"}]}, "a[0]"),
        ({"a": [{"value": {}}]}, "a[0].value"),
        ("{", ""),
        ([], ""),
    ],
)
def test_an_error_says_where(given: Any, at: str) -> None:
    """The path inside of the segment is part of the error."""
    with pytest.raises(SegmentError) as caught:
        Segment.parse(given)
    assert caught.value.at == at


def test_lists_of_segments_are_read_from_objects_and_text() -> None:
    """One object, a list and their JSON text mean the same; nothing means none."""
    one = Segment.parse({"a": [{"value": 1}]})
    assert parse_segments({"a": [{"value": 1}]}) == parse_segments('[{"a": [{"value": 1}]}]') == (one,)
    assert parse_segments(None) == parse_segments({}) == ()
