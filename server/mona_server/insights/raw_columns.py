"""Tables of any kind as raw columns: what pandas, polars, Arrow, DuckDB, files and lists have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.config.timestamps import parse_timestamp
from mona_server.detect.table_columns import Coded
from mona_server.errors import BadRequest
from mona_server.sources.files import relation

Array = NDArray[Any]
Raw = dict[str, Array | Coded]
"""Column name → values: numbers (NaN: none), datetime64 (NaT: none), booleans, objects with None, or coded texts."""

TIME_NAMES = ("exportTimestamp", "MONA_TIMESTAMP", "timestamp", "time", "ts", "datetime", "date")


def raw_columns(table: Any) -> Raw:
    """The columns of a pandas or polars frame, an Arrow table, a DuckDB relation, a file, or a list of dicts.

    Raises BadRequest for anything else, and for a file that cannot be read.
    """
    if isinstance(table, str | Path):
        return _file(Path(table))
    if isinstance(table, Mapping):
        return {str(name): _array(values) for name, values in table.items()}
    if isinstance(table, list | tuple):
        return _dicts(table)
    module = type(table).__module__.partition(".")[0]
    if module == "pandas":
        return _pandas(table)
    if module == "polars":
        frame = table.collect() if hasattr(table, "collect") else table
        return {one.name: _polars(one) for one in frame.get_columns()}
    if hasattr(table, "fetchnumpy"):
        return {str(name): _array(values) for name, values in table.fetchnumpy().items()}
    if hasattr(table, "__arrow_c_stream__"):
        import duckdb

        with duckdb.connect() as connection:
            return raw_columns(connection.from_arrow(table))
    raise BadRequest(
        f"{type(table).__name__} is no table that can be checked",
        hint="give a pandas or polars frame, an Arrow table, a DuckDB relation, a path or a list of dicts",
    )


def time_ms(raw: Raw, name: str | None) -> tuple[str, NDArray[np.int64], NDArray[np.bool_]]:
    """The time column: its name, Unix milliseconds, and which rows have a time.

    Without a name the first of the usual ones that the table has, else the only column of datetimes. Raises BadRequest where there is none.
    """
    chosen = name or next((usual for usual in TIME_NAMES if usual in raw), None)
    if chosen is None:
        moments = [one for one, values in raw.items() if _holds_datetimes(values)]
        chosen = moments[0] if len(moments) == 1 else None
    if chosen is None or chosen not in raw:
        problem = f"the table has no column {name}" if name else "no column looks like the time of the rows"
        raise BadRequest(problem, hint=f"give the name of the time column: one of {', '.join(raw)}")
    times = times_of(raw[chosen])
    known = ~np.isnan(times)
    if not known.any():
        raise BadRequest(
            f"column {chosen} holds no time", hint="Unix seconds or milliseconds, ISO 8601 texts, or datetimes"
        )
    return chosen, np.where(known, np.nan_to_num(times), 0).astype(np.int64), known


def _pandas(frame: Any) -> Raw:
    """A frame's columns, and its index where that is a time."""
    if not hasattr(frame, "columns"):
        raise BadRequest(f"a pandas {type(frame).__name__} is no table", hint="give a DataFrame")
    if frame.index.dtype.kind == "M":
        frame = frame.rename_axis(index=frame.index.name or "timestamp").reset_index()
    found: Raw = {}
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if getattr(column.dtype, "tz", None) is not None:  # else numpy gets an object for each moment
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        found[str(name)] = _array(column.to_numpy(), missing=column.isna().to_numpy())
    return found


def _polars(column: Any) -> Array | Coded:
    """A column of polars. Its texts are coded by polars itself, several times faster than an object for each row."""
    import polars

    if column.dtype in (polars.String, polars.Categorical, polars.Enum):
        texts = column.cast(polars.String)
        found = texts.unique().drop_nulls().sort()
        if 2 * len(found) <= len(texts):
            codes = texts.cast(polars.Enum(found)).to_physical().cast(polars.Int32).fill_null(-1)
            return Coded(codes.to_numpy(), tuple(found.to_list()))
    return _array(column.to_numpy(), missing=column.is_null().to_numpy())


def taken(values: Array | Coded, kept: NDArray[np.bool_]) -> Array | Coded:
    """Some of the rows; of texts only the values that these have."""
    if not isinstance(values, Coded):
        return values[kept]
    codes = values.codes[kept]
    there = np.unique(codes[codes >= 0])
    place = np.full(len(values.values) + 1, -1, np.int32)
    place[there] = np.arange(len(there))
    return Coded(place[codes], tuple(values.values[code] for code in there))


def _holds_datetimes(values: Array | Coded) -> bool:
    """Datetimes of numpy, or objects that are some."""
    if isinstance(values, Coded):
        return False
    if values.dtype.kind == "M":
        return True
    return isinstance(_first(values), date)


def _first(values: Array) -> Any:
    """The first object of an array of objects."""
    return next((one for one in values if one is not None), None) if values.dtype == object else None


def times_of(values: Array | Coded) -> NDArray[np.float64]:
    """Unix ms as floats, NaN where there is no time."""
    if isinstance(values, Coded):
        return times_of(np.array([*values.values, None], object))[values.codes]
    if values.dtype.kind == "M":
        times = values.astype("datetime64[ms]").astype(np.int64).astype(np.float64)
        times[np.isnat(values)] = np.nan
        return times
    parsed = [parse_timestamp(_moment(value)) for value in python_values(values)]
    return np.array([np.nan if one is None else float(one) for one in parsed], dtype=np.float64)


def _moment(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def python_values(values: Array | Coded) -> list[Any]:
    """Plain Python values, None where there is none."""
    if isinstance(values, Coded):
        return list(np.array([*values.values, None], object)[values.codes])
    if values.dtype.kind == "f":
        return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124
    if values.dtype.kind == "M":
        texts = np.datetime_as_string(values.astype("datetime64[ms]"))
        return [None if text == "NaT" else f"{text}Z" for text in texts.tolist()]
    return [_plain(value) for value in values.tolist()]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, float) and value != value:  # noqa: PLR0124
        return None
    return value


def _array(values: Any, missing: NDArray[np.bool_] | None = None) -> Array:
    """Values of one column, masked and missing ones as NaN, NaT or None."""
    if isinstance(values, np.ma.MaskedArray):
        missing = np.ma.getmaskarray(values)
        values = values.data
    array = np.asarray(values)
    if array.dtype.kind in "US":
        array = array.astype(object)
    if isinstance(_first(array), Decimal):
        array = np.array([np.nan if one is None else float(one) for one in array], dtype=np.float64)
    if missing is None or not missing.any():
        return array
    if array.dtype.kind == "M":
        return np.where(missing, np.datetime64("NaT"), array)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype.kind == "f":
        return np.where(missing, np.nan, array)
    array = array.astype(object)
    array[missing] = None
    return array


def _dicts(rows: Sequence[Any]) -> Raw:
    if not all(isinstance(row, Mapping) for row in rows):
        raise BadRequest("a list that is checked must hold one object per row")
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns: Raw = {}
    for name in names:
        values = np.empty(len(rows), dtype=object)
        values[:] = [row.get(name) for row in rows]
        columns[str(name)] = values
    return columns


def _file(path: Path) -> Raw:
    with relation(path) as rows:
        return raw_columns(rows)
