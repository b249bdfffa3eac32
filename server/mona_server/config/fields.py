"""Fields of a context: built in order of the configuration from its merged variables. Pure.

A :class:`FieldBuilder` is made once per configuration revision. Most fields are plain copies of one variable, which a
few calls over the whole row do; the others are closures with their sources, arguments and casts bound.

>>> from mona_server.config.model import ContextClass, Field, Source
>>> loan = ContextClass(name="LOAN", fields={
...     "amount": Field(name="amount", type="numeric", sources=(Source(("amount",)),)),
...     "twice": Field(name="twice", type="numeric", function="multiply", args=(2,), sources=(Source(("amount",)),))})
>>> FieldBuilder(loan).build({"amount": 21}, 0)
({'amount': 21, 'twice': 42.0}, [])
>>> FieldBuilder(loan).build({"amount": "much"}, 0)
({}, [('amount', 'numeric: not a finite number')])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from operator import contains, itemgetter, not_
from typing import Any, Final, NamedTuple

from mona_server.config import casts
from mona_server.config.functions import FUNCTIONS, ArgContext, BuildFunction, Problem
from mona_server.config.geo import read_point
from mona_server.config.model import ContextClass, Field, FieldType, Source
from mona_server.config.paths import compile_path
from mona_server.config.timestamps import parse_timestamp

Variables = Mapping[str, Any]
Built = dict[str, Any]
Read = Callable[[Variables, Built], Any]
"""Variables and fields built so far → the value of one source."""
Run = Callable[[Variables, Built, int], Any]

BUDGET_NS = 50_000_000
"""What the functions of one context may cost together, by their declared cost for each character: 50 ms. An estimate
instead of a clock, so that the same context always gives the same fields."""

_LARGEST: Final = 1.7976931348623157e308
"""The largest double: what is beyond it, NaN too, is no number."""
_ABSENT = frozenset({type(None)})
_NATIVE: Mapping[str | None, frozenset[type]] = {
    "numeric": _ABSENT | {float, int},
    "string": _ABSENT | {str},
    "boolean": _ABSENT | {bool},
}
"""Classes of values that need no cast."""


class _Copy(NamedTuple):
    """A saved field that is one variable, cast."""

    name: str
    variable: str
    kind: FieldType
    cast: casts.Cast


class _Step(NamedTuple):
    """A field that is computed, saved or not."""

    name: str
    position: int | None
    """Its column; None when it is not saved."""
    run: Run
    cost: Callable[[Variables, Built], int] | None
    """For a function of long texts, nanoseconds that it will take."""


class FieldBuilder:
    """Builds the fields of one context class.

    ``columns``: saved field → type, in order. Raises BadArg when a function's arguments do not fit, which a
    validated configuration excludes.
    """

    def __init__(self, context_class: ContextClass) -> None:
        self.columns: Mapping[str, FieldType] = {
            name: field.type for name, field in context_class.saved_fields.items() if field.type is not None
        }
        positions = {name: i for i, name in enumerate(self.columns)}
        context = ArgContext(data=context_class.data, time_zone=context_class.time_zone)
        earlier = _Earlier()
        steps = []
        copies: dict[int, _Copy] = {}
        for field in context_class.fields.values():
            if field.active:
                copy = _plain_copy(field, earlier)
                if copy is not None:
                    copies[positions[field.name]] = copy
                else:
                    steps.append(_compile(field, positions.get(field.name), earlier, context))
                earlier.add(field)
        self._copies = copies
        # One entry per column; that of a computed field reads a variable which no message can have.
        self._variables = [copies[i].variable if i in copies else None for i in range(len(positions))]
        self._native = [_NATIVE[copies[i].kind] if i in copies else _ABSENT for i in range(len(positions))]
        self._numbers = _picker([i for i, copy in copies.items() if copy.kind == "numeric"])
        self._steps = tuple(steps)
        self._named = tuple((copy.name, i) for i, copy in copies.items()) if steps else ()
        self._order = {name: i for i, name in enumerate(earlier.names)}

    def build(self, values: Variables, context_time_ms: int) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The saved fields that have a value, and (field, reason) for each one that could not be built.

        numeric → int or float (finite; numbers of any array averaged), string → str, boolean → bool, timestamp →
        int (ms), geopoint and geoshape → GeoJSON text; a string or boolean field that met an array → sorted list
        of its distinct elements. Reasons never hold a value.
        """
        row, _, problems = self.build_row(values, context_time_ms)
        return {name: value for name, value in zip(self.columns, row, strict=True) if value is not None}, problems

    def build_row(
        self, values: Variables, context_time_ms: int
    ) -> tuple[list[Any], Sequence[int], list[tuple[str, str]]]:
        """The same as one value (or None) per column, and the positions of those that are lists.

        This is most of what folding does to a message, so the usual case, where no copy needs a cast, has no loop.
        """
        row: list[Any] = list(map(values.get, self._variables))  # type: ignore[arg-type]
        problems: list[tuple[str, str]] = []
        lists: list[int] = []
        native = list(map(contains, self._native, map(type, row)))
        if not all(native):
            for i in compress(range(len(row)), map(not_, native)):
                self._cast(i, row, problems)
                if row[i].__class__ is list:
                    lists.append(i)
        if not self._finite(row):
            for i, copy in self._copies.items():
                if copy.kind == "numeric" and row[i] is not None and not -_LARGEST <= row[i] <= _LARGEST:
                    self._cast(i, row, problems)
        if self._steps:
            self._compute(row, lists, problems, values, context_time_ms)
        if len(problems) > 1:
            problems.sort(key=lambda problem: self._order[problem[0]])
        return row, lists, problems

    def _cast(self, i: int, row: list[Any], problems: list[tuple[str, str]]) -> None:
        copy = self._copies[i]
        try:
            row[i] = copy.cast(row[i])
        except Problem as problem:
            row[i] = None
            problems.append((copy.name, str(problem)))

    def _finite(self, row: list[Any]) -> bool:
        """Whether all copied numbers are finite; False also when their sum is too large, so look at each then."""
        try:
            return math.isfinite(sum(filter(None, self._numbers(row)), 0.0))
        except OverflowError:
            return False

    def _compute(
        self,
        row: list[Any],
        lists: list[int],
        problems: list[tuple[str, str]],
        values: Variables,
        context_time_ms: int,
    ) -> None:
        built: Built = {name: row[i] for name, i in self._named}
        spent_ns = 0
        for name, position, run, cost in self._steps:
            if cost is not None:
                spent_ns += cost(values, built)
                if spent_ns > BUDGET_NS:
                    problems.append((name, "not built: the texts of this context are too long"))
                    continue
            try:
                value = built[name] = run(values, built, context_time_ms)
            except Problem as problem:
                problems.append((name, str(problem)))
                continue
            if position is not None:
                row[position] = value
                if value.__class__ is list:
                    lists.append(position)


def _picker(positions: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """The values at some positions of a row."""
    if not positions:
        return lambda _row: ()
    return itemgetter(*positions, positions[0])  # one more, or a single position would give no tuple


_PASSES_ON = frozenset({"identity", "coalesce", "default_if_null", "min", "max"})


class _Earlier:
    """The fields that a later one may name, and which of them are in Unix milliseconds.

    A value in milliseconds is not read as a timestamp again: of years before 2001 it has 12 digits, which no message
    may send.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.times: set[str] = set()

    def add(self, field: Field) -> None:
        self.names[field.name] = None
        if field.type == "timestamp" if field.saved else self.gives_time(field):
            self.times.add(field.name)

    def gives_time(self, field: Field) -> bool:
        """Whether the field's value, before its cast, is in milliseconds."""
        if FUNCTIONS[field.function].returns == "T":
            return True
        names = [name for source in field.sources for name in source.names]
        return field.function in _PASSES_ON and bool(names) and self.times.issuperset(names)


def _plain_copy(field: Field, earlier: _Earlier) -> _Copy | None:
    cast = _cast(field, earlier)
    if field.function != "identity" or cast is None or field.type is None or field.type not in _NATIVE:
        return None
    (source,) = field.sources
    (name, *others) = source.names
    if others or source.default is not None or name in earlier.names or _is_path(name):
        return None
    return _Copy(field.name, name, field.type, cast)


def _compile(field: Field, position: int | None, earlier: _Earlier, context: ArgContext) -> _Step:
    function = FUNCTIONS[field.function]
    reads = [_source(source, earlier, function, i) for i, source in enumerate(field.sources)]
    body = function.prepare(field.args, len(field.sources), context)
    run = _run(function, body, reads, _cast(field, earlier))
    return _Step(field.name, position, run, _cost(reads, function.cost_ns) if function.cost_ns else None)


def _run(function: BuildFunction, body: Callable[..., Any], reads: list[Read], cast: casts.Cast | None) -> Run:
    """Reads the sources, applies the null rule, calls the body, casts."""
    name, nulls, timed = function.name, function.nulls, function.uses_context_time

    def run(values: Variables, built: Built, context_time_ms: int) -> Any:
        try:
            sources = [read(values, built) for read in reads]
        except Problem as problem:
            raise Problem(f"{name}: {problem}") from None
        if nulls == "null":
            if None in sources:
                return None
        elif nulls == "skip":
            sources = [source for source in sources if source is not None]
            if not sources:
                return None
        try:
            value = body(*sources, context_time_ms=context_time_ms) if timed else body(*sources)
        except Problem as problem:
            raise Problem(f"{name}: {problem}") from None
        # A body is code of a registry that grows: whatever a value does to it, the message must still be stored.
        except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise Problem(f"{name}: no result for this value") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise Problem(f"{name}: the result is not finite")
        return value if cast is None else cast(value)

    return run


def _cast(field: Field, earlier: _Earlier) -> casts.Cast | None:
    """The cast of a saved field."""
    if not field.saved or field.type is None:
        return None
    kind = field.type
    built = kind == "timestamp" and earlier.gives_time(field)
    cast = casts.built_timestamp if built else casts.CASTS[kind]

    def named(value: Any) -> Any:
        try:
            return cast(value)
        except Problem as problem:
            raise Problem(f"{kind}: {problem}") from None

    return named


def _is_path(name: str) -> bool:
    return "." in name or "[" in name


def _source(source: Source, earlier: _Earlier, function: BuildFunction, i: int) -> Read:
    """One source of a function: the first of its names that has a value, of the kind that the function takes."""
    kind = function.kind_of(i)
    reads = [_checked(_name(name, earlier), kind, time=name in earlier.times) for name in source.names]
    if len(reads) == 1 and source.default is None:
        return reads[0]
    default = _checked(lambda _values, _built: source.default, kind, time=False)

    def read(values: Variables, built: Built) -> Any:
        for one in reads:
            value = one(values, built)
            if value is not None:
                return value
        return default(values, built)

    return read


def _name(name: str, earlier: _Earlier) -> Read:
    if name in earlier.names:
        return lambda _values, built: built.get(name)
    walk = compile_path(name) if _is_path(name) else None
    if walk is None:
        return lambda values, _built: values.get(name)

    def read(values: Variables, _built: Built) -> Any:
        return values[name] if name in values else walk(values)

    return read


def _checked(read: Read, kind: str, *, time: bool) -> Read:
    """The value, if it is of the kind; :class:`Problem` otherwise."""
    if kind == "X" or (kind == "T" and time):
        return read
    check = _CHECKS[kind]

    def checked(values: Variables, built: Built) -> Any:
        value = read(values, built)
        return None if value is None else check(value)

    return checked


def _as_number(value: Any) -> float:
    kind = value.__class__
    if kind is float or kind is int:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return int(value)
    raise Problem("the source is not a number")


def _as(kind: type, words: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        raise Problem(f"the source is not {words}")

    return check


def _as_time(value: Any) -> int:
    time = parse_timestamp(value)
    if time is None:
        raise Problem("the source is not a timestamp")
    return time


def _as_point(value: Any) -> tuple[float, float]:
    point = read_point(value)
    if point is None:
        raise Problem("the source is not a point on the earth")
    return point


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "N": _as_number,
    "S": _as(str, "a text"),
    "B": _as(bool, "true or false"),
    "A": _as(list, "an array"),
    "O": _as(dict, "an object"),
    "T": _as_time,
    "G": _as_point,
}


def _cost(reads: list[Read], cost_ns: int) -> Callable[[Variables, Built], int]:
    """Nanoseconds that a function of long texts will take for these sources, about."""

    def cost(values: Variables, built: Built) -> int:
        total = 0
        for read in reads:
            try:
                value = read(values, built)
            except Problem:
                continue
            total += len(value) if isinstance(value, str) else 0
        return total * cost_ns

    return cost
