"""Casts of a built value to the type of its field. None = no value; :class:`Problem` = it cannot be one.

Arrays: numeric fields take the mean of the elements that are numbers, timestamp fields the earliest, string and
boolean fields become a list of the distinct elements (the context then belongs to the segment of each). An empty
array is no value.

>>> numeric("0.5"), string(1.0), boolean(""), string(["b", "a", "b"])
(0.5, '1', False, ['a', 'b'])
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from mona_server.config.functions.declare import Problem
from mona_server.config.geo import point_text, read_point, shape_text
from mona_server.config.timestamps import parse_timestamp

Cast = Callable[[Any], Any]


def numeric(value: Any) -> float | None:
    """Numbers, true/false as 1/0, numeric text; always finite."""
    if isinstance(value, list):
        numbers = [number for item in value if (number := _number(item)) is not None]
        if numbers:
            return math.fsum(numbers) / len(numbers)
        _refuse_unless_empty(value, "array without numbers")
        return None
    if value is None:
        return None
    number = _number(value)
    if number is None:
        raise Problem("not a finite number")
    return number


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float | str):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    return None


def string(value: Any) -> str | list[str] | None:
    """Text; numbers in their shortest form, booleans ``True``/``False``; objects and arrays of them as JSON text."""
    if isinstance(value, list):
        items = [item for item in value if item is not None]
        if any(isinstance(item, dict | list) for item in items):
            return to_text(value)
        return sorted({to_text(item) for item in items}) or None
    return None if value is None else to_text(value)


def to_text(value: Any) -> str:
    """The string cast of one value that is not null.

    >>> to_text(0.5), to_text(3.0), to_text(True), to_text({"a": 1})
    ('0.5', '3', 'True', '{"a": 1}')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, bool | int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def boolean(value: Any) -> bool | list[bool] | None:
    """Truthiness: 0 and everything empty is false, all other text is true (also "false")."""
    if isinstance(value, list):
        return sorted({bool(item) for item in value if item is not None}) or None
    return None if value is None else bool(value)


def timestamp(value: Any) -> int | None:
    """Unix milliseconds of the forms in :mod:`mona_server.config.timestamps`."""
    if isinstance(value, list):
        times = [time for item in value if (time := parse_timestamp(item)) is not None]
        if times:
            return min(times)
        _refuse_unless_empty(value, "array without timestamps")
        return None
    if value is None:
        return None
    time = parse_timestamp(value)
    if time is None:
        raise Problem("not a timestamp")
    return time


def built_timestamp(value: Any) -> int | None:
    """For a value that already is in Unix milliseconds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Problem("not a timestamp")
    return round(value)


def geopoint(value: Any) -> str | None:
    """``[lon, lat]``, ``{"lat", "lon"}``, ``"lat,lon"`` or a GeoJSON point → GeoJSON text."""
    if value is None or value == []:
        return None
    point = read_point(value)
    if point is None:
        raise Problem("not a point on the earth")
    return point_text(point)


def geoshape(value: Any) -> str | None:
    """A GeoJSON geometry (object or text), or a point → GeoJSON text."""
    if value is None or value == []:
        return None
    text = shape_text(value)
    if text is None:
        raise Problem("not a GeoJSON geometry")
    return text


def _refuse_unless_empty(value: list[Any], problem: str) -> None:
    """No element is usable: a problem, unless there was none to begin with."""
    if any(item is not None for item in value):
        raise Problem(problem)


CASTS: Mapping[str, Cast] = {
    "numeric": numeric,
    "string": string,
    "boolean": boolean,
    "timestamp": timestamp,
    "geopoint": geopoint,
    "geoshape": geoshape,
}
