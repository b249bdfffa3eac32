"""Facts and messages on their way from the fold to a file: compact bytes in, columns out.

A *fact* is one msgpack array ``[layout, context id, time, arrival, value, ...]``. It is kept with the document,
and the minus row that cancels it later is a copy of these bytes, never built again: configuration or code may
have changed in between. A *chunk* (one fold transaction, one class) is ``[[minus facts], [plus facts]]``,
compressed. :func:`fact_columns` turns chunks into one numpy array per column.

Columns are ``MaskedArray`` for numbers and booleans (masked = NULL) and plain object arrays with None for texts
and lists; DuckDB reads both without a copy in Python. Cast text and list columns in SQL: one that is empty or
all None has no type of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import zstandard

DAY_MS = 86_400_000

Columns = dict[str, Any]
"""Column name → numpy array, all of one length."""

TYPES = {
    "numeric": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "BIGINT",
    "string": "VARCHAR",
    "geopoint": "VARCHAR",
    "geoshape": "VARCHAR",
}
"""Field type → column type; timestamps in Unix ms, geometry as GeoJSON text."""

RESERVED = {
    "MONA_ID": "VARCHAR",
    "MONA_TIMESTAMP": "BIGINT",
    "MONA_ARRIVAL_TIMESTAMP": "BIGINT",
    "MONA_REVISION": "BIGINT",
    "MONA_SIGN": "TINYINT",
    "MONA_DAY": "INTEGER",
}
"""Columns that every file of facts has, first."""

MESSAGE_COLUMNS = {
    "MONA_ID": "VARCHAR",
    "MONA_NUMBER": "BIGINT",
    "MONA_INDEX": "INTEGER",
    "MONA_ARRIVAL_TIMESTAMP": "BIGINT",
    "MONA_EXPORT_TIMESTAMP": "BIGINT",
    "MONA_ACTION": "VARCHAR",
    "MONA_REVISION": "BIGINT",
    "MONA_DAY": "INTEGER",
    "MESSAGE": "VARCHAR",
}
"""Columns of a file of messages; the day is the one of the arrival."""

_NUMPY = {
    "DOUBLE": np.float64,
    "BOOLEAN": np.bool_,
    "BIGINT": np.int64,
    "INTEGER": np.int32,
    "TINYINT": np.int8,
}

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


@dataclass(frozen=True, slots=True)
class PhysicalColumn:
    """Where a field is stored."""

    field: str
    type: str
    """Key of :data:`TYPES`."""
    physical: str
    lists: bool = False
    """Some rows have an array: distinct elements in ``<physical>[]``, NULL in ``physical``."""

    @property
    def list_column(self) -> str:
        return self.physical + "[]"


def encode_fact(layout: int, context_id: str, time_ms: int, arrival_ms: int, values: Sequence[Any]) -> bytes:
    """The stored form of one fact. ``values`` in the order of the layout: float, bool, int, str, list or None."""
    return _encoder.encode((layout, context_id, time_ms, arrival_ms, *values))


def decode_fact(fact: bytes) -> tuple[int, str, int, int, list[Any]]:
    """What :func:`encode_fact` was given."""
    layout, context_id, time_ms, arrival_ms, *values = _decoder.decode(fact)
    return layout, context_id, time_ms, arrival_ms, values


def encode_fact_chunk(minus: Sequence[bytes], plus: Sequence[bytes]) -> bytes:
    """One chunk of pending facts."""
    return _pack(b"".join((b"\x92", _array_head(minus), *minus, _array_head(plus), *plus)))


def encode_message_chunk(rows: Sequence[tuple[Any, ...]]) -> bytes:
    """One chunk of pending messages: (id, number, index, arrival, export time or None, action, JSON as bytes)."""
    return _pack(_encoder.encode(rows))


def _array_head(items: Sequence[bytes]) -> bytes:
    return b"\xdd" + len(items).to_bytes(4, "big")


def _pack(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(raw)


def _unpack(body: bytes) -> Any:
    return _decoder.decode(zstandard.ZstdDecompressor().decompress(body))


def fact_columns(
    chunks: Iterable[tuple[int, bytes]],
    layouts: Mapping[int, Sequence[str]],
    columns: Sequence[PhysicalColumn],
) -> Columns:
    """All rows of some ``(revision, body)`` chunks, minus rows of a chunk before its plus rows.

    ``layouts`` maps a layout to its physical columns; ``columns`` are the columns of the result after the
    reserved ones. A value of a column that is not asked for is left out.
    """
    parts = [
        (rows, sign, revision)
        for revision, body in chunks
        for rows, sign in zip(_unpack(body), (-1, 1), strict=True)
        if rows
    ]
    total = sum(len(rows) for rows, _, _ in parts)
    signs = np.repeat(np.array([sign for _, sign, _ in parts], np.int8), [len(rows) for rows, _, _ in parts])
    revisions = np.repeat(np.array([r for _, _, r in parts], np.int64), [len(rows) for rows, _, _ in parts])
    everything = list(chain.from_iterable(rows for rows, _, _ in parts))
    layout_of = np.fromiter((row[0] for row in everything), np.int64, total)
    times = np.zeros(total, np.int64)
    arrivals = np.zeros(total, np.int64)
    gathered: dict[str, list[Any]] = {}
    for layout in np.unique(layout_of).tolist():
        names = layouts[layout]
        where = np.flatnonzero(layout_of == layout)
        whole = len(where) == total
        rows = everything if whole else [everything[i] for i in where.tolist()]
        _, ids_, times_, arrivals_, *values_ = zip(*rows, strict=True)
        times[where], arrivals[where] = times_, arrivals_
        for name, values in [("MONA_ID", ids_), *zip(names, values_, strict=True)]:
            if whole:
                gathered[name] = list(values)
            else:
                column = gathered.setdefault(name, [None] * total)
                for i, value in zip(where.tolist(), values, strict=True):
                    column[i] = value
    result: Columns = {
        "MONA_ID": _objects(gathered.get("MONA_ID", [])),
        "MONA_TIMESTAMP": times,
        "MONA_ARRIVAL_TIMESTAMP": arrivals,
        "MONA_REVISION": revisions,
        "MONA_SIGN": signs,
        "MONA_DAY": (times // DAY_MS).astype(np.int32),
    }
    for physical_column in columns:
        result.update(_split_lists(physical_column, gathered.get(physical_column.physical) or [None] * total))
    return result


def _split_lists(column: PhysicalColumn, values: list[Any]) -> Columns:
    if not column.lists:
        return {column.physical: typed(values, TYPES[column.type])}
    lists = [value if isinstance(value, list) else None for value in values]
    scalars = [None if isinstance(value, list) else value for value in values]
    return {column.physical: typed(scalars, TYPES[column.type]), column.list_column: _lists(lists)}


def message_columns(chunks: Iterable[tuple[int, bytes]], only: str | None = None) -> Columns:
    """All rows of some ``(revision, body)`` chunks of messages; ``only`` those of one context."""
    rows: list[Any] = []
    revisions: list[int] = []
    for revision, body in chunks:
        unpacked = [row for row in _unpack(body) if only is None or row[0] == only]
        rows += unpacked
        revisions += [revision] * len(unpacked)
    given = list(zip(*rows, strict=True)) or [()] * 7
    arrival = np.array(given[3], np.int64)
    return {
        "MONA_ID": _objects(given[0]),
        "MONA_NUMBER": np.array(given[1], np.int64),
        "MONA_INDEX": np.array(given[2], np.int32),
        "MONA_ARRIVAL_TIMESTAMP": arrival,
        "MONA_EXPORT_TIMESTAMP": typed(list(given[4]), "BIGINT"),
        "MONA_ACTION": _objects(given[5]),
        "MONA_REVISION": np.array(revisions, np.int64),
        "MONA_DAY": (arrival // DAY_MS).astype(np.int32),
        "MESSAGE": _objects([text.decode() for text in given[6]]),
    }


def typed(values: Sequence[Any], column_type: str) -> Any:
    """Values (None = NULL) as an array of a column type."""
    if column_type not in _NUMPY:
        known: dict[Any, Any] = {}  # one object for each text: half the memory of decoded rows, for a fifth more time
        return _objects([known.setdefault(value, value) for value in values])
    dtype = _NUMPY[column_type]
    if None not in values:
        return np.ma.MaskedArray(np.array(values, dtype), mask=np.zeros(len(values), np.bool_))
    mask = np.fromiter((value is None for value in values), np.bool_, len(values))
    zero = dtype(0)
    return np.ma.MaskedArray(np.array([zero if value is None else value for value in values], dtype), mask=mask)


def _objects(values: Sequence[Any]) -> Any:
    """Texts and None."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _lists(values: Sequence[Any]) -> Any:
    """Lists and None: numpy must not make a second dimension of them."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def concatenate(parts: Sequence[Columns]) -> Columns:
    """One set of columns from several with the same names; masks are kept."""
    if len(parts) == 1:
        return parts[0]
    return {
        name: (np.ma.concatenate if isinstance(array, np.ma.MaskedArray) else np.concatenate)(
            [part[name] for part in parts]
        )
        for name, array in parts[0].items()
    }


def column_types(columns: Sequence[PhysicalColumn]) -> dict[str, str]:
    """Column name → SQL type of a class, reserved columns first."""
    types = dict(RESERVED)
    for column in columns:
        types[column.physical] = TYPES[column.type]
        if column.lists:
            types[column.list_column] = TYPES[column.type] + "[]"
    return types


def layout_text(physical: Sequence[str]) -> str:
    """Canonical text of a layout."""
    return json.dumps(list(physical), ensure_ascii=False)
