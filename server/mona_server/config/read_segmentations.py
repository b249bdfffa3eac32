"""Reads the ``segmentations`` of one field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mona_server.config.issues import Issues, Path
from mona_server.config.segmentations import Kind, Segmentation, automatic

NUMERIC_KEYS = (
    "default",
    "type",
    "discrete",
    "min_value",
    "max_value",
    "bucket_size",
    "number_of_buckets",
    "bucket_boundaries",
    "should_log",
    "quantiles",
)
VALUE_KEYS = ("default", "type", "max_values", "groups", "lowercase")
_KINDS: Mapping[str, Kind] = {
    "discrete": "discrete",
    "bucket_size": "width",
    "number_of_buckets": "count",
    "bucket_boundaries": "boundaries",
    "should_log": "log",
    "quantiles": "quantiles",
}


def read_segmentations(given: Any, field_type: str | None, path: Path, issues: Issues) -> dict[str, Segmentation]:
    """The segmentations by name; the automatic one where none is given."""
    found: dict[str, Segmentation] = {}
    if given is not None and not isinstance(given, Mapping):
        issues.error(path, "bad_segmentation", "must be an object of name → segmentation")
    elif given and field_type in ("timestamp", "geopoint", "geoshape"):
        issues.error(
            path, "bad_segmentation", f"a {field_type} field cannot be segmented; make a field of it by a function"
        )
    else:
        for name, one in (given or {}).items():
            if not isinstance(one, Mapping):
                issues.error((*path, name), "bad_segmentation", 'must be an object such as {"bucket_size": 10}')
            elif field_type == "numeric":
                if (numeric := _numeric(name, one, (*path, name), issues)) is not None:
                    found[name] = numeric
            elif (values := _values(name, one, (*path, name), issues)) is not None:
                found[name] = values
    if not found and field_type is not None and (own := automatic(field_type)) is not None:
        return {own.name: own}
    return _with_default(found, path, issues)


def _with_default(found: dict[str, Segmentation], path: Path, issues: Issues) -> dict[str, Segmentation]:
    from dataclasses import replace

    defaults = [name for name, one in found.items() if one.default]
    if len(defaults) > 1:
        issues.error(path, "two_defaults", f"exactly one may be the default, not {' and '.join(defaults)}")
    elif not defaults and len(found) == 1:
        (name,) = found
        found[name] = replace(found[name], default=True)
    elif not defaults and found:
        issues.error(path, "no_default", 'one of several segmentations needs "default": true')
    return found


def _numeric(name: str, given: Mapping[str, Any], path: Path, issues: Issues) -> Segmentation | None:
    issues.unknown_keys(path, given, NUMERIC_KEYS)
    before = len(issues.found)
    values: dict[str, Any] = {"default": _flag(given, "default", path, issues)}
    for key in ("min_value", "max_value"):
        values[key] = _number(given, key, path, issues)
    low, high = values["min_value"], values["max_value"]
    if low is not None and high is not None and low >= high:
        issues.error(path, "bad_bounds", "min_value must be below max_value")
    present = [
        key
        for key in _KINDS
        if given.get(key) is not None and not (key in ("discrete", "should_log") and given[key] is False)
    ]
    for key in ("discrete", "should_log"):
        _flag(given, key, path, issues)
    if len(present) > 1:
        issues.error(path, "contradictory_segmentation", f"{' and '.join(present)} exclude each other")
        return None
    # Bounds alone make one bucket: inside.
    kind: Kind = _KINDS[present[0]] if present else "boundaries"
    if not present:
        if low is None and high is None:
            issues.error(path, "bad_segmentation", f"needs one of {', '.join(_KINDS)}")
            return None
        values["boundaries"] = ()
    elif kind == "width":
        values["bucket_size"] = _number(given, "bucket_size", path, issues, positive=True)
    elif kind == "count":
        values["number_of_buckets"] = _count(given, "number_of_buckets", path, issues, 1)
        if low is None or high is None:
            issues.error(path, "bad_bounds", "number_of_buckets needs both min_value and max_value")
    elif kind == "quantiles":
        values["quantiles"] = _count(given, "quantiles", path, issues, 2)
    elif kind == "boundaries":
        values["boundaries"] = _boundaries(given["bucket_boundaries"], (*path, "bucket_boundaries"), issues)
    if issues.failed_since(before):
        return None
    return Segmentation(name=name, kind=kind, **values)


def _values(name: str, given: Mapping[str, Any], path: Path, issues: Issues) -> Segmentation | None:
    issues.unknown_keys(path, given, VALUE_KEYS)
    before = len(issues.found)
    if given.get("type") not in (None, "string", "boolean"):
        issues.error((*path, "type"), "bad_segmentation", "must be string or boolean")
    groups = given.get("groups") or {}
    if not isinstance(groups, Mapping) or not all(isinstance(members, list) and members for members in groups.values()):
        issues.error((*path, "groups"), "bad_segmentation", "must be an object of name → list of values")
        groups = {}
    elif len(members := [member for group in groups.values() for member in group]) != len(set(map(str, members))):
        issues.error((*path, "groups"), "bad_segmentation", "a value may be in one group only")
    max_values = _count(given, "max_values", path, issues, 1) if given.get("max_values") is not None else 1000
    made = Segmentation(
        name=name,
        kind="values",
        default=_flag(given, "default", path, issues),
        max_values=max_values or 1000,
        groups={group: tuple(members) for group, members in groups.items()},
        lowercase=_flag(given, "lowercase", path, issues),
    )
    return None if issues.failed_since(before) else made


def _flag(given: Mapping[str, Any], key: str, path: Path, issues: Issues) -> bool:
    value = given.get(key)
    if value is not None and not isinstance(value, bool):
        issues.error((*path, key), "bad_segmentation", "must be true or false")
    return value is True


def _number(given: Mapping[str, Any], key: str, path: Path, issues: Issues, *, positive: bool = False) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        issues.error((*path, key), "bad_segmentation", "must be a number")
        return None
    if positive and value <= 0:
        issues.error((*path, key), "bad_segmentation", "must be above 0")
        return None
    return value


def _count(given: Mapping[str, Any], key: str, path: Path, issues: Issues, least: int) -> int | None:
    value = given.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10_000:
        issues.error((*path, key), "bad_segmentation", f"must be a whole number from {least} to 10000")
        return None
    return value


def _boundaries(given: Any, path: Path, issues: Issues) -> tuple[float, ...] | None:
    numbers = isinstance(given, list) and all(
        isinstance(b, int | float) and not isinstance(b, bool) and math.isfinite(b) for b in given
    )
    if not numbers or not given or any(a >= b for a, b in pairwise(given)):
        issues.error(path, "bad_segmentation", "must be an ascending list of numbers")
        return None
    return tuple(given)
