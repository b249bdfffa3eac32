"""Python values to JSON values.

| value | JSON |
| --- | --- |
| datetime | ISO 8601 text with its zone; without a zone it is UTC |
| date, time | ISO 8601 text |
| timedelta | seconds |
| Decimal | number |
| UUID | text |
| bytes, bytearray, memoryview | text if UTF-8, else base64 |
| set, frozenset, tuple, deque and other sequences | array (sets sorted where their values can be) |
| Enum | its value |
| dataclass, mapping | object |
| numpy scalars and arrays, datetime64, timedelta64 | the matching number, text, array |
| pandas Timestamp, Timedelta, Series, Index, DataFrame; polars and Arrow scalars, series, tables | the same |
| NaN, infinities, NA, NaT | null, counted as `coerced` |

Nothing here imports numpy, pandas, polars or pyarrow (nor decimal and uuid): a value of theirs shows by its type's
module.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from typing import Any, Callable

from mona_sdk.pace import in_steps, step

MAX_DEPTH = 32
# Containers with more values are converted in steps.
LONG = 128
_PLAIN = frozenset({str, int, bool, type(None)})


class NotSerializable(ValueError):
    """A value that has no JSON form; the text has its path and type, never the value."""


class Converter:
    """Converts values to what the JSON encoders take, and counts in `coerced` what became null."""

    def __init__(self) -> None:
        self.coerced = 0
        self._inside: set[int] = set()

    def convert(self, value: Any, path: str = "message", depth: int = 0) -> Any:
        """A fresh plain value. Raises NotSerializable with path and type."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is float:
            return self._finite(value)
        if kind is dict:
            return self._mapping(value, path, depth)
        if kind is list:
            return self._sequence(value, path, depth)
        return self._special(value, path, depth)

    def _finite(self, value: float) -> Any:
        if value - value == 0:
            return value
        self.coerced += 1
        return None

    def _null(self) -> None:
        self.coerced += 1

    def _enter(self, value: Any, path: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise NotSerializable(f"{_short(path)}: nested deeper than {MAX_DEPTH}")
        if id(value) in self._inside:
            raise NotSerializable(f"{_short(path)}: {type(value).__name__} contains itself")
        self._inside.add(id(value))
        step()

    def _mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        self._enter(value, path, depth)
        result = {}
        for key, item in in_steps(value.items()) if len(value) > LONG else value.items():
            name = key if type(key) is str else self._key(key, path)
            result[name] = self.convert(item, f"{path}.{name}", depth + 1)
        self._inside.discard(id(value))
        return result

    def _sequence(self, value: Any, path: str, depth: int) -> list[Any]:
        self._enter(value, path, depth)
        items = in_steps(value) if len(value) > LONG else value
        result = [self.convert(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(items)]
        self._inside.discard(id(value))
        return result

    def _key(self, key: Any, path: str) -> str:
        if isinstance(key, Enum):
            key = key.value
        if isinstance(key, str):
            return str(key)
        if key is None:
            return "null"
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, (int, float)) or _library(key) in ("decimal", "uuid"):
            return str(key)
        if isinstance(key, (date, time)):
            return key.isoformat()
        if hasattr(key, "item") and _library(key) == "numpy":
            return self._key(key.item(), path)
        raise NotSerializable(f"{_short(path)}: key of type {_type_name(key)}")

    def _special(self, value: Any, path: str, depth: int) -> Any:
        foreign = FOREIGN.get(_library(value))
        if foreign is not None:
            plain = foreign(value)
            if plain is _UNKNOWN:
                raise NotSerializable(f"{_short(path)}: {_type_name(value)} has no JSON form")
            if plain is None:
                return self._null()
            # As many steps as there are kinds; a foreign value that converts to itself would not end.
            return self._special(plain, path, depth) if isinstance(plain, date) else self.convert(plain, path, depth)
        if isinstance(value, Enum):
            return self.convert(value.value, path, depth)
        for kind, convert in SIMPLE:
            if isinstance(value, kind):
                return convert(value)
        if isinstance(value, float):
            return self._finite(float(value))
        if is_dataclass(value) and not isinstance(value, type):
            return self._mapping({item.name: getattr(value, item.name) for item in fields(value)}, path, depth)
        if isinstance(value, Mapping):
            return self._mapping(value, path, depth)
        if isinstance(value, Set):
            return self._sequence(_ordered(value), path, depth)
        if isinstance(value, Sequence):
            return self._sequence(value, path, depth)
        raise NotSerializable(f"{_short(path)}: {_type_name(value)} has no JSON form")


def _datetime(value: datetime) -> str:
    return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).isoformat()


def _bytes(value: Any) -> str:
    raw = bytes(value)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode("ascii")


def _ordered(values: Set[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return list(values)


# In this order: a datetime is a date, a bool an int.
SIMPLE: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (datetime, _datetime),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
    ((bytes, bytearray, memoryview), _bytes),
    (str, str.__str__),
    (bool, bool),
    (int, int),
)

_UNKNOWN = object()


def _numpy(value: Any) -> Any:
    """A numpy scalar or array as Python values; None for NaT."""
    if not hasattr(value, "dtype"):
        return _UNKNOWN
    if value.dtype.kind in "mM":
        # Finer than microseconds there is no Python time; .item() would give a bare number.
        return value.astype(f"{'datetime' if value.dtype.kind == 'M' else 'timedelta'}64[us]").tolist()
    if value.dtype.kind in "cV":
        return _UNKNOWN
    return value.tolist()


def _pandas(value: Any) -> Any:
    """A pandas object as Python values; None for NA and NaT."""
    name = type(value).__name__
    if name in ("NAType", "NaTType"):
        return None
    if name == "Timestamp":
        return value.to_pydatetime(warn=False)
    if name == "Timedelta":
        return value.to_pytimedelta()
    if name == "DataFrame":
        return value.to_dict(orient="records")
    if name in ("Period", "Interval"):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else _UNKNOWN


def _polars(value: Any) -> Any:
    """A polars series or frame as Python values; polars scalars are Python values already."""
    name = type(value).__name__
    if name == "Series":
        return value.to_list()
    return value.to_dicts() if name == "DataFrame" else _UNKNOWN


def _arrow(value: Any) -> Any:
    """An Arrow scalar, array or table as Python values."""
    if hasattr(value, "as_py"):
        return value.as_py()
    return value.to_pylist() if hasattr(value, "to_pylist") else _UNKNOWN


def _decimal(value: Any) -> Any:
    """A Decimal as a float; None for NaN and infinities."""
    return (float(value) if value.is_finite() else None) if hasattr(value, "is_finite") else _UNKNOWN


def _uuid(value: Any) -> Any:
    return str(value) if hasattr(value, "hex") else _UNKNOWN


FOREIGN: dict[str, Callable[[Any], Any]] = {
    "decimal": _decimal,
    "uuid": _uuid,
    "numpy": _numpy,
    "pandas": _pandas,
    "polars": _polars,
    "pyarrow": _arrow,
}


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _short(path: str) -> str:
    """A path that fits in a sentence; of a circular structure it may be endless."""
    return path if len(path) <= 200 else f"{path[:200]}…"
