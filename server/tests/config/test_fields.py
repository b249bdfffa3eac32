"""Building the fields of a context: sources, paths, casts, arrays, problems."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.config.fields import FieldBuilder
from tests.config.build import built, problems_of, read_class


@pytest.mark.parametrize(
    ("field_type", "value", "result"),
    [
        ("numeric", 3, 3),
        ("numeric", True, 1),
        ("numeric", " 2.5 ", 2.5),
        ("numeric", [1, "3", "x", None], 2.0),
        ("string", 1, "1"),
        ("string", 0.5, "0.5"),
        ("string", 2.0, "2"),
        ("string", True, "True"),
        ("string", {"b": 1, "a": [2]}, '{"a": [2], "b": 1}'),
        ("string", [{"a": 1}], '[{"a": 1}]'),
        ("string", ["b", "a", "b", None, 1], ["1", "a", "b"]),
        ("boolean", "false", True),
        ("boolean", "", False),
        ("boolean", 0, False),
        ("boolean", {}, False),
        ("boolean", [True, 0, None], [False, True]),
        ("timestamp", 1611930299, 1611930299000),
        ("timestamp", "2021-01-29", 1611878400000),
        ("timestamp", ["2021-01-30", 1611930299000, "no"], 1611930299000),
        ("geopoint", {"lat": 32.08, "lon": 34.78}, '{"type": "Point", "coordinates": [34.78, 32.08]}'),
        ("geopoint", "32.08,34.78", '{"type": "Point", "coordinates": [34.78, 32.08]}'),
        (
            "geoshape",
            {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [0, 0]]]},
            '{"coordinates": [[[0, 0], [0, 1], [1, 1], [0, 0]]], "type": "Polygon"}',
        ),
    ],
)
def test_casts(field_type: str, value: Any, result: Any) -> None:
    """The types cast as the specification says; numbers keep their kind, arrays follow the type."""
    found = built({"f": {"type": field_type}}, {"f": value})["f"]
    assert found == result
    assert isinstance(found, bool) == isinstance(result, bool)


@pytest.mark.parametrize("field_type", ["numeric", "string", "boolean", "timestamp", "geopoint", "geoshape"])
@pytest.mark.parametrize("value", [None, []])
def test_nothing_stays_nothing(field_type: str, value: Any) -> None:
    """Null and an empty array are no value, and no problem either."""
    assert built({"f": {"type": field_type}}, {"f": value}) == {}


@pytest.mark.parametrize(
    ("field_type", "value"),
    [
        ("numeric", "SECRET"),
        ("numeric", {"SECRET": 1}),
        ("numeric", "1e999"),
        ("numeric", math.inf),
        ("numeric", 10**400),
        ("numeric", ["SECRET"]),
        ("timestamp", 123),
        ("timestamp", "SECRET"),
        ("timestamp", ["SECRET"]),
        ("geopoint", "SECRET,1"),
        ("geopoint", [181, 0]),
        ("geoshape", {"type": "Circle"}),
    ],
)
def test_a_cast_that_fails_is_null_and_a_problem(field_type: str, value: Any) -> None:
    """The message is kept; the reason names the type and never the value."""
    ((field, reason),) = problems_of({"f": {"type": field_type}}, {"f": value})
    assert field == "f"
    assert reason.startswith(field_type)
    assert "SECRET" not in reason


def test_sources_are_tried_in_order() -> None:
    """A list takes the first that has a value; an object adds a default."""
    fields = {
        "a": {"type": "string", "source": ["x", "y"]},
        "b": {"type": "string", "source": {"names": ["x"], "default_value": "none"}},
    }
    assert built(fields, {"x": None, "y": "Y"}) == {"a": "Y", "b": "none"}
    assert built(fields, {"x": "X", "y": "Y"}) == {"a": "X", "b": "X"}


def test_names_mean_earlier_fields_then_variables_then_paths() -> None:
    """An earlier field wins over a variable of that name, a variable with dots over a path."""
    fields = {
        "x": {"type": "numeric", "function": "add", "args": [1], "source": "x"},
        "y": {"type": "numeric", "source": "x"},
        "z": {"type": "numeric", "source": "a.b"},
    }
    assert built(fields, {"x": 1, "a.b": 5, "a": {"b": 6}}) == {"x": 2, "y": 2, "z": 5}
    assert built(fields, {"x": 1, "a": {"b": 6}}) == {"x": 2, "y": 2, "z": 6}


def test_a_later_field_of_that_name_is_the_variable() -> None:
    """Order in the file is order of definition; cycles cannot occur."""
    fields = {
        "first": {"type": "numeric", "source": "second"},
        "second": {"type": "numeric", "function": "multiply", "args": [100], "source": "first"},
    }
    assert built(fields, {"second": 7}) == {"first": 7, "second": 700}


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("a.b[0]", 1),
        ("a.b[-1]", 3),
        ("a.b[9]", None),
        ('a["odd.key"]', 4),
        ("a.b[*]", 2.0),
        ("list[*].x", 6.0),
        ("list[*].in[*]", 2.5),
        ("a.nothing.b", None),
        ("list.x", None),
        ("a[", None),
    ],
)
def test_paths(path: str, result: Any) -> None:
    """Paths walk objects, index and collect arrays; a missing step is null."""
    variables = {
        "a": {"b": [1, 2, 3], "odd.key": 4},
        "list": [{"x": 5, "in": [1, 2]}, {"x": 7, "in": [3, 4]}, {}],
    }
    assert built({"f": {"type": "numeric", "source": path}}, variables).get("f") == result


def test_unsaved_fields_pass_anything_on() -> None:
    """Without a cast, arrays and objects reach later fields; only saved ones come out."""
    fields = {
        "parsed": {"function": "json_parse", "source": "text", "do_not_save": True},
        "count": {"type": "numeric", "function": "array_length", "source": "parsed"},
    }
    context_class = read_class(fields)
    assert FieldBuilder(context_class).columns == {"count": "numeric"}
    assert built(fields, {"text": "[1, 2, 3]"}) == {"count": 3}


def test_context_time_reaches_functions() -> None:
    """Ages are counted from the time of the context, never from a clock."""
    fields = {
        "age": {"type": "numeric", "function": "since_context_time", "source": "born", "args": ["d"]},
        "at": {"type": "timestamp", "function": "context_time"},
    }
    assert built(fields, {"born": "2021-01-28"}, 1611878400000) == {"age": -1.0, "at": 1611878400000}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)
ALL_TYPES = FieldBuilder(
    read_class(
        {
            kind: {"type": kind, "source": "x"}
            for kind in ("numeric", "string", "boolean", "timestamp", "geopoint", "geoshape")
        }
    )
)


@given(JSON)
def test_a_built_value_fits_its_column(value: Any) -> None:
    """Whatever arrives, what comes out can be stored in a column of the type, or there is one problem."""
    fields, problems = ALL_TYPES.build({"x": value}, 0)
    kinds: dict[str, Any] = {"numeric": (int, float), "string": (str, list), "boolean": (bool, list), "timestamp": int}
    for name, built_value in fields.items():
        assert isinstance(built_value, kinds.get(name, str))
        assert name != "numeric" or (not isinstance(built_value, bool) and math.isfinite(built_value))
        if isinstance(built_value, list):
            assert built_value
            assert len(set(built_value)) == len(built_value)
    assert not set(fields) & {name for name, _ in problems}


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys("abcd", JSON)),
    st.permutations(["a", "b", "c", "d", "twice", "hour"]),
)
def test_a_row_says_the_same_as_the_fields(variables: dict[str, Any], order: list[str]) -> None:
    """One value per column in the order of the columns, lists pointed out, whatever the order of plain and computed."""
    fields = {
        "a": {"type": "numeric"},
        "b": {"type": "string"},
        "c": {"type": "boolean"},
        "d": {"type": "numeric"},
        "twice": {"type": "numeric", "function": "multiply", "source": "d", "args": [2]},
        "hour": {"type": "numeric", "function": "hour_of_day", "source": "a"},
    }
    builder = FieldBuilder(read_class({name: fields[name] for name in order}))
    row, lists, problems = builder.build_row(variables, 0)
    expected, same_problems = builder.build(variables, 0)
    assert dict(zip(order, row, strict=True)) == {name: expected.get(name) for name in order}
    assert sorted(lists) == [i for i, value in enumerate(row) if isinstance(value, list)]
    assert problems == same_problems
    assert [name for name, _ in problems] == [name for name in order if name in dict(problems)]
    for name, kind in (("a", "numeric"), ("b", "string"), ("c", "boolean"), ("d", "numeric")):
        alone = FieldBuilder(read_class({name: {"type": kind}})).build(variables, 0)
        assert alone[0].get(name) == expected.get(name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(10**400)])
def test_numbers_beyond_a_double_are_no_numbers(value: float) -> None:
    """Each is found among good ones, and two that cancel out are found too."""
    builder = FieldBuilder(read_class({name: {"type": "numeric"} for name in "xyz"}))
    fields, problems = builder.build({"x": value, "y": 1, "z": -value}, 0)
    assert fields == {"y": 1}
    assert problems == [("x", "numeric: not a finite number"), ("z", "numeric: not a finite number")]


def test_large_numbers_are_numbers() -> None:
    """Their sum is beyond a double, they are not."""
    builder = FieldBuilder(read_class({name: {"type": "numeric"} for name in "xy"}))
    assert builder.build({"x": 1.7e308, "y": 1.7e308}, 0) == ({"x": 1.7e308, "y": 1.7e308}, [])
