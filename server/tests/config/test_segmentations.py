"""Segmentations: reading them, their buckets in memory and in SQL, what is fixed from data."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.config.segmentations import (
    Buckets,
    Segmentation,
    TooManyBuckets,
    automatic,
    bucket_width,
    freeze,
)
from tests.config.build import codes, read_class

INF = math.inf


def numeric(**given: Any) -> Segmentation:
    """The segmentation of a numeric field, read as from a file."""
    return read_class({"x": {"type": "numeric", "segmentations": {"one": given}}}).fields["x"].segmentations["one"]


@pytest.mark.parametrize(
    ("given", "low", "high", "edges"),
    [
        ({"bucket_size": 0.02}, 0.57, 0.61, (0.56, 0.58, 0.6, 0.62)),
        ({"bucket_size": 10}, -5, 15, (-10, 0, 10, 20)),
        ({"bucket_size": 10}, 10, 20, (10, 20, 30)),
        ({"bucket_size": 10, "min_value": 5}, 0, 20, (5, 15, 25)),
        ({"bucket_size": 10, "min_value": 5, "max_value": 20}, -100, 100, (5, 15, 20)),
        ({"number_of_buckets": 4, "min_value": 0, "max_value": 1}, 0.3, 0.4, (0, 0.25, 0.5, 0.75, 1)),
        ({"bucket_boundaries": [0, 10]}, 3, 4, (-INF, 0, 10, INF)),
        ({"bucket_boundaries": [0, 10], "min_value": 0, "max_value": 20}, 3, 4, (0, 10, 20)),
        ({"should_log": True}, -3, 5, (-4, -2, -1, 0, 1, 2, 4, 8)),
        ({"should_log": True, "min_value": 0}, 0, 1, (0, 1, 2)),
        ({"min_value": 0, "max_value": 1}, -5, 5, (0, 1)),
    ],
)
def test_edges(given: dict[str, Any], low: float, high: float, edges: tuple[float, ...]) -> None:
    """Edges cover the data, are clean, and keep to the bounds; where a bound is absent, boundaries are open."""
    assert numeric(**given).edges(low, high) == edges


@given(
    st.floats(-1e6, 1e6),
    st.floats(0, 1e4),
    st.sampled_from([0.01, 0.02, 0.3, 1, 7, 100, 60000]),
    st.sampled_from([None, 0.1, -3]),
)
def test_every_value_in_range_has_a_bucket(low: float, span: float, size: float, minimum: float | None) -> None:
    """Buckets of one width cover all values between the lowest and the highest, with edges that ascend."""
    if span / size > 5000:
        span = size * 5000
    high = low + span
    one = Segmentation(name="a", kind="width", bucket_size=size, min_value=minimum)
    buckets = one.buckets(low, high)
    values = np.linspace(low, high, 50)
    if minimum is not None:
        values = values[values >= minimum]
        if high < minimum:
            return
    assert (buckets.codes(values) >= 0).all()
    assert all(a < b for a, b in pairwise(buckets.edges))
    if minimum is None:
        assert buckets.edges[1] > low
        assert buckets.edges[-2] <= high


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40, unique=True),
    st.booleans(),
    st.booleans(),
    st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.none(), max_size=20),
)
def test_sql_and_memory_agree(edges: list[float], open_low: bool, open_high: bool, values: list[float | None]) -> None:
    """The CASE expression gives the code of every value, edges included; NULL and NaN stay NULL."""
    bounds = [*([-INF] if open_low else []), *sorted(edges), *([INF] if open_high else [])]
    buckets = Buckets(tuple(bounds))
    tried = [value for value in [*values, *edges] if value is None or not math.isinf(value)]
    with duckdb.connect() as database:
        rows = database.execute(f"SELECT {buckets.sql('x')} FROM (SELECT unnest(?::DOUBLE[]) AS x)", [tried]).fetchall()
    expected = [
        None if value is None or math.isnan(value) else int(code)
        for value, code in zip(tried, buckets.codes([math.nan if v is None else v for v in tried]), strict=True)
    ]
    assert [row[0] for row in rows] == expected


def test_conditions_are_the_buckets() -> None:
    """A value lies in the bucket whose condition it holds, and in no other."""
    buckets = numeric(bucket_boundaries=[0, 0.1, 10]).buckets(0, 1)
    for value in (-5, 0, 0.05, 0.1, 9.99, 10, 1e9):
        holding = [
            i
            for i, c in enumerate(buckets.conditions)
            if (c.min_value is None or c.min_value <= value) and (c.max_value is None or value < c.max_value)
        ]
        assert holding == [int(buckets.codes([value])[0])]


def test_too_many_buckets_say_so() -> None:
    """One wild value must not make a million buckets; open ends take it."""
    one = numeric(bucket_size=0.01)
    with pytest.raises(TooManyBuckets, match="bucket_size"):
        one.buckets(0, 1e9)
    buckets = one.buckets_for(0, 1e9, lambda: (0, 1))
    assert buckets == one.buckets(0, 1, open_ends=True)
    assert buckets.codes([-1e9, 0.005, 1e9]).tolist() == [0, 1, len(buckets) - 1]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"a": {"bucket_size": 1, "discrete": True}}, "contradictory_segmentation"),
    ({"a": {"bucket_size": 1, "should_log": True}}, "contradictory_segmentation"),
    ({"a": {"bucket_size": 0}}, "bad_segmentation"),
    ({"a": {"number_of_buckets": 5}}, "bad_bounds"),
    ({"a": {"bucket_size": 1, "min_value": 5, "max_value": 5}}, "bad_bounds"),
    ({"a": {"bucket_boundaries": [2, 1]}}, "bad_segmentation"),
    ({"a": {}}, "bad_segmentation"),
    ({"a": {"bucket_size": 1, "default": True}, "b": {"discrete": True, "default": True}}, "two_defaults"),
    ({"a": {"bucket_size": 1}, "b": {"discrete": True}}, "no_default"),
    ({"a": {"quantiles": 1}}, "bad_segmentation"),
    ({"a": 7}, "bad_segmentation"),
]


@pytest.mark.parametrize(("given", "code"), BAD)
def test_bad_segmentations(given: dict[str, Any], code: str) -> None:
    """Each is one error."""
    found = codes({"C": {"fields": {"x": {"type": "numeric", "segmentations": given}}}})
    assert [(code, severity) for _, code, severity in found] == [(code, "error")]


def test_false_switches_do_not_contradict() -> None:
    """Files that spell out the default load as they are."""
    assert numeric(bucket_size=5, discrete=False, should_log=False).kind == "width"


def test_fields_segment_by_themselves() -> None:
    """Texts and booleans by value; numbers by the width rule, once there is data; times and places not at all."""
    fields = read_class({"s": {"type": "string"}, "b": {"type": "boolean"}, "n": {"type": "numeric"}}).fields
    assert fields["s"].segmentation() == fields["b"].segmentation() == automatic("string")
    assert fields["n"].segmentation() == automatic("numeric")
    given = {"C": {"fields": {"t": {"type": "timestamp", "segmentations": {"a": {"bucket_size": 1}}}}}}
    assert codes(given) == [("C.fields.t.segmentations", "bad_segmentation", "error")]


def test_groups_and_case_label_values() -> None:
    """A value belongs to its group; letters are folded first where asked."""
    one = Segmentation(name="a", kind="values", groups={"south": ("texas", "florida")}, lowercase=True)
    assert [one.label(value) for value in ("Texas", "OHIO", True)] == ["south", "ohio", True]


@pytest.mark.parametrize(
    ("field", "width"),
    [
        ("credit_score", 0.02),
        ("offered_amount", 700),
        ("approved_amount", 700),
        ("feature_0", 60000),
        ("feature_1", 0.8),
        ("feature_2", 50),
        ("feature_3", 2000),
        ("feature_4", 0.01),
        ("feature_5", 0.2),
        ("feature_6", 20),
        ("feature_7", 1),
        ("feature_8", 50),
        ("feature_9", 20),
    ],
)
def test_the_width_rule_gives_the_documented_widths(
    inference_rows: list[dict[str, Any]], field: str, width: float
) -> None:
    """On all inference rows of the tutorial, as the specification lists them."""
    assert bucket_width([row[field] for row in inference_rows if row.get(field) is not None]) == width


def test_freezing() -> None:
    """Quantiles become boundaries, the automatic one a width, and values without spread one segment each."""
    values = np.arange(1000.0)
    quarters = numeric(quantiles=4)
    assert not quarters.frozen
    assert freeze(quarters, values) == {"boundaries": [249.75, 499.5, 749.25]}
    fixed = quarters.with_frozen({"boundaries": [249.75, 499.5, 749.25]})
    assert fixed.frozen
    assert np.bincount(fixed.buckets(0, 999).codes(values)).tolist() == [250, 250, 250, 250]
    own = automatic("numeric")
    assert own is not None
    assert freeze(own, values) == {"bucket_size": 20, "within": [pytest.approx(2.997), pytest.approx(996.003)]}
    edges = own.with_frozen(freeze(own, [*values, 1e12])).edges(0, 1e12)
    assert (edges[:3], edges[-2:]) == ((-INF, 0, 20), (1000, INF))
    assert freeze(own, np.ones(1000)) == {"discrete": True}
    assert own.with_frozen({"discrete": True}).kind == "discrete"
