"""Segments: sub-populations of contexts, given by conditions on fields.

The one value object that configuration, queries, the search and the pages share. Its JSON form is the
public one: alternatives of one field are OR-ed, fields are AND-ed, ``{}`` is everybody.

>>> segment = Segment.parse({"purpose": [{"value": "Vacation costs"}], "amount": [{"min_value": 100}]})
>>> segment.text
'{"amount": [{"min_value": 100}], "purpose": [{"value": "Vacation costs"}]}'
>>> Segment.parse(segment.text) == segment
True
>>> str(segment)
'amount >= 100 and purpose = Vacation costs'
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MISSING = "SpecialValueSemantics.MISSING"
"""The value that stands for "no value" in segment JSON."""

Scalar = str | int | float | bool


class SegmentError(ValueError):
    """A segment that cannot be read. ``at`` is the path inside of the segment, e.g. ``amount[0].min_value``."""

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at}: {problem}" if at else problem)
        self.at = at
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Equals:
    """The field has exactly this value; ``None`` means that it has none (MISSING)."""

    value: Scalar | None

    def to_json(self) -> dict[str, Any]:
        return {"value": MISSING if self.value is None else self.value}

    def words(self, name: str) -> str:
        return f"{name} is missing" if self.value is None else f"{name} = {_show(self.value)}"


@dataclass(frozen=True, slots=True)
class Range:
    """``min_value <= x < max_value``; an absent bound is open."""

    min_value: float | None = None
    max_value: float | None = None

    def to_json(self) -> dict[str, Any]:
        bounds = {"min_value": self.min_value, "max_value": self.max_value}
        return {key: _plain(value) for key, value in bounds.items() if value is not None}

    def words(self, name: str) -> str:
        if self.min_value is None and self.max_value is None:
            return f"{name} has a value"
        if self.max_value is None:
            return f"{name} >= {_show(self.min_value)}"
        if self.min_value is None:
            return f"{name} < {_show(self.max_value)}"
        return f"{_show(self.min_value)} <= {name} < {_show(self.max_value)}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field has one of these values."""

    values: tuple[Scalar | None, ...]

    def to_json(self) -> dict[str, Any]:
        return {"values": [MISSING if value is None else value for value in self.values]}

    def words(self, name: str) -> str:
        return f"{name} in ({', '.join('missing' if v is None else _show(v) for v in self.values)})"


@dataclass(frozen=True, slots=True)
class Differs:
    """The field has another value, or none."""

    value: Scalar | None

    def to_json(self) -> dict[str, Any]:
        return {"not_value": MISSING if self.value is None else self.value}

    def words(self, name: str) -> str:
        return f"{name} has a value" if self.value is None else f"{name} != {_show(self.value)}"


@dataclass(frozen=True, slots=True)
class Matches:
    """The text matches this RE2 pattern somewhere. For filters only."""

    regex: str

    def to_json(self) -> dict[str, Any]:
        return {"regex": self.regex}

    def words(self, name: str) -> str:
        return f"{name} ~ {self.regex}"


Condition = Equals | Range | OneOf | Differs | Matches


@dataclass(frozen=True, slots=True)
class Segment:
    """Conditions by field, sorted by field name. ``Segment()`` is everybody."""

    conditions: tuple[tuple[str, tuple[Condition, ...]], ...] = ()
    _text: list[str] = field(init=False, compare=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(((name, tuple(options)) for name, options in self.conditions), key=lambda c: c[0]))
        object.__setattr__(self, "conditions", ordered)

    @property
    def text(self) -> str:
        """Canonical JSON text: equal segments have equal texts. Made when first asked for: few of the many that a search
        looks at are ever shown."""
        if not self._text:
            self._text.append(json.dumps(self.to_json(), ensure_ascii=False))
        return self._text[0]

    @classmethod
    def of(cls, conditions: Mapping[str, Condition | Iterable[Condition]]) -> Segment:
        """``Segment.of({"city": Equals("Haifa")})``."""
        return cls(
            tuple(
                (name, (given,) if isinstance(given, Condition) else tuple(given)) for name, given in conditions.items()
            )
        )

    @classmethod
    def parse(cls, given: Any) -> Segment:
        """A segment from its JSON object or JSON text. Raises :class:`SegmentError`."""
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except ValueError as error:
                raise SegmentError("", f"is not JSON: {error}") from None
        if given is None:
            return cls()
        if not isinstance(given, Mapping):
            raise SegmentError("", "must be an object of field name → list of conditions")
        conditions = []
        for name, options in given.items():
            if isinstance(options, Mapping):
                options = [options]
            if not isinstance(options, list | tuple) or not options:
                raise SegmentError(str(name), "must be a list with at least one condition")
            conditions.append((str(name), tuple(_condition(f"{name}[{i}]", o) for i, o in enumerate(options))))
        return cls(tuple(conditions))

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        return {name: [option.to_json() for option in options] for name, options in self.conditions}

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.conditions)

    def __len__(self) -> int:
        return len(self.conditions)

    def __bool__(self) -> bool:
        """False for everybody, the empty segment."""
        return bool(self.conditions)

    def __str__(self) -> str:
        if not self.conditions:
            return "all data"
        parts = []
        for name, options in self.conditions:
            words = " or ".join(option.words(name) for option in options)
            parts.append(f"({words})" if len(options) > 1 and len(self.conditions) > 1 else words)
        return " and ".join(parts)


ALL = Segment()


def parse_segments(given: Any) -> tuple[Segment, ...]:
    """A list of segments from JSON; one object or text counts as a list of one, null as none."""
    if given is None or given == {} or given == "":
        return ()
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise SegmentError("", f"is not JSON: {error}") from None
    if isinstance(given, Mapping):
        given = [given]
    segments = []
    for i, item in enumerate(given):
        try:
            segments.append(Segment.parse(item))
        except SegmentError as error:
            raise SegmentError(f"[{i}]{'.' if error.at else ''}{error.at}", error.problem) from None
    return tuple(segments)


def _condition(at: str, given: Any) -> Condition:
    if not isinstance(given, Mapping):
        raise SegmentError(at, 'must be an object such as {"value": 1}')
    keys = set(given)
    if keys == {"value"}:
        return Equals(_scalar(f"{at}.value", given["value"]))
    if keys == {"not_value"}:
        return Differs(_scalar(f"{at}.not_value", given["not_value"]))
    if keys == {"values"} and isinstance(given["values"], list) and given["values"]:
        return OneOf(tuple(_scalar(f"{at}.values[{i}]", v) for i, v in enumerate(given["values"])))
    if keys == {"regex"} and isinstance(given["regex"], str):
        return Matches(given["regex"])
    if keys and keys <= {"min_value", "max_value"}:
        bounds = {key: _bound(f"{at}.{key}", given[key]) for key in keys if given[key] is not None}
        return Range(**bounds)
    raise SegmentError(at, 'needs "value", "min_value"/"max_value", "values", "not_value" or "regex"')


def _scalar(at: str, given: Any) -> Scalar | None:
    if given is None or given == MISSING:
        return None
    if isinstance(given, str | bool | int | float):
        return given
    raise SegmentError(at, "must be a text, a number, true, false or null")


def _bound(at: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise SegmentError(at, "must be a number")
    return given


def _plain(number: float) -> float:
    """1400 rather than 1400.0, as people write it."""
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 1e15 else number


def _show(value: Scalar | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
