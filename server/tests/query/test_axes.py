"""Axes: which segments the values of a field make, and which contexts are in them."""

from __future__ import annotations

from typing import Any

import pytest

from mona_server.config.segmentations import Segmentation
from mona_server.detect.source import AxisRequest, SourceQuestion
from mona_server.errors import BadRequest
from mona_server.query.sums import open_source
from mona_server.segment import Equals, OneOf, Range
from tests.query.test_sums import EDGES, KINDS, segmentation_of


def test_an_array_field_is_counted_once_a_segment_and_overlaps(new_lab: Any) -> None:
    """A context with tags a and b is in both segments, and once in the total."""
    lab = new_lab(KINDS)
    lab.put("1", 0, {"tags": ["a", "b", "a"], "x": 2.0})
    lab.put("2", 0, {"tags": "a", "x": 4.0})
    lab.put("3", 0, {"tags": []})
    source = open_source(lab.facts(), SourceQuestion((AxisRequest("tags"),), ("x",), EDGES[:2]), segmentation_of)
    assert source.axes[0].overlapping
    assert source.axes[0].conditions == (Equals("a"), Equals("b"), Equals(None))
    assert source.sums((0,)).size[:, 0].tolist() == [2, 1, 1]
    assert source.sums(()).size.tolist() == [[3]]
    with pytest.raises(BadRequest, match="one array field"):
        source.sums((0, 0))


def test_avoided_values_and_out_of_range_numbers_are_in_no_segment(new_lab: Any) -> None:
    """They stay in the baseline and leave the axis."""
    lab = new_lab(KINDS)
    for i, (city, x) in enumerate([("Haifa", 5.0), ("Acre", 50.0), (None, -1.0), ("Haifa", None)]):
        lab.put(str(i), 0, {"city": city, "x": x})
    bounded = Segmentation(name="default", kind="width", bucket_size=5.0, min_value=0.0, max_value=10.0, default=True)
    question = SourceQuestion((AxisRequest("city", avoid_values=("Haifa",)), AxisRequest("x")), (), EDGES[:2])
    source = open_source(lab.facts(), question, lambda field, _: bounded if field == "x" else None)
    assert source.axes[0].conditions == (Equals("Acre"), Equals(None))
    assert source.axes[1].conditions == (Range(0, 5), Range(5, 10), Equals(None))
    assert source.axes[1].ordered
    assert source.sums((1,)).size.sum() == 2
    assert source.sums((0,)).size.sum() == 2
    assert source.sums(()).size.sum() == 4


def test_only_the_largest_values_are_searched(new_lab: Any) -> None:
    """``max_values`` keeps the largest values; the others are in no segment, and not missing either."""
    lab = new_lab(KINDS)
    for i, city in enumerate("aaabbbccd"):
        lab.put(str(i), 0, {"city": city})
    two = Segmentation(name="default", kind="values", max_values=2, default=True)
    question = SourceQuestion((AxisRequest("city"),), (), EDGES[:2])
    source = open_source(lab.facts(), question, lambda *_: two)
    assert source.axes[0].conditions == (Equals("a"), Equals("b"), Equals(None))
    assert source.sums((0,)).size[:, 0].tolist() == [3, 3]


def test_long_texts_and_strange_ones_are_safe(new_lab: Any) -> None:
    """Quotes, NUL and backslashes are values like any other; texts beyond 500 characters are in no segment."""
    lab = new_lab(KINDS)
    strange = ["it's", "a\0b", 'say "hi"', "back\\slash", "", "x" * 500]
    for i, city in enumerate([*strange, "y" * 501, None]):
        lab.put(str(i), 0, {"city": city})
    lab.flush()
    source = open_source(lab.facts(), SourceQuestion((AxisRequest("city"),), (), EDGES[:2]))
    assert source.axes[0].conditions == (*(Equals(text) for text in sorted(strange)), Equals(None))
    assert source.sums((0,)).size[:, 0].tolist() == [1] * 7


def test_given_boundaries_take_the_place_of_a_segmentation(new_lab: Any) -> None:
    """They have open ends, so every number has a bucket."""
    lab = new_lab(KINDS)
    for i, x in enumerate([-9.0, 1.0, 2.0, 99.0, None]):
        lab.put(str(i), 0, {"x": x})
    source = open_source(lab.facts(), SourceQuestion((AxisRequest("x", boundaries=(0.0, 2.0)),), (), EDGES[:2]))
    assert source.axes[0].conditions == (Range(None, 0), Range(0, 2), Range(2, None), Equals(None))
    assert source.sums((0,)).size[:, 0].tolist() == [1, 1, 2, 1]


def test_groups_and_lower_case_become_sets_of_values(new_lab: Any) -> None:
    """A group is the set of its members, so its condition selects the same contexts anywhere."""
    lab = new_lab(KINDS)
    for i, city in enumerate(["Haifa", "haifa", "Acre", "Oslo"]):
        lab.put(str(i), 0, {"city": city})
    chosen = Segmentation(
        name="default", kind="values", default=True, lowercase=True, groups={"north": ("acre", "oslo")}
    )
    source = open_source(lab.facts(), SourceQuestion((AxisRequest("city"),), (), EDGES[:2]), lambda *_: chosen)
    assert set(source.axes[0].conditions) == {OneOf(("Acre", "Oslo")), OneOf(("Haifa", "haifa")), Equals(None)}
    assert source.sums((0,)).size[:, 0].tolist() == [2, 2]


def test_discrete_numbers_are_segments_of_their_own(new_lab: Any) -> None:
    """Each distinct number is a segment; whole ones are written without a point."""
    lab = new_lab(KINDS)
    for i, x in enumerate([1.0, 1.0, 2.5, None]):
        lab.put(str(i), 0, {"x": x})
    discrete = Segmentation(name="default", kind="discrete", default=True)
    source = open_source(lab.facts(), SourceQuestion((AxisRequest("x"),), (), EDGES[:2]), lambda *_: discrete)
    assert source.axes[0].conditions == (Equals(1), Equals(2.5), Equals(None))
    assert source.sums((0,)).size[:, 0].tolist() == [2, 1, 1]
