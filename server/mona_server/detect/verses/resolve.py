"""From what people wrote to a verse with every parameter: verse → stanza → global defaults → default of the type."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mona_server.detect.parameters import BadValue, Derived
from mona_server.detect.verses.base import Verse, VerseType

REFUSED = {
    "SumOutlier": "sums of unequal segments are not comparable; use AverageOutlier or SegmentSizeOutlier",
}
"""Types that people ask for and that cannot mean anything, with what to use instead."""

LEVELS = ("verse", "stanza", "defaults")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a verse. ``level`` says in which of the three objects it stands, ``path`` where in it."""

    level: str
    path: str
    message: str
    code: str
    severity: str = "error"


def resolve(
    verse_type: VerseType,
    verse: Mapping[str, Any],
    *,
    context_class: str,
    stanza: str,
    stanza_values: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Verse | None, list[Problem]]:
    """A verse with all of its parameters, or None and what is wrong (all problems at once).

    A value replaces the one of the next level; lists are not merged. Parameters of a stanza or of the global
    defaults that the type does not know are ignored; unknown ones in the verse itself are warnings.
    """
    levels = dict(zip(LEVELS, (verse, stanza_values or {}, defaults or {}), strict=True))
    problems: list[Problem] = []
    values: dict[str, Any] = {"type": verse_type.type, "stanza": stanza}
    derived: list[tuple[str, Derived]] = []
    for parameter in verse_type.parameters:
        level = next((level for level in LEVELS if _given(level, levels[level], parameter.name)), None)
        if level is not None:
            try:
                values[parameter.name] = parameter.kind.read(levels[level][parameter.name])
            except BadValue as error:
                hint = f" ({error.hint})" if error.hint else ""
                path = f"{parameter.name}{error.at}"
                problems.append(Problem(level, path, f"{error.problem}{hint}", f"bad_{parameter.kind.name}"))
        elif parameter.required:
            problems.append(
                Problem("verse", parameter.name, f"{verse_type.type} needs {parameter.name}", "missing_parameter")
            )
        elif isinstance(parameter.default, Derived):
            derived.append((parameter.name, parameter.default))
        else:
            values[parameter.name] = parameter.default
    problems += _unknown(verse_type, verse)
    if verse_type.has_metrics and values.get("metrics") == ():
        problems.append(
            Problem("verse", "metrics", f"{verse_type.type} needs at least one metric", "missing_parameter")
        )
    if any(problem.severity == "error" for problem in problems):
        return None, problems
    for name, default in derived:
        values[name] = default.of(values)
    del values["type"], values["stanza"]
    return Verse(verse_type, context_class, stanza, MappingProxyType(values)), problems


def _given(level: str, values: Mapping[str, Any], name: str) -> bool:
    return name in values and (level == "verse" or name not in ("name", "description"))


def _unknown(verse_type: VerseType, verse: Mapping[str, Any]) -> list[Problem]:
    known = [parameter.name for parameter in verse_type.parameters]
    problems = []
    for key in verse:
        if key in known or key == "type":
            continue
        if key in verse_type.ignored:
            message = f"{verse_type.type} does not use {key}"
        else:
            close = difflib.get_close_matches(key, known, n=1)
            message = f"unknown parameter of {verse_type.type}" + (f", did you mean {close[0]}?" if close else "")
        problems.append(Problem("verse", key, message, "unknown_parameter", "warning"))
    return problems
