"""Kinds of values, and bucketing of numbers and places."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from mona_server.config.functions.declare import Arg, Group
from mona_server.config.functions.kinds import BUCKET_BASE, COUNT, DATA_BOUNDARIES, LAT_LON, NUMBER, POSITIVE, TEXTS
from mona_server.config.geo import Point
from mona_server.config.segmentations import clean

GROUP = Group("Kinds and bucketing")
function = GROUP.function


@function("X", "B", nulls="see", example=((True,), (), False))
def is_number(value: Any) -> bool:
    """Whether the value is a number; null and booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@function("X", "B", nulls="see", example=(("1",), (), True))
def is_string(value: Any) -> bool:
    """Whether the value is a text; null is none."""
    return isinstance(value, str)


@function("X", "B", nulls="see", example=((1,), (), False))
def is_boolean(value: Any) -> bool:
    """Whether the value is true or false; null is neither."""
    return isinstance(value, bool)


@function("X", "B", nulls="see", example=(([],), (), True))
def is_array(value: Any) -> bool:
    """Whether the value is an array; null is none."""
    return isinstance(value, list)


@function("X", "B", nulls="see", example=((None,), (), False))
def is_object(value: Any) -> bool:
    """Whether the value is an object; null is none."""
    return isinstance(value, dict)


@function("X", "S", nulls="see", example=((None,), (), "null"))
def type_name(value: Any) -> str:
    """number, string, boolean, array, object or null; never null itself."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return next(name for kind, name in names.items() if isinstance(value, kind))


@function(
    "N",
    "S",
    args=[Arg("boundaries", DATA_BOUNDARIES), Arg("labels", TEXTS, None)],
    check=lambda args, _: (
        "needs one label more than boundaries"
        if args["labels"] is not None and len(args["labels"]) != len(args["boundaries"]) + 1
        else None
    ),
    example=((7,), ([0, 10],), "[0, 10)"),
)
def bucket(x: float, boundaries: Sequence[float], labels: Sequence[str] | None) -> str:
    """The bucket of a number: its label, or its text such as "[0, 10)". The ends are open, so there is one bucket
    more than boundaries."""
    i = bisect_right(boundaries, x)
    if labels is not None:
        return labels[i]
    low = f"[{boundaries[i - 1]:.12g}" if i > 0 else "(-inf"
    return f"{low}, {boundaries[i]:.12g})" if i < len(boundaries) else f"{low}, inf)"


@function("N", "N", args=[Arg("size", POSITIVE), Arg("origin", NUMBER, 0)], example=((0.57,), (0.02,), 0.56))
def fixed_buckets(x: float, size: float, origin: float) -> float:
    """The lower bound of the bucket [origin + k·size, origin + (k+1)·size) that holds the number."""
    k = math.floor((x - origin) / size)
    # The division may land beside an edge that the number is exactly on.
    for near in (k + 1, k, k - 1):
        if (bound := clean(origin + near * size)) <= x:
            return bound
    return clean(origin + k * size)


@function("N", "N", args=[Arg("base", BUCKET_BASE, 2)], example=((-5,), (), -4))
def log_bucket(x: float, base: float) -> float:
    """The largest power of the base that is not above |x|, with the sign of x; 0 where |x| < 1."""
    size = abs(x)
    if size < 1:
        return 0.0
    power = math.floor(math.log(size, base))
    if base ** (power + 1) <= size:
        power += 1
    elif base**power > size:
        power -= 1
    return math.copysign(base**power, x)


@function("N", "N", args=[Arg("boundaries", DATA_BOUNDARIES)], example=((15,), ([10, 20, 30],), 1))
def quantile_bucket(x: float, boundaries: Sequence[float]) -> int:
    """The number, from 0, of the bucket between the boundaries that holds the number."""
    return bisect_right(boundaries, x)


_BASE32 = "0123456789bcdefghjkmnpqrstuvwxyz"


@function("G", "S", args=[Arg("precision", COUNT, 5)], example=(([10.40744, 57.64911],), (), "u4pru"))
def geohash(point: Point, precision: int) -> str:
    """The geohash of a point, of so many letters (at most 12)."""
    latitude, longitude = point
    spans = [[-180.0, 180.0], [-90.0, 90.0]]
    letters, bits = "", 0
    for i in range(5 * min(precision, 12)):
        span, at = spans[i % 2], longitude if i % 2 == 0 else latitude
        middle = (span[0] + span[1]) / 2
        upper = at >= middle
        span[0 if upper else 1] = middle
        bits = bits * 2 + upper
        if i % 5 == 4:
            letters += _BASE32[bits]
            bits = 0
    return letters


EARTH_RADIUS_KM = 6371.0088


@function(
    "G G",
    "N",
    operands=[Arg("lat, lon", LAT_LON)],
    example=(([0, 0], [180, 0]), (), 20015.11444),
)
def distance_km(a: Point, b: Any) -> float:
    """Great-circle distance of two points in kilometres (haversine, mean radius of the earth)."""
    (lat1, lon1), (lat2, lon2) = (map(math.radians, point) for point in (a, b))
    chord = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(chord, 1.0)))
