"""Files as messages: CSV, Parquet, JSON and Arrow, plain or compressed, read in chunks of bounded memory.

DuckDB reads and writes the text of the messages itself, so that no row becomes a Python object: an empty cell is an
absent key, types of Parquet and Arrow are kept, nested columns become objects, leading zeros of a CSV stay text.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from mona_server.errors import BadRequest, NotFound

CHUNK_ROWS = 10_000
_SNIFF_BYTES = 10 * 2**20
_TIME_NAMES = ("exportTimestamp", "timestamp")
_ID_NAME = "contextId"


@dataclass(frozen=True, kw_only=True)
class FileMapping:
    """How the columns of a file become messages."""

    context_class: str
    id_column: str | None = None
    """Default: the column ``contextId``, else an id made of the file's digest and the row number."""
    time_column: str | None = None
    """Default: the column ``exportTimestamp`` or ``timestamp``, else the time of the import."""
    action: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    """Old column name → new one."""

    def to_json(self) -> dict[str, Any]:
        return {
            "context_class": self.context_class,
            "id_column": self.id_column,
            "time_column": self.time_column,
            "action": self.action,
            "rename": dict(self.rename),
        }


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Consecutive rows of a file as one request body."""

    first_row: int
    """Number of the first row in the file, from 0, header not counted."""
    rows: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file that was looked at: what it is and what it holds."""

    path: Path
    kind: str
    """``parquet``, ``csv``, ``json`` or ``arrow``."""
    compression: str | None
    digest: str
    """SHA-256 of the bytes on disk, hexadecimal."""
    columns: Mapping[str, str]
    """Name → DuckDB type; empty for JSON, whose keys may differ from row to row."""
    rows: int
    warnings: tuple[str, ...] = ()


def look_at(path: Path, mapping: FileMapping) -> TableFile:
    """Recognise a file by its first bytes and count its rows.

    Raises NotFound, or BadRequest when it is no table or lacks a column that the mapping names.
    """
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    kind, compression = _recognise(path)
    with _reader(path, kind, compression) as (connection, source):
        try:
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            counted = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
        except duckdb.Error as error:
            raise BadRequest(f"{path.name}: cannot be read as {kind}: {_first_line(error)}") from None
    columns = {} if kind == "json" else {str(row[0]): str(row[1]) for row in described}
    warnings = _check_columns(path, tuple(columns), mapping) if columns else ()
    return TableFile(
        path=path,
        kind=kind,
        compression=compression,
        digest=_digest(path),
        columns=columns,
        rows=int(counted[0]) if counted else 0,
        warnings=warnings,
    )


def chunks(table: TableFile, mapping: FileMapping, *, skip_rows: int = 0, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """The rows of a file in order, as request bodies of at most ``rows`` messages.

    The same file and mapping always give the same chunks, so a chunk's place can be its idempotency key. Rows before
    ``skip_rows`` (a multiple of ``rows``) are left out: an import goes on where it stopped.
    """
    head = json.dumps({"arcClass": mapping.context_class, "action": mapping.action}, ensure_ascii=False)[:-1]
    with _reader(table.path, table.kind, table.compression) as (connection, source):
        cursor = connection.execute(_messages_sql(table, mapping, source))
        first = 0
        try:
            while batch := cursor.fetchmany(rows):
                if first >= skip_rows:
                    yield Chunk(first_row=first, rows=len(batch), body=_body(head, table, batch, first))
                first += len(batch)
        except duckdb.Error as error:
            raise BadRequest(
                f"{table.path.name}: cannot be read past row {first}: {_first_line(error)}",
                hint=f"{first} rows were sent; mend the file and import it again",
            ) from None


def _body(head: str, table: TableFile, batch: list[Any], first: int) -> bytes:
    parts = []
    for i, (identity, time, message) in enumerate(batch):
        name = identity or json.dumps(f"{table.digest[:12]}-{first + i}")
        parts.append(f'{head},"contextId":{name},"exportTimestamp":{time or "null"},"message":{message or "{}"}}}')
    return f'{{"messages":[{",".join(parts)}]}}'.encode()


def _messages_sql(table: TableFile, mapping: FileMapping, source: str) -> str:
    """A query with three JSON texts a row: id, time, message (null where the file has none)."""
    if table.kind == "json":
        ids = [mapping.id_column] if mapping.id_column else [_ID_NAME]
        times = [mapping.time_column] if mapping.time_column else list(_TIME_NAMES)
        identity = _json_text(_first_of([f"json->>'{_path(name)}'" for name in ids]))
        time = _first_of([f"json->'{_path(name)}'" for name in times])
        message = "json"
        for old, new in mapping.rename.items():
            moved = f"json_object({_text(old)}, NULL, {_text(new)}, json->'{_path(old)}')"
            message = f"json_merge_patch({message}, {moved})"
        return f"SELECT {identity}, CAST({time} AS VARCHAR), CAST({message} AS VARCHAR) FROM {source}"
    id_column = mapping.id_column or (_ID_NAME if _ID_NAME in table.columns else None)
    time_column = mapping.time_column or next((name for name in _TIME_NAMES if name in table.columns), None)
    identity = _json_text(f"CAST({_name(id_column)} AS VARCHAR)") if id_column else "NULL"
    time = _json_text(_as_json_shows(time_column, table.columns[time_column])) if time_column else "NULL"
    columns = ", ".join(
        f"{_name(mapping.rename.get(name, name))} := {_as_json_shows(name, kind)}"
        for name, kind in table.columns.items()
    )
    # A merge patch onto {} drops the keys without a value: an empty cell is no value, not a null that deletes one.
    message = f"json_merge_patch('{{}}', to_json(struct_pack({columns})))"
    return f"SELECT {identity}, {time}, CAST({message} AS VARCHAR) FROM {source}"


def _as_json_shows(name: str, kind: str) -> str:
    """A column as an SQL expression whose JSON is what the ingest path reads: ISO times, finite numbers."""
    column = _name(name)
    if kind in {"DOUBLE", "FLOAT"}:
        return f"CASE WHEN isfinite({column}) THEN {column} END"
    if kind.startswith("TIMESTAMP"):
        zoned = f"({column} AT TIME ZONE 'UTC')" if "TIME ZONE" in kind else f"CAST({column} AS TIMESTAMP)"
        return f"strftime({zoned}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    if kind == "DATE":
        return f"CAST({column} AS VARCHAR)"
    return column


def _json_text(expression: str) -> str:
    """JSON text of an SQL value, NULL where there is none."""
    return f"CASE WHEN ({expression}) IS NOT NULL THEN CAST(to_json({expression}) AS VARCHAR) END"


def _check_columns(path: Path, columns: tuple[str, ...], mapping: FileMapping) -> tuple[str, ...]:
    named = [mapping.id_column, mapping.time_column, *mapping.rename]
    unknown = [name for name in named if name is not None and name not in columns]
    if unknown:
        raise BadRequest(
            f"{path.name} has no column {', '.join(unknown)}", hint=f"its columns are {', '.join(columns[:30])}"
        )
    warnings = []
    if mapping.id_column is None and _ID_NAME not in columns:
        warnings.append("no id column: each row becomes a context of its own, which later files cannot update")
    if mapping.time_column is None and not set(_TIME_NAMES) & set(columns):
        warnings.append("no time column: all rows get the time of the import")
    return tuple(warnings)


_MAGIC = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\xff\xff\xff\xff", "arrow"))
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bz2"))


def _recognise(path: Path) -> tuple[str, str | None]:
    with path.open("rb") as file:
        start = file.read(64)
    compression = next((name for magic, name in _COMPRESSED if start.startswith(magic)), None)
    if compression is not None:
        with _decompressed(path, compression) as stream:
            start = stream.read(64)
    kind = next((name for magic, name in _MAGIC if start.startswith(magic)), None)
    if kind is None:
        kind = "json" if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"[", b"{"} else "csv"
    return kind, compression


@contextmanager
def _decompressed(path: Path, compression: str) -> Iterator[Any]:
    if compression == "gzip":
        import gzip

        with gzip.open(path) as stream:
            yield stream
    elif compression == "bz2":
        with bz2.open(path) as stream:
            yield stream
    else:
        import zstandard

        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            yield stream


@contextmanager
def _reader(
    path: Path, kind: str, compression: str | None, *, typed: bool = False
) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """A connection and the table function that reads the file. Kinds that DuckDB cannot unpack go through a copy.

    JSON comes as one object per row, or ``typed`` with columns.
    """
    with tempfile.TemporaryDirectory(prefix="mona-import-") as folder, duckdb.connect() as connection:
        connection.execute("SET memory_limit = '384MB'")
        connection.execute(f"SET temp_directory = {_text(folder)}")
        if compression is not None and (compression == "bz2" or kind in {"parquet", "arrow"}):
            copy = Path(folder) / "plain"
            with _decompressed(path, compression) as stream, copy.open("wb") as file:
                shutil.copyfileobj(stream, file, 2**20)
            path, compression = copy, None
        yield (
            connection,
            _table_function(connection, path, "typed json" if typed and kind == "json" else kind, compression),
        )


@contextmanager
def relation(path: Path) -> Iterator[duckdb.DuckDBPyRelation]:
    """The rows of a file as they are, with the types that its kind or a look at it gives.

    Raises BadRequest where there is no such file, or it is none of the known kinds.
    """
    if not path.is_file():
        raise BadRequest(f"there is no file {path}")
    kind, compression = _recognise(path)
    try:
        with _reader(path, kind, compression, typed=True) as (connection, source):
            yield connection.sql(f"SELECT * FROM {source}")
    except duckdb.Error as error:
        raise BadRequest(f"{path.name} cannot be read: {_first_line(error)}") from None


def _table_function(connection: duckdb.DuckDBPyConnection, path: Path, kind: str, compression: str | None) -> str:
    file = _text(str(path))
    if kind == "parquet":
        return f"read_parquet({file})"
    packed = f", compression = '{compression}'" if compression else ""
    if kind == "json":
        return f"read_json_objects({file}, format = 'auto', maximum_object_size = 67108864{packed})"
    if kind == "typed json":
        return f"read_json({file}, format = 'auto', maximum_object_size = 67108864{packed})"
    if kind == "arrow":
        return _arrow(connection, path)
    encoding = "" if _is_utf8(path, compression) else ", encoding = 'latin-1'"
    options = f"header = true{packed}{encoding}, sample_size = 100000"
    as_text = f"read_csv({file}, all_varchar = true, {options})"
    names = [str(row[0]) for row in connection.execute(f"DESCRIBE SELECT * FROM {as_text}").fetchall()]
    tests = ", ".join(f"bool_or(regexp_matches({_name(name)}, '^[+-]?0[0-9]'))" for name in names)
    found = connection.execute(f"SELECT {tests} FROM (SELECT * FROM {as_text} LIMIT 200000)").fetchall()[0]
    texts = {name: "VARCHAR" for name, zeros in zip(names, found, strict=True) if zeros}
    types = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in texts)
    return f"read_csv({file}, {options}{f', types = {{{types}}}' if types else ''})"


def _arrow(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    try:
        import pyarrow as pa
    except ImportError:
        raise BadRequest(
            f"{path.name} is an Arrow file", hint="install pyarrow to read it, or convert it to Parquet"
        ) from None
    mapped = pa.memory_map(str(path))
    try:
        table = pa.ipc.open_file(mapped).read_all()
    except pa.ArrowInvalid:
        table = pa.ipc.open_stream(mapped).read_all()
    connection.register("arrow_table", table)
    return "arrow_table"


def _is_utf8(path: Path, compression: str | None) -> bool:
    with _decompressed(path, compression) if compression else path.open("rb") as stream:
        start = stream.read(_SNIFF_BYTES)
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character that the end of the sample cuts in two proves nothing.
        return error.start > len(start) - 4 and len(start) == _SNIFF_BYTES
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_of(expressions: list[str]) -> str:
    return f"coalesce({', '.join(expressions)})" if len(expressions) > 1 else f"({expressions[0]})"


def _path(name: str) -> str:
    """A JSON path to a top-level key, inside of a SQL text."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'$."{quoted}"'.replace("'", "''")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
