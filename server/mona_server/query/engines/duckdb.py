"""The default engine: DuckDB in this process.

One database instance in memory per engine holds nothing; it only reads Parquet files and arrays that are handed in.
Each query runs on a cursor of its own, so threads may share an engine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from mona_server.errors import DataDamaged
from mona_server.query.errors import QueryTimeout, QueryTooLarge
from mona_server.settings import Engine

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Tables = Mapping[str, Arrays]


class DuckEngine:
    """Runs SQL over Parquet files and numpy arrays.

    ``settings`` give memory, threads and the time after which a query is stopped; ``spill`` is the folder for what
    does not fit into memory (None: nothing may be spilled).
    """

    def __init__(self, settings: Engine | None = None, spill: Path | None = None) -> None:
        settings = settings or Engine()
        self.timeout_s = settings.query_timeout_s
        self._root = duckdb.connect(":memory:")
        self._root.execute("SET memory_limit = ?", [settings.memory])
        self._root.execute("SET temp_directory = ?", ["" if spill is None else str(spill)])
        self._root.execute("SET enable_progress_bar = false")
        self._root.execute("SET autoinstall_known_extensions = false")
        self._root.execute("SET TimeZone = 'UTC'")
        if settings.threads:
            self._root.execute("SET threads = ?", [settings.threads])
        self.memory_bytes = _bytes(self._root.execute("SELECT current_setting('memory_limit')").fetchall()[0][0])
        self.threads = int(self._root.execute("SELECT current_setting('threads')").fetchall()[0][0])

    def arrays(
        self, sql: str, values: Mapping[str, Any] | None = None, tables: Tables | None = None
    ) -> dict[str, Array]:
        """The columns of the answer; a column that has NULLs comes as a masked array.

        ``values`` are bound as ``$name``; ``tables`` are columns that the SQL may name as relations.
        Raises :class:`QueryTimeout`, :class:`QueryTooLarge`, :class:`DataDamaged`.
        """
        return dict(self._run(sql, values, tables, lambda cursor: cursor.fetchnumpy()))

    def rows(
        self, sql: str, values: Mapping[str, Any] | None = None, tables: Tables | None = None
    ) -> list[tuple[Any, ...]]:
        """The rows of the answer as Python values; NULL is None."""
        return list(self._run(sql, values, tables, lambda cursor: cursor.fetchall()))

    def write(
        self,
        sql: str,
        path: Path,
        *,
        options: str = "FORMAT parquet, COMPRESSION zstd",
        values: Mapping[str, Any] | None = None,
        tables: Tables | None = None,
    ) -> None:
        """Write the answer to a file, in parts, without holding it in memory."""
        target = str(path).replace("'", "''")
        self._run(f"COPY ({sql}) TO '{target}' ({options})", values, tables, lambda _: ())

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for SQL that another room writes, without the time limit."""
        cursor = self._root.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def close(self) -> None:
        self._root.close()

    def _run(self, sql: str, values: Mapping[str, Any] | None, tables: Tables | None, fetch: Any) -> Any:
        cursor = self._root.cursor()
        late = threading.Event()

        def stop() -> None:
            late.set()
            cursor.interrupt()

        timer = threading.Timer(self.timeout_s, stop)
        timer.daemon = True
        try:
            for name, columns in (tables or {}).items():
                cursor.register(name, dict(columns))
            timer.start()
            cursor.execute(sql, dict(values) if values else None)
            return fetch(cursor)
        except duckdb.InterruptException:
            if not late.is_set():
                raise
            raise QueryTimeout(
                f"the query was stopped after {self.timeout_s:g} s",
                hint="ask for a shorter time range or fewer fields, or raise engine.query_timeout_s",
            ) from None
        except duckdb.OutOfMemoryException:
            raise QueryTooLarge(
                "the query needs more memory than engine.memory allows",
                hint="ask for a shorter time range or fewer fields, or raise engine.memory",
            ) from None
        except duckdb.IOException as error:
            raise DataDamaged(
                f"a file of the lake cannot be read: {_first_line(error)}", hint="run mona doctor"
            ) from None
        finally:
            timer.cancel()
            cursor.close()


def unmasked(column: Array, missing: Any = None) -> Array:
    """The column with ``missing`` in place of NULL: NaN for floats, None for objects by default."""
    if not isinstance(column, np.ma.MaskedArray):
        return column
    if missing is None:
        missing = np.nan if column.dtype.kind == "f" else None
    if missing is None and column.dtype.kind != "O":
        column = column.astype(object)
    return np.ma.filled(column, missing)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _bytes(text: str) -> float:
    """DuckDB's way of writing sizes.

    >>> _bytes("1.5 GiB")
    1610612736.0
    """
    number, unit = text.split()
    powers = {"bytes": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}
    return float(number) * 1024.0 ** powers[unit]


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def file_list(paths: Sequence[str | Path]) -> str:
    """A list of paths as an SQL literal."""
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"
