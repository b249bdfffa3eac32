"""Fields of a context: built in order of the configuration from its merged variables. Pure.

A :class:`FieldBuilder` is made once per configuration revision. Most fields are plain copies of one variable, and
one short loop does those; the others are closures with their sources, arguments and casts bound.

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
from collections.abc import Callable, Mapping
from typing import Any, Final

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
_NATIVE: Mapping[str | None, type] = {"numeric": float, "string": str, "boolean": bool}


class FieldBuilder:
    """Builds the fields of one context class.

    ``columns``: saved field → type, in order. Raises BadArg when a function's arguments do not fit, which a
    validated configuration excludes.
    """

    def __init__(self, context_class: ContextClass) -> None:
        self.columns: Mapping[str, FieldType] = {
            name: field.type for name, field in context_class.saved_fields.items() if field.type is not None
        }
        context = ArgContext(data=context_class.data, time_zone=context_class.time_zone)
        earlier = _Earlier()
        steps = []
        for field in context_class.fields.values():
            if field.active:
                steps.append(_compile(field, earlier, context))
                earlier.add(field)
        self._steps = tuple(steps)
        self._unsaved = tuple(name for name in earlier.names if not context_class.fields[name].saved)

    def build(self, values: Variables, context_time_ms: int) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The saved fields that have a value, and (field, reason) for each one that could not be built.

        numeric → int or float (finite; numbers of any array averaged), string → str, boolean → bool, timestamp →
        int (ms), geopoint and geoshape → GeoJSON text; a string or boolean field that met an array → sorted list
        of its distinct elements. Reasons never hold a value.
        """
        fields: dict[str, Any] = {}
        problems: list[tuple[str, str]] = []
        spent_ns = 0
        get = values.get
        for name, variable, native, cast, run, cost in self._steps:
            if native is not None:
                value: Any = get(variable)
                kind = value.__class__
                # Most values of most messages end here, so this loop is what building costs.
                if kind is native or (kind is int and native is float):
                    if native is not float or -_LARGEST <= value <= _LARGEST:
                        fields[name] = value
                        continue
                elif value is None:
                    continue
                try:
                    value = cast(value)
                except Problem as problem:
                    problems.append((name, str(problem)))
                    continue
            else:
                if cost is not None:
                    spent_ns += cost(values, fields)
                    if spent_ns > BUDGET_NS:
                        problems.append((name, "not built: the texts of this context are too long"))
                        continue
                try:
                    value = run(values, fields, context_time_ms)
                except Problem as problem:
                    problems.append((name, str(problem)))
                    continue
            if value is not None:
                fields[name] = value
        for name in self._unsaved:
            fields.pop(name, None)
        return fields, problems


_Step = tuple[str, str, Any, Any, Any, Any]
"""Of a plain copy: field, variable, class of values that need no cast (float: int too), cast. Of a computed field: field,
"", None, None, run, and for a function of long texts what it will cost. Untyped, because the loop
above tells the two apart by what it has at hand."""


_PASSES_ON = frozenset({"identity", "coalesce", "default_if_null", "min", "max"})


class _Earlier:
    """The fields that a later one may name, and which of them are in Unix milliseconds.

    A value in milliseconds is not read as a timestamp again: of years before 2001 it has 12 digits, which no message
    may send.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.times: set[str] = set()

    def add(self, field: Field) -> None:
        self.names.add(field.name)
        if field.type == "timestamp" if field.saved else self.gives_time(field):
            self.times.add(field.name)

    def gives_time(self, field: Field) -> bool:
        """Whether the field's value, before its cast, is in milliseconds."""
        if FUNCTIONS[field.function].returns == "T":
            return True
        names = [name for source in field.sources for name in source.names]
        return field.function in _PASSES_ON and bool(names) and self.times.issuperset(names)


def _compile(field: Field, earlier: _Earlier, context: ArgContext) -> _Step:
    cast = _cast(field, earlier)
    if field.function == "identity" and cast is not None and field.type in _NATIVE:
        (source,) = field.sources
        (name, *others) = source.names
        if not others and source.default is None and name not in earlier.names and not _is_path(name):
            return field.name, name, _NATIVE[field.type], cast, None, None
    function = FUNCTIONS[field.function]
    reads = [_source(source, earlier, function, i) for i, source in enumerate(field.sources)]
    body = function.prepare(field.args, len(field.sources), context)
    run = _run(function, body, reads, cast)
    return field.name, "", None, None, run, _cost(reads, function.cost_ns) if function.cost_ns else None


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
