"""Tables of any kind as the columns of a context class: what ``mona check`` and notebooks search in.

Rows are contexts. Fields that are plain copies of a column are taken as columns; other functions run row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.config.casts import CASTS
from mona_server.config.fields import FieldBuilder
from mona_server.config.functions.declare import Problem
from mona_server.config.model import ContextClass, Field
from mona_server.config.segmentations import Segmentation, freeze
from mona_server.detect.source import SourceQuestion, SumsSource
from mona_server.detect.table_columns import Coded, Column, Elements, coded
from mona_server.detect.table_source import TableSource
from mona_server.detect.verses.base import Verse
from mona_server.errors import BadRequest
from mona_server.insights.raw_columns import Array, Raw, python_values, raw_columns, taken, time_ms, times_of
from mona_server.segment import Condition, Equals, OneOf, Scalar

Progress = Callable[[float], None]
"""Told how much of the work is done, 0 to 1."""

FREEZE_MS = 28 * 86_400_000


@dataclass(frozen=True, slots=True)
class TableData:
    """A table in memory as a context class sees it; the counterpart of ``insights.data.ClassData``."""

    context_class: ContextClass
    columns: Mapping[str, Column]
    time_ms: NDArray[np.int64]
    segmentations: Mapping[tuple[str, str | None], tuple[Condition, ...]]

    @classmethod
    def of(
        cls, table: Any, context_class: ContextClass, time: str | None = None, progress: Progress | None = None
    ) -> TableData:
        """Build the fields of a table. Raises BadRequest."""
        raw = raw_columns(table)
        if not raw or not _length(next(iter(raw.values()))):
            raise BadRequest("the table has no rows", hint=f"its columns are {', '.join(raw)}" if raw else "")
        _, times, known = time_ms(raw, time)
        if not known.all():
            raw = {name: taken(values, known) for name, values in raw.items()}
            times = times[known]
        columns = build(raw, times, context_class, progress)
        used = {
            (axis.field, axis.segmentation)
            for verse in context_class.verses
            for parameter in ("segment_by", "segment_baseline_by", "always_segment_baseline_by")
            for axis in verse.get(parameter, ())
        }
        latest = times >= times.max() - FREEZE_MS
        segmentations = {key: _conditions(context_class, columns, latest, *key) for key in used}
        return cls(
            context_class, columns, times, {key: found for key, found in segmentations.items() if found is not None}
        )

    @property
    def range_text(self) -> str:
        """``from 2026-01-05 to 2026-03-01``."""
        first, last = (datetime.fromtimestamp(int(one) / 1000, UTC) for one in (self.time_ms.min(), self.time_ms.max()))
        return f"from {first:%Y-%m-%d} to {last:%Y-%m-%d}"

    def empty_fields(self, verses: Sequence[Verse]) -> list[str]:
        """A sentence for each field that verses follow or segment by and that has no value in any row."""
        used: dict[str, list[str]] = {}
        for verse in verses:
            names = [axis.field for axis in verse.get("segment_by", ())] + list(verse.get("metrics", ()))
            for name in dict.fromkeys(names):
                used.setdefault(name, []).append(verse.name)
        return [
            f"field {name} has no value in any row, so {' and '.join(asking)} cannot judge it: check that the table has its column"
            for name, asking in used.items()
            if name in self.context_class.saved_fields and _empty(self.columns.get(name))
        ]

    def look(self, question: SourceQuestion) -> SumsSource:
        """Sums for a question, on any time axis."""
        name = question.timestamp_field
        if name == "MONA_TIMESTAMP":
            return TableSource(self.columns, self.time_ms, question, self.segmentations)
        times = self._axis(name)
        known = ~np.isnan(times)
        columns = {key: _rows(column, known) for key, column in self.columns.items()}
        return TableSource(columns, times[known].astype(np.int64), question, self.segmentations)

    def start_ms(self, axis: str = "MONA_TIMESTAMP") -> int | None:
        """The first time on an axis; None where there is none."""
        times = self.time_ms if axis == "MONA_TIMESTAMP" else self._axis(axis)
        known = times[~np.isnan(times)]
        return int(known.min()) if len(known) else None

    def contexts(self, question: SourceQuestion, edges_ms: tuple[int, ...]) -> NDArray[np.float64]:
        """(K,): contexts of a question's population between other edges."""
        bare = replace(question, axes=(), metrics=(), edges_ms=edges_ms, frame_filters=())
        return np.asarray(self.look(bare).sums(()).size[0], dtype=np.float64)

    def related_fields(self, chosen: tuple[str, ...], avoided: tuple[str, ...]) -> tuple[str, ...]:
        """Fields that may explain something: the chosen ones, or all numeric and boolean ones."""
        numeric = [name for name, one in self.context_class.saved_fields.items() if one.numeric_like]
        wanted = [name for name in chosen if name in numeric] or numeric
        return tuple(name for name in wanted if name not in avoided and name in self.columns)

    def _axis(self, name: str) -> NDArray[np.float64]:
        column = self.columns.get(name)
        if not isinstance(column, np.ndarray):
            raise BadRequest(f"{name} is no time axis", hint="name a field of type timestamp")
        return column


def build(
    raw: Raw, times: NDArray[np.int64], context_class: ContextClass, progress: Progress | None = None
) -> dict[str, Column]:
    """The saved fields of a class as columns."""
    plain = {name: _plain_source(field, raw, context_class) for name, field in context_class.saved_fields.items()}
    columns: dict[str, Column] = {
        name: _cast(raw[source], str(context_class.fields[name].type)) for name, source in plain.items() if source
    }
    computed = [name for name, source in plain.items() if source is None]
    if computed:
        columns |= _row_by_row(raw, times, context_class, computed, progress)
    columns["MONA_TIMESTAMP"] = times.astype(np.float64)
    return columns


def _plain_source(field: Field, raw: Raw, context_class: ContextClass) -> str | None:
    """The column that the field copies; None where it has to be computed."""
    if field.function != "identity" or field.args or len(field.sources) > 1:
        return None
    source = field.sources[0] if field.sources else None
    if source is not None and (len(source.names) != 1 or source.default is not None):
        return None
    name = field.name if source is None else source.names[0]
    earlier = list(context_class.fields)[: list(context_class.fields).index(field.name)]
    fits = field.type in ("numeric", "string", "boolean", "timestamp")
    return name if fits and name in raw and name not in earlier else None


def _row_by_row(
    raw: Raw, times: NDArray[np.int64], context_class: ContextClass, names: Sequence[str], progress: Progress | None
) -> dict[str, Column]:
    builder = FieldBuilder(context_class)
    built: dict[str, list[Any]] = {name: [] for name in names}
    plain = {name: python_values(values) for name, values in raw.items()}
    length = len(times)
    for i in range(length):
        row = {name: values[i] for name, values in plain.items() if values[i] is not None}
        fields, _ = builder.build(row, int(times[i]))
        for name in names:
            built[name].append(fields.get(name))
        if progress is not None and i % 5_000 == 0:
            progress(i / length)
    return {name: _column(values, str(context_class.fields[name].type)) for name, values in built.items()}


def _length(values: Array | Coded) -> int:
    return len(values.codes if isinstance(values, Coded) else values)


def _cast(values: Array | Coded, type_: str) -> Column:
    """A raw column as a field of a type; what does not fit has no value."""
    if type_ == "timestamp":
        return times_of(values)
    if isinstance(values, Coded):
        if type_ == "string":
            return values
        values = np.array(python_values(values), object)
    if type_ == "numeric" and values.dtype.kind in "iufb":
        numbers = values.astype(np.float64)
        numbers[~np.isfinite(numbers)] = np.nan
        return numbers
    if type_ == "boolean" and values.dtype.kind == "b":
        return Coded(values.astype(np.int32), (False, True))
    if type_ == "string" and values.dtype == object and set(map(type, values)) <= {str, type(None)}:
        return coded(values)
    plain = python_values(values)
    if type_ == "string" and set(map(type, plain)) <= {str, type(None)}:
        return coded(plain)
    known: dict[Any, Any] = {}
    cast = CASTS[type_]
    found = []
    for value in plain:
        try:
            key = (value.__class__, value)
            if key not in known:
                known[key] = _fitting(cast, value)
            found.append(known[key])
        except TypeError:  # lists and objects cannot be keys
            found.append(_fitting(cast, value))
    return _column(found, type_)


def _fitting(cast: Callable[[Any], Any], value: Any) -> Any:
    try:
        return cast(value)
    except Problem:
        return None


def _column(values: list[Any], type_: str) -> Column:
    """Built values as a column of the search."""
    if type_ in ("numeric", "timestamp"):
        return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    if not any(isinstance(value, list) for value in values):
        return coded(values)
    rows = [i for i, value in enumerate(values) for _ in _elements(value)]
    flat = coded([one for value in values for one in _elements(value)])
    return Elements(np.array(rows, dtype=np.int64), flat.codes, flat.values, len(values))


def _elements(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _conditions(
    context_class: ContextClass,
    columns: Mapping[str, Column],
    latest: NDArray[np.bool_],
    name: str,
    segmentation: str | None,
) -> tuple[Condition, ...] | None:
    """The segments of a field; None: each value on its own. Raises BadRequest for what cannot be segmented.

    Buckets that follow from data are those of the ``latest`` rows, as on the server.
    """
    field, column = context_class.saved_fields.get(name), columns.get(name)
    chosen = None if field is None else field.segmentation(segmentation)
    if field is None or column is None or (chosen is None and segmentation is not None):
        raise BadRequest(
            f"{name} has no segmentation {segmentation!r}" if segmentation else f"there is no field {name}"
        )
    if chosen is None:
        return None
    if isinstance(column, Coded | Elements):
        return _value_conditions(chosen, column)
    present = column[~np.isnan(column)]
    if not chosen.frozen:
        recent = column[latest & ~np.isnan(column)]
        chosen = chosen.with_frozen(freeze(chosen, recent if len(recent) else present))
    if not len(present):
        return (Equals(None),)
    if chosen.numeric:
        low, high = float(present.min()), float(present.max())
        buckets = chosen.buckets_for(low, high, lambda: _usual(present))
        return (*buckets.conditions, Equals(None))
    values = np.unique(present)
    inside = chosen.in_range
    kept = [
        float(v)
        for v in values
        if inside is None
        or ((inside.min_value is None or v >= inside.min_value) and (inside.max_value is None or v < inside.max_value))
    ]
    return (*(Equals(int(v) if v.is_integer() else v) for v in kept), Equals(None))


def _empty(column: Column | None) -> bool:
    """Has it no value at all?"""
    if column is None:
        return True
    if isinstance(column, Coded | Elements):
        return not (column.codes >= 0).any()
    return bool(np.isnan(column).all())


def _usual(values: NDArray[np.float64]) -> tuple[float, float]:
    """The range without the wildest values."""
    low, high = np.quantile(values, (0.003, 0.997))
    return float(low), float(high)


def _value_conditions(chosen: Segmentation, column: Coded | Elements) -> tuple[Condition, ...]:
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values))
    largest = np.argsort(-counts, kind="stable")[: chosen.max_values]
    groups: dict[Scalar, list[Scalar]] = {}
    for code in sorted(int(one) for one in largest):
        if counts[code]:
            value = column.values[code]
            groups.setdefault(chosen.label(value), []).append(value)
    named = [Equals(group[0]) if len(group) == 1 else OneOf(tuple(group)) for group in groups.values()]
    return (*named, Equals(None))


def _rows(column: Column, kept: NDArray[np.bool_]) -> Column:
    if isinstance(column, Coded):
        return Coded(column.codes[kept], column.values)
    if isinstance(column, Elements):
        place = np.cumsum(kept) - 1
        inside = kept[column.rows]
        return Elements(place[column.rows[inside]], column.codes[inside], column.values, int(kept.sum()))
    return column[kept]
