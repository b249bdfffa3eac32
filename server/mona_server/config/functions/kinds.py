"""Kinds of arguments: how a value of a configuration is read, once, into what the body uses.

A kind marked as data also takes the name of an entry of the class's ``data``. Patterns are compiled here, zones are
looked up here, lists become sets here, so that building a field does none of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import time
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import re2

from mona_server.config.issues import did_you_mean


class BadArg(ValueError):
    """An argument that a function cannot take. ``at``: its index, where it is one argument's fault."""

    def __init__(self, message: str, *, at: int | None = None) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True)
class ArgContext:
    """What arguments may refer to."""

    data: Mapping[str, Any] = field(default_factory=dict)
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True, eq=False)
class ArgKind:
    """One kind of argument."""

    name: str
    form: str
    """What people may write, in one line."""
    read: Callable[[Any, ArgContext], Any]
    choices: tuple[str, ...] = ()
    width: int = 1
    """How many positional arguments it takes; ``read`` gets a list of them when it is more than one."""


def key(value: Any) -> Any:
    """A hashable stand-in under which equal values are equal: numbers by value, never across kinds.

    >>> key(1) == key(1.0), key(1) == key(True), key(1) == key("1"), key([1]) == key([1.0])
    (True, False, False, True)
    """
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, list | tuple):
        return ("array", *(key(item) for item in value))
    if isinstance(value, dict):
        return ("object", frozenset((name, key(item)) for name, item in value.items()))
    return value


def _number(given: Any, _: ArgContext) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise BadArg("must be a number")
    return given


def _integer(given: Any, _: ArgContext) -> int:
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int) or abs(given) > 2**53:
        raise BadArg("must be a whole number")
    return given


def _positive(read: Callable[[Any, ArgContext], Any]) -> Callable[[Any, ArgContext], Any]:
    def read_positive(given: Any, context: ArgContext) -> Any:
        value = read(given, context)
        if value <= 0:
            raise BadArg("must be above 0")
        return value

    return read_positive


def _base(given: Any, context: ArgContext) -> float:
    value = _number(given, context)
    if value <= 0 or value == 1:
        raise BadArg("must be above 0 and not 1")
    return value


def _bucket_base(given: Any, context: ArgContext) -> float:
    value = _number(given, context)
    if value <= 1:
        raise BadArg("must be above 1")
    return value


def _text(given: Any, _: ArgContext) -> str:
    if not isinstance(given, str):
        raise BadArg("must be a text")
    return given


def _full_text(given: Any, context: ArgContext) -> str:
    if not _text(given, context):
        raise BadArg("must not be empty")
    return str(given)


def _boolean(given: Any, _: ArgContext) -> bool:
    if not isinstance(given, bool):
        raise BadArg("must be true or false")
    return given


def _choice(*options: str) -> Callable[[Any, ArgContext], str]:
    def read(given: Any, _: ArgContext) -> str:
        if not isinstance(given, str) or given not in options:
            raise BadArg(f"must be one of {', '.join(options)}")
        return given

    return read


def _pattern(given: Any, context: ArgContext) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(_full_text(given, context), options)
    except re2.error as error:
        raise BadArg(f"is no pattern of the RE2 dialect: {_plain(error)}") from None


def _plain(error: Exception) -> str:
    return error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)


def _zone(given: Any, context: ArgContext) -> ZoneInfo:
    try:
        return ZoneInfo(_text(given, context) or context.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadArg("must be a time zone such as Europe/Berlin") from None


def _clock(given: Any, context: ArgContext) -> time:
    found = re.fullmatch(r"([01]?\d|2[0-4]):([0-5]\d)", _text(given, context))
    if found is None or (int(found[1]) == 24 and int(found[2])):
        raise BadArg("must be a time of day such as 09:30")
    return time.max if int(found[1]) == 24 else time(int(found[1]), int(found[2]))


def _data(read: Callable[[Any], Any]) -> Callable[[Any, ArgContext], Any]:
    """A literal, or a text that names an entry of the class's data."""

    def read_data(given: Any, context: ArgContext) -> Any:
        if isinstance(given, str):
            if given not in context.data:
                raise BadArg(f"no entry {given!r} in the data of the class{did_you_mean(given, context.data)}")
            given = context.data[given]
        return read(given)

    return read_data


def _list(given: Any) -> tuple[Any, ...]:
    if not isinstance(given, list | tuple):
        raise BadArg("must be a list, or the name of one in the data of the class")
    return tuple(given)


def _texts(given: Any) -> tuple[str, ...]:
    values = _list(given)
    if not all(isinstance(value, str) and value for value in values):
        raise BadArg("must be a list of texts")
    return values


def _map(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise BadArg("must be an object, or the name of one in the data of the class")
    return dict(given)


def _ascending(given: Any) -> tuple[float, ...]:
    values = _list(given)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadArg("must be a list of numbers")
    if not values or any(a >= b for a, b in pairwise(values)):
        raise BadArg("must be an ascending list of at least one number")
    return values


def _numbers(given: Any, context: ArgContext) -> tuple[float, ...]:
    if not isinstance(given, list | tuple):
        raise BadArg("must be a list of numbers")
    return tuple(_number(value, context) for value in given)


def _ranges(given: Any, _: ArgContext) -> tuple[tuple[float, bool, float, bool], ...]:
    """Ranges as (left, left inclusive, right, right inclusive); lists may be nested."""
    if isinstance(given, list | tuple):
        return tuple(one for item in given for one in _ranges(item, _))
    if not isinstance(given, Mapping) or not {"left", "right"} & set(given):
        raise BadArg(
            'must be a range such as {"left": {"value": 0, "inclusive": true}, "right": {"value": 1}}, or a list'
        )
    if unknown := set(given) - {"left", "right", "inclusive"}:
        raise BadArg(f"has an unknown key {min(unknown)!r} in a range")
    both = given.get("inclusive", True)
    sides: list[Any] = []
    for side, end in (("left", -math.inf), ("right", math.inf)):
        value: Any = given.get(side)
        inclusive = both
        if isinstance(value, Mapping):
            inclusive = value.get("inclusive", both)
            value = value.get("value")
        if value is None:
            value = end
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise BadArg(f"must have a number on the {side} side of a range")
        if not isinstance(inclusive, bool):
            raise BadArg("must have true or false for inclusive")
        sides += [value, inclusive]
    if sides[0] > sides[2]:
        raise BadArg("has a range whose left side is above the right one")
    return ((sides[0], sides[1], sides[2], sides[3]),)


def _point(given: Any, _: ArgContext) -> tuple[float, float]:
    from mona_server.config.geo import read_point

    point = read_point([given[1], given[0]])
    if point is None:
        raise BadArg("must be a latitude and a longitude in degrees")
    return point


def _cases(given: Any, _: ArgContext) -> dict[Any, Any]:
    if not isinstance(given, list | tuple) or not given:
        raise BadArg('must be a list of {"when": value, "then": value}')
    cases: dict[Any, Any] = {}
    for case in given:
        if not isinstance(case, Mapping) or set(case) != {"when", "then"}:
            raise BadArg('must be a list of {"when": value, "then": value}')
        cases.setdefault(key(case["when"]), case["then"])
    return cases


def _path(given: Any, context: ArgContext) -> Any:
    from mona_server.config.paths import compile_path

    walk = compile_path(_full_text(given, context))
    if walk is None:
        raise BadArg("must be a path such as a.b[0]")
    return walk


UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}

ANY = ArgKind("any", "any value", lambda given, _: given)
NUMBER = ArgKind("number", "a number", _number)
POSITIVE = ArgKind("positive", "a number above 0", _positive(_number))
BASE = ArgKind("base", "a number above 0 other than 1", _base)
BUCKET_BASE = ArgKind("bucket_base", "a number above 1", _bucket_base)
INTEGER = ArgKind("integer", "a whole number", _integer)
COUNT = ArgKind("count", "a whole number above 0", _positive(_integer))
NUMBERS = ArgKind("numbers", "a list of numbers", _numbers)
TEXTS = ArgKind("texts", "a list of texts", lambda given, _: _texts(given))
TEXT = ArgKind("text", "a text", _text)
FULL_TEXT = ArgKind("full_text", "a text that is not empty", _full_text)
BOOLEAN = ArgKind("boolean", "true or false", _boolean)
PATTERN = ArgKind("pattern", "a regular expression of the RE2 dialect", _pattern)
PATH = ArgKind("path", "a path such as a.b[0]", _path)
ZONE = ArgKind("zone", "a time zone such as Europe/Berlin; the class's own by default", _zone)
CLOCK = ArgKind("clock", "a time of day, HH:MM", _clock)
UNIT = ArgKind("unit", "one of ms, s, m, h, d, w", _choice(*UNITS_MS), tuple(UNITS_MS))
LAT_LON = ArgKind("lat_lon", "two arguments: latitude and longitude in degrees", _point, width=2)
RANGES = ArgKind("ranges", "a range or a list of ranges", _ranges)
CASES = ArgKind("cases", 'a list of {"when": value, "then": value}', _cases)
DATA_LIST = ArgKind("data_list", "a list, or the name of one in data", _data(_list))
DATA_SET = ArgKind("data_set", "a list, or the name of one in data", _data(lambda v: frozenset(map(key, _list(v)))))
DATA_TEXTS = ArgKind("data_texts", "a list of texts, or the name of one in data", _data(_texts))
DATA_MAP = ArgKind("data_map", "an object, or the name of one in data", _data(_map))
DATA_BOUNDARIES = ArgKind("data_boundaries", "ascending numbers, or the name of a list in data", _data(_ascending))

ARG_KINDS = {kind.name: kind for kind in list(globals().values()) if isinstance(kind, ArgKind)}


def is_data(kind: ArgKind) -> bool:
    """May also be the name of an entry of the class's data."""
    return kind.name.startswith("data_")


def choice(*options: str) -> ArgKind:
    """One of a few words."""
    return ArgKind("choice", "one of " + ", ".join(options), _choice(*options), options)
