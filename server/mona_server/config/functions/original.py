"""The six functions of the original, under their names and with their meaning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mona_server.config.functions.declare import Arg, Group
from mona_server.config.functions.kinds import DATA_SET, RANGES, TEXT, key

GROUP = Group("Original")
function = GROUP.function


@function("X", "X", example=((5,), (), 5))
def identity(value: Any) -> Any:
    """The value unchanged."""
    return value


@function("A", "N", example=(([1, None, "a"],), (), 3))
def array_length(array: list[Any]) -> int:
    """Number of elements, nulls included."""
    return len(array)


@function(
    "N",
    "B",
    args=[Arg("ranges", RANGES)],
    example=((5000,), ({"left": {"value": 5000, "inclusive": False}},), False),
)
def range_check(x: float, ranges: Iterable[tuple[float, bool, float, bool]]) -> bool:
    """Whether the number lies in any of the ranges. A missing side is open; sides are inclusive unless they say
    otherwise."""
    return any(
        (low < x or (low == x and with_low)) and (x < high or (x == high and with_high))
        for low, with_low, high, with_high in ranges
    )


@function(
    "X+",
    "S",
    args=[Arg("separator", TEXT, "")],
    nulls="skip",
    example=(("Arkansas", "Fort Smith"), ("_",), "Arkansas_Fort Smith"),
)
def concat_strings(*values: Any, separator: str) -> str:
    """The texts one after the other; nulls are left out, numbers are written as in a string field."""
    from mona_server.config.casts import to_text

    return separator.join(to_text(value) for value in values)


@function("X", "B", nulls="see", example=((None,), (), False))
def existence_check(value: Any) -> bool:
    """Whether there is a value; never null."""
    return value is not None


@function("X", "B", args=[Arg("values", DATA_SET)], example=(("Haifa",), (["Haifa", "Eilat"],), True))
def is_in_set(value: Any, values: frozenset[Any]) -> bool:
    """Whether the value is one of a list: a literal, or an entry of the class's data."""
    return key(value) in values
