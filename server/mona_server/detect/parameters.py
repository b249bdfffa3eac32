"""Parameters of verses: each is declared once, with its kind, default, group and meaning.

Validation, resolved verses, forms, the documentation and ``GET /api/v1/verse_types`` are all derived from these
declarations. A :class:`Kind` reads a value as people write it in a configuration and writes it back as JSON.

>>> CADENCE.read("1d")
'1d'
>>> CADENCE.read("7d")
Traceback (most recent call last):
mona_server.detect.parameters.BadValue: '7d' is not a cadence (for example 1h, 1d or 1w)
>>> SEGMENT.write(SEGMENT.read({"stage": [{"value": "inference"}]}))
'{"stage": [{"value": "inference"}]}'
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mona_server.detect.source import AxisRequest
from mona_server.segment import Segment, SegmentError, parse_segments

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
UNITS_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}

CADENCES = tuple(
    f"{n}{unit}"
    for unit, numbers in {
        "m": (1, 5, 10, 15, 20, 30),
        "h": (1, 2, 3, 4, 6, 8, 12),
        "d": (1, 2, 3, 4, 5, 6),
        "w": (1, 2, 3, 4, 5),
    }.items()
    for n in numbers
)


class BadValue(ValueError):
    """A value that a parameter cannot take: ``problem`` and, where it helps, ``hint`` what would be right."""

    def __init__(self, problem: str, hint: str = "", at: str = "") -> None:
        super().__init__(f"{problem} ({hint})" if hint else problem)
        self.problem = problem
        self.hint = hint
        self.at = at
        """Path inside of the value, e.g. ``[0].name``."""


def period_ms(text: str) -> int:
    """Milliseconds of a period such as ``36h``, ``14d`` or ``6w``. Raises :class:`BadValue`."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text) if isinstance(text, str) else None
    if found is None:
        raise BadValue(f"{text!r} is not a period", "a number and m, h, d or w, for example 90m, 12h, 14d or 6w")
    return int(found[1]) * UNITS_MS[found[2]]


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """How values of one kind are read, checked and written."""

    name: str
    form: str
    """What people may write, in one line."""
    read: Callable[[Any], Any]
    """JSON value → the value the search uses. Raises :class:`BadValue`."""
    write: Callable[[Any], Any] = lambda value: value
    """The inverse: a JSON value; segments become JSON text."""
    choices: tuple[str, ...] = ()


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise BadValue(f"{given!r} is not a text")
    return given


def _boolean(given: Any) -> bool:
    if not isinstance(given, bool):
        raise BadValue(f"{given!r} is not true or false")
    return given


def _number(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise BadValue(f"{given!r} is not a number")
    return given


def _not_negative(given: Any) -> float:
    if _number(given) < 0:
        raise BadValue(f"{given!r} is below 0")
    return given  # type: ignore[no-any-return]


def _fraction(given: Any) -> float:
    if not 0 <= _number(given) <= 1:
        raise BadValue(f"{given!r} is not a fraction", "between 0 and 1")
    return given  # type: ignore[no-any-return]


def _percentile(given: Any) -> float:
    if not 50 < _number(given) < 100:
        raise BadValue(f"{given!r} is not an upper percentile", "above 50 and below 100, for example 95")
    return given  # type: ignore[no-any-return]


def _integer(least: int, most: int | None = None) -> Callable[[Any], int]:
    def read(given: Any) -> int:
        if isinstance(given, bool) or not isinstance(given, int) or given < least or (most and given > most):
            raise BadValue(
                f"{given!r} is not a whole number {f'from {least} to {most}' if most else f'of at least {least}'}"
            )
        return given

    return read


def _cadence(given: Any) -> str:
    if given not in CADENCES:
        raise BadValue(f"{given!r} is not a cadence", "for example 1h, 1d or 1w")
    return given  # type: ignore[no-any-return]


def _period(given: Any) -> str:
    period_ms(given)
    return given  # type: ignore[no-any-return]


def _or_empty(read: Callable[[Any], Any], empty: Any) -> Callable[[Any], Any]:
    return lambda given: given if given == empty and type(given) is type(empty) else read(given)


def _points(given: Any) -> int | str:
    return _period(given) if isinstance(given, str) else _integer(5)(given)


def _choice(*options: str) -> Callable[[Any], str]:
    def read(given: Any) -> str:
        if given not in options:
            raise BadValue(f"{given!r} is not one of {', '.join(options)}")
        return given  # type: ignore[no-any-return]

    return read


def _list_of(read: Callable[[Any], Any], what: str) -> Callable[[Any], tuple[Any, ...]]:
    def read_list(given: Any) -> tuple[Any, ...]:
        if not isinstance(given, list | tuple):
            raise BadValue(f"{given!r} is not a list of {what}")
        values = []
        for i, item in enumerate(given):
            try:
                values.append(read(item))
            except BadValue as error:
                raise BadValue(error.problem, error.hint, f"[{i}]{error.at}") from None
        return tuple(values)

    return read_list


def _directions(given: Any) -> tuple[str, ...]:
    values = _list_of(_choice("asc", "desc"), "directions")(given)
    if not values:
        raise BadValue("the list of directions is empty", '["asc"], ["desc"] or ["asc", "desc"]')
    return tuple(dict.fromkeys(values))


def _segment(given: Any) -> Segment:
    try:
        return Segment.parse(given)
    except SegmentError as error:
        raise BadValue(error.problem, at=f".{error.at}" if error.at else "") from None


def _segments(given: Any) -> tuple[Segment, ...]:
    try:
        return parse_segments(given)
    except SegmentError as error:
        raise BadValue(error.problem, at=error.at) from None


def _axis(given: Any) -> AxisRequest:
    if isinstance(given, str):
        return AxisRequest(given)
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise BadValue(f"{given!r} is no field to segment by", 'a field name, or {"name": ..., "segmentation": ...}')
    if unknown := sorted(set(given) - {"name", "segmentation", "avoid_values"}):
        raise BadValue(f"unknown key {unknown[0]!r}", "known are name, segmentation and avoid_values")
    segmentation, avoid = given.get("segmentation"), given.get("avoid_values") or []
    if segmentation is not None and not isinstance(segmentation, str):
        raise BadValue(f"{segmentation!r} is not the name of a segmentation", at=".segmentation")
    if not isinstance(avoid, list | tuple) or not all(isinstance(v, str | int | float | bool) for v in avoid):
        raise BadValue(f"{avoid!r} is not a list of values", at=".avoid_values")
    return AxisRequest(given["name"], segmentation, tuple(avoid))


def _axis_json(axis: AxisRequest) -> Any:
    if axis.segmentation is None and not axis.avoid_values:
        return axis.field
    written: dict[str, Any] = {"name": axis.field}
    if axis.avoid_values:
        written["avoid_values"] = list(axis.avoid_values)
    if axis.segmentation is not None:
        written["segmentation"] = axis.segmentation
    return written


TEXT = Kind("text", "a text", _text)
BOOLEAN = Kind("boolean", "true or false", _boolean)
NUMBER = Kind("number", "a number", _number)
LEVEL = Kind("level", "a number of at least 0", _not_negative)
SIZE = Kind("size", "a number of contexts", _not_negative)
FRACTION = Kind("fraction", "a number from 0 to 1", _fraction)
COUNT = Kind("count", "a whole number of at least 1", _integer(1))
DEPTH = Kind("depth", "a whole number from 1 to 4", _integer(1, 4))
PERCENTILE = Kind("percentile", "a number above 50 and below 100", _percentile)
CADENCE = Kind("cadence", "one of " + ", ".join(CADENCES), _cadence, choices=CADENCES)
PERIOD = Kind("period", "a number and m, h, d or w, for example 2w", _period)
PERIOD_OR_EMPTY = Kind("period_or_empty", "a period, or an empty text", _or_empty(_period, ""))
POINTS = Kind("points", "a whole number of at least 5, or a period", _points)
DIRECTIONS = Kind("trend_directions", '"asc", "desc" or both', _directions, list, ("asc", "desc"))
FIELD = Kind("field", "a field name", _text)
FIELDS = Kind("fields", "a list of field names", _list_of(_text, "field names"), list)
NUMBERS = Kind("numbers", "a list of numbers", _list_of(_number, "numbers"), list)
SEGMENT = Kind("segment", "a segment object, or the same as JSON text", _segment, lambda segment: segment.text)
SEGMENTS = Kind("segments", "a list of segments", _segments, lambda segments: [segment.text for segment in segments])
SEGMENT_BY = Kind(
    "segment_by",
    'a list of field names or {"name", "segmentation", "avoid_values"}',
    _list_of(_axis, "fields to segment by"),
    lambda axes: [_axis_json(axis) for axis in axes],
)


def optional(kind: Kind) -> Kind:
    """The same kind, where null means "not set"."""
    return replace(
        kind,
        form=f"{kind.form}, or null",
        read=_or_empty(kind.read, None),
        write=lambda value: None if value is None else kind.write(value),
    )


def choice(*options: str) -> Kind:
    """One of a few words."""
    return Kind("choice", "one of " + ", ".join(options), _choice(*options), choices=options)


class Group(StrEnum):
    """Where a form shows the parameter."""

    BASIC = "Basic"
    ADVANCED = "Advanced"
    NOISE = "Noise reduction"
    URGENCY = "Urgency"
    VISUALS = "Visuals"


@dataclass(frozen=True, slots=True)
class Derived:
    """A default that follows from other parameters; ``words`` says how."""

    words: str
    of: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a verse type."""

    name: str
    kind: Kind
    default: Any
    group: Group
    doc: str
    required: bool = False
    """Must be given somewhere: there is no default that could be right."""

    def to_json(self) -> dict[str, Any]:
        """As ``GET /api/v1/verse_types`` shows it."""
        derived = isinstance(self.default, Derived)
        return {
            "name": self.name,
            "kind": self.kind.name,
            "form": self.kind.form,
            "choices": list(self.kind.choices),
            "default": None if derived or self.required else self.kind.write(self.default),
            "default_words": self.default.words if derived else None,
            "group": str(self.group),
            "doc": self.doc,
            "required": self.required,
        }
