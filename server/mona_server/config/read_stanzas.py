"""Reads the stanzas and global defaults of one context class."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mona_server.config.issues import Issues, Path, did_you_mean
from mona_server.config.model import Field, InactiveVerse, Stanza
from mona_server.detect.parameters import BadValue
from mona_server.detect.source import AxisRequest
from mona_server.detect.verses import REFUSED, VERSES, Verse, VerseType, resolve
from mona_server.segment import Segment

OWN_KEYS = ("description", "verses")
AXES = ("MONA_TIMESTAMP", "export_timestamp", "MONA_ARRIVAL_TIMESTAMP")
"""Time axes that every class has."""


def read_stanzas(
    given: Any,
    defaults: Mapping[str, Any],
    context_class: str,
    fields: Mapping[str, Field],
    known_fields: frozenset[str],
    path: Path,
    issues: Issues,
    *,
    lenient: bool,
    verse_types: Mapping[str, VerseType] = VERSES,
) -> dict[str, Stanza]:
    """The stanzas that could be read. ``known_fields``: all names given, also of fields that have errors."""
    if not isinstance(given, Mapping):
        issues.error((*path, "stanzas"), "bad_stanza", "must be an object of name → stanza")
        return {}
    parameters = frozenset(p.name for verse_type in verse_types.values() for p in verse_type.parameters)
    issues.unknown_keys((*path, "stanzas_global_defaults"), defaults, parameters, "parameter")
    _check_values(defaults, verse_types, (*path, "stanzas_global_defaults"), issues)
    stanzas = {}
    for name, one in given.items():
        here = (*path, "stanzas", name)
        if not isinstance(one, Mapping) or not isinstance(one.get("verses") or [], list):
            issues.error(here, "bad_stanza", 'must be an object with a list "verses"')
            continue
        issues.unknown_keys(here, one, (*OWN_KEYS, *parameters), "parameter")
        _check_values(one, verse_types, here, issues)
        verses: list[Verse] = []
        inactive: list[InactiveVerse] = []
        for i, verse in enumerate(one.get("verses") or []):
            at = (*here, "verses", i)
            if not isinstance(verse, Mapping):
                issues.error(at, "bad_verse", 'must be an object such as {"type": "AverageDrift"}')
                continue
            verse_type = _type(verse.get("type"), at, verse_types, issues, lenient=lenient)
            if verse_type is None:
                inactive.append(InactiveVerse(name=str(verse.get("name", "")), type=str(verse.get("type"))))
                continue
            resolved, problems = resolve(
                verse_type,
                verse,
                context_class=context_class,
                stanza=name,
                stanza_values={key: value for key, value in one.items() if key not in OWN_KEYS},
                defaults=defaults,
            )
            levels: dict[str, Path] = {"verse": at, "stanza": here, "defaults": (*path, "stanzas_global_defaults")}
            for problem in problems:
                place = (*levels[problem.level], *split(problem.path))
                add = issues.error if problem.severity == "error" else issues.warning
                add(place, problem.code, problem.message)
            if resolved is None:
                continue
            named = _check_fields(resolved, levels, (verse, one, defaults), fields, known_fields, issues)
            if resting := sorted(name for name in named if name in fields and not fields[name].active):
                message = f"names {', '.join(resting)}, not built here; the verse is kept, but never runs"
                issues.warning(at, "inactive_field", message)
                inactive.append(InactiveVerse(name=resolved.name, type=verse_type.type))
            else:
                verses.append(resolved)
        _check_names(verses, here, issues)
        description = one.get("description") or ""
        stanzas[name] = Stanza(name=name, verses=tuple(verses), inactive=tuple(inactive), description=str(description))
    return stanzas


def _check_values(given: Mapping[str, Any], verse_types: Mapping[str, VerseType], path: Path, issues: Issues) -> None:
    """Values that verses inherit must suit at least one type, even where every verse has its own."""
    for name, value in given.items():
        kinds = {p.kind for one in verse_types.values() for p in one.parameters if p.name == name}
        problem = None
        for kind in kinds if name not in ("name", *OWN_KEYS) else ():
            try:
                kind.read(value)
                break
            except BadValue as error:
                problem = (*path, name, *split(error.at)), f"bad_{kind.name}", str(error)
        else:
            if problem is not None:
                issues.error(*problem)


def _type(
    given: Any, at: Path, verse_types: Mapping[str, VerseType], issues: Issues, *, lenient: bool
) -> VerseType | None:
    if not isinstance(given, str):
        issues.error((*at, "type"), "missing_type", "a verse needs a type, which is a text")
    elif given in verse_types:
        return verse_types[given]
    elif given in REFUSED:
        add = issues.warning if lenient else issues.error
        add((*at, "type"), "unknown_verse_type", f"{given} is not offered: {REFUSED[given]}")
    elif lenient:
        message = f"{given!r} is not a verse type{did_you_mean(str(given), verse_types)}; it is kept, but never runs"
        issues.warning((*at, "type"), "unknown_verse_type", message)
    else:
        message = f"{given!r} is not a verse type{did_you_mean(str(given), verse_types)}"
        issues.error((*at, "type"), "unknown_verse_type", message)
    return None


def _check_names(verses: list[Verse], path: Path, issues: Issues) -> None:
    seen = set()
    for verse in verses:
        if verse.name in seen:
            message = f"two verses are named {verse.name}; give each a name of its own"
            issues.error((*path, "verses"), "duplicate_verse_name", message)
        seen.add(verse.name)


def _check_fields(
    verse: Verse,
    levels: Mapping[str, Path],
    given: tuple[Mapping[str, Any], ...],
    fields: Mapping[str, Field],
    known: frozenset[str],
    issues: Issues,
) -> set[str]:
    """Checks that everything that names a field names one, of a kind that makes sense there. Returns the names."""
    named: set[str] = set()

    def place(parameter: str, *rest: str | int) -> Path:
        """Where the value of a parameter stands."""
        level = next((i for i, values in enumerate(given) if parameter in values), 0)
        return (*list(levels.values())[level], parameter, *rest)

    def exists(name: str, parameter: str, *rest: str | int) -> Field | None:
        named.add(name)
        if name not in known:
            message = f"no field {name!r}{did_you_mean(name, known)}"
            issues.error(place(parameter, *rest), "unknown_field", message)
        elif (field := fields.get(name)) is not None and not field.saved:
            issues.error(place(parameter, *rest), "unsaved_field", f"field {name!r} is not saved (do_not_save)")
        else:
            return field
        return None

    for i, metric in enumerate(verse.metrics):
        field = exists(metric, "metrics", i)
        if field is not None and not verse.type.any_field and not field.numeric_like:
            message = f"{verse.type.type} needs numeric or boolean metrics, and {metric!r} is a {field.type} field"
            issues.error(place("metrics", i), "not_numeric", message)
    for parameter in ("segment_by", "segment_baseline_by", "always_segment_baseline_by"):
        for i, axis in enumerate(verse.get(parameter, ())):
            field = exists(axis.field, parameter, i)
            if field is not None:
                _check_axis(field, axis, place(parameter, i), issues)
    for parameter, segment in _segments(verse):
        for name in segment.fields:
            exists(name, parameter)
    for parameter in ("find_related_anomalies_for", "avoid_related_anomalies_for"):
        for i, name in enumerate(verse.get(parameter, ())):
            exists(name, parameter, i)
    if version_field := verse.get("version_field"):
        exists(version_field, "version_field")
    axis_name = verse.get("timestamp_field_name")
    if axis_name and axis_name not in AXES:
        field = exists(axis_name, "timestamp_field_name")
        if field is not None and field.type != "timestamp":
            message = f"{axis_name!r} is a {field.type} field; a time axis needs a timestamp field"
            issues.error(place("timestamp_field_name"), "not_a_timestamp", message)
    return named


def _check_axis(field: Field, axis: AxisRequest, path: Path, issues: Issues) -> None:
    if not field.segmentable:
        message = f"a {field.type} field cannot be segmented; make a field of it by a function"
        issues.error(path, "not_segmentable", message)
    elif axis.segmentation is not None and axis.segmentation not in field.segmentations:
        hint = did_you_mean(axis.segmentation, field.segmentations)
        message = f"field {field.name!r} has no segmentation {axis.segmentation!r}{hint}"
        issues.error(path, "unknown_segmentation", message)
    elif (default := field.segmentation(axis.segmentation)) is not None and default.kind == "auto":
        message = f"field {field.name!r} has no segmentation: it gets one from the spread of its first 1,000 values"
        issues.warning(path, "automatic_segmentation", message)


def _segments(verse: Verse) -> Iterator[tuple[str, Segment]]:
    for parameter in verse.type.parameters:
        value = verse.get(parameter.name)
        for segment in value if isinstance(value, tuple) else (value,):
            if isinstance(segment, Segment):
                yield parameter.name, segment


def split(text: str) -> Path:
    """``segment_by[0].name`` → ``("segment_by", 0, "name")``."""
    return tuple(
        int(index) if index else name for name, index in re.findall(r"([^.\[\]]+(?![^\[]*\]))|\[(\d+)\]", text)
    )
