"""Rows of tables as messages, chunk by chunk: a chunk's columns become Python lists, its rows exist one at a time.

The libraries are imported only by the program that has a table of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any, Optional

from mona_sdk.message import MonaSingleMessage

CHUNK_ROWS = 8_192

# Names of the columns, and chunks: for each column a list of Python values, None where a cell is missing.
Columns = dict[str, list[Any]]


def messages_of(
    table: Any,
    context_class: str,
    id_column: Optional[str],
    timestamp_column: Optional[str] = None,
    columns: Optional[Iterable[Any]] = None,
    action: Optional[str] = None,
) -> Iterator[MonaSingleMessage]:
    """A message for each row, without its missing cells. Raises ValueError for an unknown column, TypeError for
    something that is no table; both at once, before the first row is read."""
    names, chunks = _open(table)
    special = [name for name in (id_column, timestamp_column) if name is not None]
    content = [name for name in names if name not in special] if columns is None else list(columns)
    for name in (*special, *content):
        if name not in names:
            raise ValueError(f"the table has no column {name!r}; it has {', '.join(names)}")
    return _rows(chunks, context_class, id_column, timestamp_column, content, action)


def _rows(
    chunks: Iterator[Columns],
    context_class: str,
    id_column: Optional[str],
    timestamp_column: Optional[str],
    content: list[str],
    action: Optional[str],
) -> Iterator[MonaSingleMessage]:
    keys = [str(name) for name in content]
    for chunk in chunks:
        ids: Iterable[Any] = repeat(None) if id_column is None else map(_identity, chunk[id_column])
        times: Iterable[Any] = repeat(None) if timestamp_column is None else chunk[timestamp_column]
        for identity, time, *cells in zip(ids, times, *(chunk[name] for name in content)):
            values = {key: cell for key, cell in zip(keys, cells) if cell is not None}
            yield MonaSingleMessage(values, context_class, identity, action=action, exportTimestamp=time)


def _identity(value: Any) -> Any:
    """Ids are texts on the server; a column of numbers is meant as such."""
    return value if value is None or isinstance(value, str) else str(value)


def _open(table: Any) -> tuple[list[str], Iterator[Columns]]:
    library = type(table).__module__.partition(".")[0]
    if library == "pandas" and hasattr(table, "iloc") and hasattr(table, "columns"):
        return list(table.columns), _pandas(table)
    if library == "polars" and hasattr(table, "collect"):
        table = table.collect()
    if library == "polars" and hasattr(table, "iter_slices"):
        return list(table.columns), _polars(table)
    if library == "pyarrow" and hasattr(table, "schema"):
        return list(table.schema.names), _arrow(table)
    if hasattr(table, "__arrow_c_stream__"):
        import pyarrow

        reader = pyarrow.RecordBatchReader.from_stream(table)
        return list(reader.schema.names), _arrow(reader)
    if hasattr(table, "__dataframe__"):
        from pyarrow.interchange import from_dataframe

        converted = from_dataframe(table)
        return list(converted.schema.names), _arrow(converted)
    raise TypeError(
        f"{type(table).__name__} is no table: give a pandas or polars DataFrame, or an Arrow table or reader"
    )


def _pandas(table: Any) -> Iterator[Columns]:
    for start in range(0, len(table), CHUNK_ROWS):
        part = table.iloc[start : start + CHUNK_ROWS]
        yield {name: _pandas_column(part[name]) for name in part.columns}


def _pandas_column(column: Any) -> list[Any]:
    if str(column.dtype) == "float64":
        # NaN is the missing cell of a float column; a comparison with itself finds it faster than isna().
        return [cell if cell == cell else None for cell in column.tolist()]  # noqa: PLR0124
    values = column.tolist()
    if not column.hasnans:
        return _without_nan(values)
    return _without_nan([None if missing else cell for cell, missing in zip(values, column.isna().tolist())])


def _polars(table: Any) -> Iterator[Columns]:
    for part in table.iter_slices(CHUNK_ROWS):
        yield {column.name: _without_nan(column.to_list()) for column in part.get_columns()}


def _arrow(table: Any) -> Iterator[Columns]:
    """A table, a record batch, or a reader, which is read as it comes."""
    if hasattr(table, "read_next_batch"):
        batches = iter(table)
    elif hasattr(table, "to_batches"):
        batches = iter(table.to_batches(max_chunksize=CHUNK_ROWS))
    else:
        batches = iter((table,))
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            part = batch.slice(start, CHUNK_ROWS)
            yield {name: _arrow_column(column) for name, column in zip(part.schema.names, part.columns)}


def _arrow_column(column: Any) -> list[Any]:
    kind = str(column.type)
    if column.null_count == 0 and kind in ("double", "float", "int64", "int32", "int16", "int8"):
        # Arrow's own conversion makes an object for every cell first.
        return _without_nan(column.to_numpy(zero_copy_only=False).tolist())
    return _without_nan(column.to_pylist())


def _without_nan(values: list[Any]) -> list[Any]:
    if isinstance(next((value for value in values if value is not None), None), float):
        return [None if value != value else value for value in values]  # noqa: PLR0124
    return values
