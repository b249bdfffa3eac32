"""The lake: Parquet files below ``lake/``, written by DuckDB, listed in the manifest (``files`` in ``state.db``).

A file is written under its final name, fsynced with its folder, and only then listed; a crash in between leaves
a file that no manifest row names, which :func:`sweep` removes. A file is never changed. One that was replaced
stays for a grace period longer than any query.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from mona_server.errors import DataDamaged
from mona_server.store import state
from mona_server.store.rows import DAY_MS, Columns

ROW_GROUP_ROWS = 65_536
GRACE_MS = 15 * 60_000
_FILE_COLUMNS = (
    "file_id, kind, class_id, path, rows, bytes, checksum, min_time_ms, max_time_ms, min_revision, max_revision,"
    " columns, level, minus, settled, added_ms, removed_ms"
)


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One file of the manifest."""

    file_id: int
    kind: str
    class_id: int
    path: Path
    """Absolute in a snapshot; relative to the lake in :class:`NewFile`."""
    rows: int
    bytes: int
    checksum: str
    min_time_ms: int
    max_time_ms: int
    min_revision: int
    max_revision: int
    columns: tuple[str, ...]
    level: int
    """0 = flushed, 1 = compacted."""
    minus: int
    """Rows with sign -1."""
    settled: int
    """Pairs that were cancelled by a revision up to this one have been looked for, and dropped."""
    added_ms: int
    removed_ms: int | None = None

    @property
    def days(self) -> tuple[int, int]:
        """First and last day of its rows."""
        return self.min_time_ms // DAY_MS, self.max_time_ms // DAY_MS


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is written and durable, and not yet listed."""

    kind: str
    class_id: int
    path: str
    rows: int
    bytes: int
    checksum: str
    min_time_ms: int
    max_time_ms: int
    min_revision: int
    max_revision: int
    columns: tuple[str, ...]
    level: int
    minus: int
    settled: int


def engine(*, threads: int = 1, memory: str = "512MB", spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection that never goes to the network for an extension."""
    connection = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": memory,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute("SET enable_progress_bar = false")
    if spill is not None:
        connection.execute(f"SET temp_directory = {quote(str(spill))}")
    return connection


def quote(text: str) -> str:
    """An SQL text literal."""
    return "'" + text.replace("'", "''") + "'"


def name(column: str) -> str:
    """An SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def write_columns(
    duck: duckdb.DuckDBPyConnection,
    lake: Path,
    kind: str,
    class_id: int,
    columns: Columns,
    types: dict[str, str],
    *,
    order: str,
) -> NewFile:
    """Write columns that are in memory as one durable file, sorted by ``order`` (SQL)."""
    casts = ", ".join(f"CAST({name(c)} AS {t}) AS {name(c)}" for c, t in types.items())
    duck.register("pending_rows", columns)
    try:
        return write_query(duck, lake, kind, class_id, f"SELECT {casts} FROM pending_rows", order=order, level=0)
    finally:
        duck.unregister("pending_rows")


def write_query(
    duck: duckdb.DuckDBPyConnection,
    lake: Path,
    kind: str,
    class_id: int,
    query: str,
    *,
    order: str,
    level: int,
    settled: int = 0,
) -> NewFile:
    """Write the rows of a query as one durable file, sorted by ``order`` (SQL). There must be a row."""
    folder = lake / kind / str(class_id)
    make_folder(folder, lake)
    path = folder / f"{uuid.uuid4().hex}.parquet"
    duck.execute(
        f"COPY ({query} ORDER BY {order}) TO {quote(str(path))}"
        f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
    )
    sync(path)
    sync(folder)
    time = "MONA_TIMESTAMP" if kind == "facts" else "MONA_ARRIVAL_TIMESTAMP"
    minus = "count(*) FILTER (WHERE MONA_SIGN < 0)" if kind == "facts" else "0"
    row = duck.execute(
        f"SELECT count(*), min({time}), max({time}), min(MONA_REVISION), max(MONA_REVISION), {minus}"
        f" FROM read_parquet({quote(str(path))})"
    ).fetchone()
    assert row is not None
    described = duck.execute(f"DESCRIBE SELECT * FROM read_parquet({quote(str(path))})").fetchall()
    return NewFile(
        kind=kind,
        class_id=class_id,
        path=str(path.relative_to(lake)),
        rows=row[0],
        bytes=path.stat().st_size,
        checksum=checksum(path),
        min_time_ms=row[1],
        max_time_ms=row[2],
        min_revision=row[3],
        max_revision=row[4],
        columns=tuple(column[0] for column in described),
        level=level,
        minus=row[5],
        settled=settled,
    )


def make_folder(folder: Path, lake: Path) -> None:
    """Make a folder below the lake, durably."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for parent in (folder, *folder.parents):
        sync(parent.parent)
        if parent == lake:
            break


def sync(path: Path) -> None:
    """fsync of a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the manifest; functions run in the caller's transaction ---------------------------------------------


def live(connection: sqlite3.Connection, lake: Path, kind: str, class_id: int) -> list[LakeFile]:
    """The files of a class that count now, oldest rows first."""
    rows = connection.execute(
        f"SELECT {_FILE_COLUMNS} FROM files WHERE kind = ? AND class_id = ? AND removed_ms IS NULL"
        " ORDER BY min_time_ms, file_id",
        (kind, class_id),
    )
    return [_file(row, lake) for row in rows]


def all_live(connection: sqlite3.Connection, lake: Path) -> list[LakeFile]:
    """All files that count now."""
    rows = connection.execute(f"SELECT {_FILE_COLUMNS} FROM files WHERE removed_ms IS NULL ORDER BY file_id")
    return [_file(row, lake) for row in rows]


def add(connection: sqlite3.Connection, files: Iterable[NewFile], now_ms: int) -> None:
    """List files that are durable."""
    files = list(files)
    for file in files:
        state.book(connection, file.kind, file.class_id, file.rows)
    connection.executemany(
        "INSERT INTO files (kind, class_id, path, rows, bytes, checksum, min_time_ms, max_time_ms, min_revision,"
        " max_revision, columns, level, minus, settled, added_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                f.kind,
                f.class_id,
                f.path,
                f.rows,
                f.bytes,
                f.checksum,
                f.min_time_ms,
                f.max_time_ms,
                f.min_revision,
                f.max_revision,
                json.dumps(f.columns, ensure_ascii=False),
                f.level,
                f.minus,
                f.settled,
                now_ms,
            )
            for f in files
        ],
    )


def retire(connection: sqlite3.Connection, file_ids: Sequence[int], now_ms: int) -> None:
    """From now on these files do not count; they stay on disk for the grace period."""
    for file_id in file_ids:
        row = connection.execute(
            "UPDATE files SET removed_ms = ? WHERE file_id = ? AND removed_ms IS NULL RETURNING kind, class_id, rows",
            (now_ms, file_id),
        ).fetchone()
        if row is not None:
            state.book(connection, row[0], row[1], -row[2])


def sweep(connection: sqlite3.Connection, lake: Path, now_ms: int, *, grace_ms: int = GRACE_MS) -> int:
    """Remove files whose grace period is over, and files that a crash left unlisted. Returns bytes freed.

    Opens its own transaction: the files go first, then their rows, so a crash in between is only seen twice.
    """
    freed = 0
    if now_ms < int(state.get_mark(connection, state.KEEP_FILES_UNTIL) or 0):
        return freed
    old = connection.execute(
        "SELECT file_id, path, bytes FROM files WHERE removed_ms IS NOT NULL AND removed_ms <= ?", (now_ms - grace_ms,)
    ).fetchall()
    for _, path, size in old:
        (lake / path).unlink(missing_ok=True)
        freed += size
    if old:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM files WHERE file_id = ?", [(file_id,) for file_id, _, _ in old])
        connection.execute("COMMIT")
    return freed


def numbers(connection: sqlite3.Connection) -> set[int]:
    """The ids of all files of the manifest, those that wait for the end of their grace period included."""
    return {row[0] for row in connection.execute("SELECT file_id FROM files")}


def unlisted(connection: sqlite3.Connection, lake: Path) -> list[Path]:
    """Parquet files of facts and messages that the manifest does not name."""
    listed = {row[0] for row in connection.execute("SELECT path FROM files")}
    return [
        path
        for kind in ("facts", "messages")
        for path in sorted((lake / kind).glob("*/*.parquet"))
        if str(path.relative_to(lake)) not in listed
    ]


def check_presence(files: Iterable[LakeFile]) -> None:
    """Raises DataDamaged where a listed file is missing or has another size: an engine may ignore that silently."""
    for file in files:
        problem = damage(file, content=False)
        if problem:
            raise DataDamaged(f"lake file {file.path.name} {problem}", hint="run `mona verify`")


def check_content(files: Iterable[LakeFile]) -> None:
    """Raises DataDamaged where a file is not as it was written: rewriting it would give damage a good checksum."""
    for file in files:
        problem = damage(file)
        if problem:
            raise DataDamaged(f"lake file {file.path.name} {problem}", hint="run `mona verify`")


def damage(file: LakeFile, *, content: bool = True) -> str | None:
    """What is wrong with a listed file, compared with the manifest; None when it is as it was written."""
    try:
        size = file.path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    if size != file.bytes:
        return f"has {size} bytes, not {file.bytes}"
    if content and checksum(file.path) != file.checksum:
        return "has another checksum than when it was written"
    return None


def check_rows(files: Sequence[LakeFile], rows: int) -> None:
    """Raises DataDamaged where an engine read another number of rows than the manifest says."""
    expected = sum(file.rows for file in files)
    if rows != expected:
        raise DataDamaged(f"{len(files)} lake files hold {rows} rows, not {expected}", hint="run `mona verify`")


def _file(row: tuple[object, ...], lake: Path) -> LakeFile:
    values = list(row)
    values[3] = lake / str(row[3])
    values[11] = tuple(json.loads(str(row[11])))
    return LakeFile(*values)  # type: ignore[arg-type]
