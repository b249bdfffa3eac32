"""The normal form of a context class: what was written, in one spelling. Two files that mean the same mostly have the
same normal form, so that a diff shows what changed and not how it was typed.

Aliases are resolved, class-level segmentations moved into their fields, single sources become text in ``source``,
values that are the default of the file format (identity, own name, no args, null) are left out, and segments that were
given as JSON text become objects. Unknown keys are kept. Values that a verse inherits are not copied into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mona_server.detect.verses import VERSES
from mona_server.segment import Segment, SegmentError, parse_segments

_ORDER = (
    "description",
    "time_zone",
    "retention_days",
    "data",
    "fields",
    "field_vectors",
    "main_kpis",
    "stanzas_global_defaults",
    "stanzas",
    "notifications",
)
_KINDS = {p.name: p.kind.name for verse_type in VERSES.values() for p in verse_type.parameters}


def normal_class(given: Mapping[str, Any]) -> dict[str, Any]:
    """The normal form of a class object that was read without errors."""
    rest = dict(given)
    defaults = rest.pop("stanza_global_defaults", None)
    if rest.get("stanzas_global_defaults") is None and defaults is not None:
        rest["stanzas_global_defaults"] = defaults
    segmentations = rest.pop("segmentations", None)
    moved = segmentations if isinstance(segmentations, Mapping) else {}
    normal: dict[str, Any] = {}
    for key in (*_ORDER, *(key for key in rest if key not in _ORDER)):
        value = rest.get(key)
        if value is None or (value in ({}, [], "") and key != "fields"):
            continue
        if key == "fields" and isinstance(value, Mapping):
            value = {name: _field(name, one, moved.get(name)) for name, one in value.items()}
        elif key == "stanzas_global_defaults" and isinstance(value, Mapping):
            value = _parameters(value)
        elif key == "stanzas" and isinstance(value, Mapping):
            value = {name: _stanza(one) for name, one in value.items()}
        elif key == "main_kpis" and isinstance(value, list):
            value = [_segment_of(one, "segment") for one in value]
        normal[key] = value
    return normal


def _field(name: str, given: Any, moved: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    normal = {key: value for key, value in given.items() if not (value is None or value is False or value in ("", []))}
    if normal.get("function") == "identity":
        del normal["function"]
    sources = normal.pop("sources", None)
    if sources is not None and not (isinstance(sources, list) and len(sources) == 1):
        normal["sources"] = sources
    elif sources is not None:
        normal["source"] = sources[0]
    if isinstance(source := normal.get("source"), list) and len(source) == 1:
        normal["source"] = source[0]
    if normal.get("source") == name:
        del normal["source"]
    if isinstance(moved, Mapping) and isinstance(normal.get("segmentations", {}), Mapping):
        normal["segmentations"] = {**moved, **normal.get("segmentations", {})}
    return normal


def _stanza(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    normal = _parameters({key: value for key, value in given.items() if key not in ("verses", "description")})
    if given.get("description"):
        normal = {"description": given["description"], **normal}
    verses = given.get("verses") or []
    normal["verses"] = [_parameters(one) if isinstance(one, Mapping) else one for one in verses]
    return normal


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    normal = dict(given)
    for name, value in given.items():
        try:
            if _KINDS.get(name) == "segment":
                normal[name] = Segment.parse(value).to_json()
            elif _KINDS.get(name) == "segments":
                normal[name] = [segment.to_json() for segment in parse_segments(value)]
        except SegmentError:
            continue  # an issue says so already
    return normal


def _segment_of(given: Any, key: str) -> Any:
    if not isinstance(given, Mapping) or key not in given:
        return given
    try:
        return {**given, key: Segment.parse(given[key]).to_json()}
    except SegmentError:
        return given
