"""Comparison, logic and conditions. Numbers are equal by value (1 = 1.0), never across kinds (1 ≠ "1", 1 ≠ true)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mona_server.config.functions.declare import Arg, Group, Problem
from mona_server.config.functions.kinds import ANY, CASES, DATA_MAP, DATA_SET, NUMBER, key

GROUP = Group("Comparison, logic, conditional")
function = GROUP.function
V = (Arg("v", ANY),)
UNCHANGED = "<unchanged>"


@function("X X", "B", operands=V, example=((1, 1.0), (), True))
def equals(a: Any, b: Any) -> bool:
    """Whether both are the same value of the same kind."""
    return bool(key(a) == key(b))


@function("X X", "B", operands=V, example=((1,), ("1",), True))
def not_equals(a: Any, b: Any) -> bool:
    """Whether the two differ."""
    return bool(key(a) != key(b))


def _compare(a: Any, b: Any, holds: Callable[[Any, Any], bool]) -> bool:
    both_texts = isinstance(a, str) and isinstance(b, str)
    if both_texts or (isinstance(a, int | float) and isinstance(b, int | float)):
        return holds(a, b)
    raise Problem("only two numbers, two times or two texts can be compared")


@function("X X", "B", operands=V, example=((2, 1), (), True))
def greater_than(a: Any, b: Any) -> bool:
    """Whether the first is greater: numbers, times, or texts in the order of their characters."""
    return _compare(a, b, lambda a, b: a > b)


@function("X X", "B", operands=V, example=((2,), (2,), True))
def greater_or_equal(a: Any, b: Any) -> bool:
    """Whether the first is greater than the second, or the same."""
    return _compare(a, b, lambda a, b: a >= b)


@function("X X", "B", operands=V, example=(("a", "b"), (), True))
def less_than(a: Any, b: Any) -> bool:
    """Whether the first is smaller: numbers, times, or texts in the order of their characters."""
    return _compare(a, b, lambda a, b: a < b)


@function("X X", "B", operands=V, example=((3,), (2,), False))
def less_or_equal(a: Any, b: Any) -> bool:
    """Whether the first is smaller than the second, or the same."""
    return _compare(a, b, lambda a, b: a <= b)


@function("B B+", "B", nulls="see", example=((None, False), (), False))
def and_(*xs: bool | None) -> bool | None:
    """Whether all are true. A false decides; else a null leaves it open (null)."""
    return False if False in xs else None if None in xs else True


@function("B B+", "B", nulls="see", example=((None, True), (), True))
def or_(*xs: bool | None) -> bool | None:
    """Whether any is true. A true decides; else a null leaves it open (null)."""
    return True if True in xs else None if None in xs else False


@function("B", "B", example=((True,), (), False))
def not_(x: bool) -> bool:
    """The opposite."""
    return not x


@function("X", "B", nulls="see", example=((None,), (), True))
def is_null(value: Any) -> bool:
    """Whether there is no value; never null."""
    return value is None


@function("X", "B", nulls="see", example=((None,), (), False))
def is_not_null(value: Any) -> bool:
    """Whether there is a value; never null."""
    return value is not None


@function("X+", "X", nulls="see", example=((None, 12), (), 12))
def coalesce(*values: Any) -> Any:
    """The first source that has a value."""
    return next((value for value in values if value is not None), None)


@function("X", "X", args=[Arg("value", ANY)], nulls="see", example=((None,), ("none",), "none"))
def default_if_null(given: Any, value: Any) -> Any:
    """The argument where there is no value."""
    return value if given is None else given


@function(
    "B X X",
    "X",
    operands=[Arg("then", ANY), Arg("else", ANY)],
    nulls="see",
    example=((True,), ("big", "small"), "big"),
)
def if_else(condition: bool | None, then: Any, otherwise: Any) -> Any:
    """The second source where the first is true, else the third. Branches that are no sources are arguments; a null
    condition counts as false."""
    return then if condition else otherwise


@function(
    "X",
    "X",
    args=[Arg("cases", CASES), Arg("default", ANY, None)],
    example=((2,), ([{"when": 1, "then": "one"}, {"when": 2, "then": "two"}],), "two"),
)
def switch(value: Any, cases: Mapping[Any, Any], default: Any) -> Any:
    """The ``then`` of the first case whose ``when`` is the value, else the default."""
    return cases.get(key(value), default)


@function(
    "X",
    "X",
    args=[Arg("map", DATA_MAP), Arg("default", ANY, UNCHANGED)],
    example=(("NY",), ({"NY": "New York"},), "New York"),
)
def map_values(value: Any, map: Mapping[str, Any], default: Any) -> Any:  # noqa: A002 - the argument's public name
    """The entry of an object under the value's text, else the default; "<unchanged>" keeps the value."""
    from mona_server.config.casts import to_text

    text = to_text(value)
    if text in map:
        return map[text]
    return value if default == UNCHANGED else default


@function(
    "X", "X", args=[Arg("values", DATA_SET), Arg("other", ANY, "other")], example=(("x",), (["a", "b"],), "other")
)
def one_of(value: Any, values: frozenset[Any], other: Any) -> Any:
    """The value where a list holds it, else ``other``."""
    return value if key(value) in values else other


@function("N+", "B", args=[Arg("low", NUMBER, None), Arg("high", NUMBER, None)], example=((1, 2), (0, 2), True))
def all_in_range(*xs: float, low: float | None, high: float | None) -> bool:
    """Whether low <= x <= high holds for every source; null leaves a side open."""
    return all((low is None or x >= low) and (high is None or x <= high) for x in xs)


@function("X+", "B", nulls="see", example=((1, None), (), True))
def any_null(*values: Any) -> bool:
    """Whether any source has no value; never null."""
    return any(value is None for value in values)
