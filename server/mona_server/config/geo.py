"""Points and shapes on the earth: the forms people send, and GeoJSON text to store.

>>> read_point("32.08,34.78") == read_point([34.78, 32.08]) == read_point({"lat": 32.08, "lon": 34.78})
True
"""

from __future__ import annotations

import json
from typing import Any

Point = tuple[float, float]
"""(latitude, longitude) in degrees."""

_SHAPES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")


def read_point(value: Any) -> Point | None:
    """``[lon, lat]``, ``{"lat", "lon"}``, ``"lat,lon"``, a GeoJSON point or its text; None when it is none."""
    if isinstance(value, str):
        if value.lstrip().startswith(("{", "[")):
            try:
                return read_point(json.loads(value))
            except ValueError:
                return None
        first, comma, second = value.partition(",")
        try:
            return _point(float(first), float(second)) if comma else None
        except ValueError:
            return None
    if isinstance(value, dict):
        if value.get("type") == "Point":
            return read_point(value.get("coordinates")) if isinstance(value.get("coordinates"), list) else None
        longitude = next((value[name] for name in ("lon", "lng", "longitude") if name in value), None)
        return _point(value.get("lat", value.get("latitude")), longitude)
    if isinstance(value, list | tuple) and len(value) in (2, 3):
        return _point(value[1], value[0])
    return None


def _point(latitude: Any, longitude: Any) -> Point | None:
    for degrees, most in ((latitude, 90), (longitude, 180)):
        if isinstance(degrees, bool) or not isinstance(degrees, int | float) or not -most <= degrees <= most:
            return None
    return float(latitude), float(longitude)


def point_text(point: Point) -> str:
    """GeoJSON, longitude first."""
    return json.dumps({"type": "Point", "coordinates": [point[1], point[0]]})


def shape_text(value: Any) -> str | None:
    """GeoJSON text of a geometry, a feature's geometry, or a point; None when it is none."""
    point = read_point(value)
    if point is not None:
        return point_text(point)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, dict) and value.get("type") == "Feature":
        value = value.get("geometry")
    if not isinstance(value, dict) or value.get("type") not in _SHAPES:
        return None
    body = value.get("geometries" if value["type"] == "GeometryCollection" else "coordinates")
    return json.dumps(value, sort_keys=True) if isinstance(body, list) and body else None
