"""Segments as SQL over :meth:`mona_server.query.facts.Facts.relation`.

A predicate is never NULL: a condition that cannot hold is FALSE, so that predicates can be negated and combined.
Values are bound, names are looked up in the class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import re2

from mona_server.errors import BadRequest
from mona_server.query.facts import Column, Facts
from mona_server.segment import Condition, Differs, Equals, Matches, OneOf, Range, Scalar, Segment

FALSE = "FALSE"
TRUE = "TRUE"


class Binder:
    """Collects the values of one SQL text; equal values share a name."""

    def __init__(self, prefix: str = "p") -> None:
        self._prefix = prefix
        self.values: dict[str, Any] = {}
        self._names: dict[tuple[type, Any], str] = {}

    def __call__(self, value: Scalar) -> str:
        """The placeholder of a value."""
        key = (type(value), value)
        if key not in self._names:
            self._names[key] = f"{self._prefix}{len(self._names)}"
            self.values[self._names[key]] = value
        return f"${self._names[key]}"


def segment_sql(facts: Facts, segment: Segment, bind: Binder) -> str:
    """Does a row lie inside of the segment. Raises :class:`BadRequest` for an unknown field."""
    parts = []
    for name, options in segment.conditions:
        some = [condition_sql(facts, name, option, bind) for option in options]
        parts.append("(" + " OR ".join(some) + ")")
    return "(" + " AND ".join(parts) + ")" if parts else TRUE


def row_filter(facts: Facts, within: Iterable[Segment], excluded: Iterable[Segment], bind: Binder) -> str:
    """Inside of all of ``within`` and of none of ``excluded``."""
    parts = [segment_sql(facts, segment, bind) for segment in within if segment]
    parts += [f"NOT {segment_sql(facts, segment, bind)}" for segment in excluded]
    return " AND ".join(parts) or TRUE


def fields_of(*segments: Segment) -> set[str]:
    """All fields that the segments speak of."""
    return {name for segment in segments for name in segment.fields}


def condition_sql(facts: Facts, name: str, condition: Condition, bind: Binder) -> str:
    """Does the value of a field meet the condition; an array field does when one of its elements does."""
    column = facts.column(name)
    scalar, listed = column.sql, column.list_sql if column.lists else None
    missing = f"{scalar} IS NULL" + (f" AND coalesce(len({listed}), 0) = 0" if listed else "")

    def equals(value: Scalar | None) -> str:
        if value is None:
            return f"({missing})"
        fitting = fit(column, value)
        if fitting is None:
            return FALSE
        bound = bind(fitting)
        found = f"coalesce({scalar} = {bound}, FALSE)"
        return f"({found} OR coalesce(list_contains({listed}, {bound}), FALSE))" if listed else found

    match condition:
        case Equals(value):
            return equals(value)
        case Differs(value):
            return f"NOT {equals(value)}"
        case OneOf(values):
            return "(" + " OR ".join(equals(value) for value in values) + ")"
        case Range(low, high):
            if low is None and high is None:
                return f"NOT ({missing})"
            if column.kind not in ("numeric", "timestamp", "boolean"):
                return FALSE
            number = f"CAST({scalar} AS DOUBLE)" if column.kind == "boolean" else scalar
            bounds = [f"{number} >= {bind(float(low))}"] if low is not None else []
            bounds += [f"{number} < {bind(float(high))}"] if high is not None else []
            return f"coalesce({' AND '.join(bounds)}, FALSE)"
        case Matches(regex):
            if column.kind not in ("string", "geo"):
                return FALSE
            pattern = bind(_checked(regex))
            found = f"coalesce(regexp_matches({scalar}, {pattern}), FALSE)"
            if listed is None:
                return found
            return f"({found} OR coalesce(list_bool_or(list_transform({listed}, lambda e: regexp_matches(e, {pattern}))), FALSE))"


def fit(column: Column, value: Scalar) -> Scalar | None:
    """The value as the column would hold it, None where it cannot.

    People write ``"5"`` for a number and ``1`` for a text of digits; text forms are those of the casts (config.md 3).
    """
    kind = column.kind
    if kind == "boolean":
        if isinstance(value, bool):
            return value
        return {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower())
    if kind in ("numeric", "timestamp"):
        try:
            number = float(value)
        except ValueError:
            return None
        return None if math.isnan(number) else number
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def check_fields(facts: Facts, segments: Sequence[Segment]) -> list[tuple[str, str]]:
    """(field, problem) for each field that the class does not have, and for each pattern that cannot be read."""
    problems = []
    for name in sorted(fields_of(*segments)):
        try:
            facts.column(name)
        except BadRequest as error:
            problems.append((name, str(error)))
    for segment in segments:
        for name, options in segment.conditions:
            for option in options:
                if isinstance(option, Matches):
                    try:
                        _checked(option.regex)
                    except BadRequest as error:
                        problems.append((name, str(error)))
    return problems


def _checked(regex: str) -> str:
    """The pattern, if RE2 can read it; the engine uses RE2 too. A pattern may hold anything: it is not repeated."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(regex, options)
    except re2.error:
        raise BadRequest("a regular expression cannot be read", hint="RE2 syntax, without look-around") from None
    return regex
