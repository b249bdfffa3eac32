"""What a query reads: the files and pending rows of one class at one moment, now or as it was known then."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from mona_server.errors import DataDamaged, NotFound
from mona_server.store import catalog, lake, state
from mona_server.store.lake import LakeFile
from mona_server.store.rows import Columns, PhysicalColumn, column_types, concatenate, fact_columns


@dataclass(frozen=True, slots=True)
class FactSnapshot:
    """Facts of one class. The rows are those of ``files`` and of ``pending`` together, ``revision`` bounds both.

    For an as-of read the rows must be filtered by ``MONA_REVISION <= revision``: files and pending rows may hold
    newer ones. ``filtered`` says whether that matters.
    """

    tenant: str
    context_class: str
    revision: int
    """The newest revision that counts."""
    filtered: bool
    """True for an as-of read: apply ``MONA_REVISION <= revision``."""
    files: tuple[LakeFile, ...]
    """Live files, oldest rows first. Read them with ``union_by_name``; a column may be in none of them."""
    pending: Columns = field(repr=False)
    """Rows not in a file yet, every column of ``types`` present: masked arrays for numbers and booleans, object
    arrays with None for texts and lists. Cast the latter (an all-None column has no type)."""
    pending_rows: int
    columns: tuple[PhysicalColumn, ...]
    """Field and type → physical column. A field that changed its type has several."""
    types: dict[str, str]
    """Physical column → SQL type, reserved columns first, ``<physical>[]`` included."""

    def column(self, field_name: str, type_: str) -> PhysicalColumn | None:
        """Where a field of this type is stored; None where no row has it."""
        return next((c for c in self.columns if c.field == field_name and c.type == type_), None)

    @property
    def file_rows(self) -> int:
        """Rows that the files must have together; a query that reads fewer must fail (:meth:`check`)."""
        return sum(file.rows for file in self.files)

    def check(self, rows_read: int) -> None:
        """Compare the rows that an engine saw in the files with the manifest. Raises DataDamaged."""
        if rows_read != self.file_rows:
            raise DataDamaged(
                f"the files of class {self.context_class} hold {rows_read} rows, the manifest says {self.file_rows}",
                hint="run `mona verify`",
            )


class ChunkCache:
    """Decoded pending chunks: several queries a second read the same ones until they are flushed."""

    def __init__(self, max_rows: int = 1_000_000) -> None:
        self._max_rows = max_rows
        self.rows = 0
        """Rows that are held."""
        self._parts: OrderedDict[tuple[int, int, str], Columns] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, class_id: int, chunk_id: int, shape: str) -> Columns | None:
        with self._lock:
            part = self._parts.get((class_id, chunk_id, shape))
            if part is not None:
                self._parts.move_to_end((class_id, chunk_id, shape))
            return part

    def put(self, class_id: int, chunk_id: int, shape: str, part: Columns) -> None:
        with self._lock:
            if (class_id, chunk_id, shape) in self._parts:
                return
            self._parts[class_id, chunk_id, shape] = part
            self.rows += len(part["MONA_ID"])
            while self.rows > self._max_rows and len(self._parts) > 1:
                self._drop(next(iter(self._parts)))

    def forget_flushed(self, class_id: int, pending: Collection[int], shape: str) -> None:
        """Drop the chunks of a class that are not pending any more, or were decoded for other columns."""
        with self._lock:
            for key in [key for key in self._parts if key[0] == class_id]:
                if key[1] not in pending or key[2] != shape:
                    self._drop(key)

    def forget_before(self, first: int | None) -> None:
        """Drop the chunks of all classes below the first one that is pending; None: nothing is.

        A flush takes the oldest, whatever their class, and nobody may ask for that class again.
        """
        with self._lock:
            for key in [key for key in self._parts if first is None or key[1] < first]:
                self._drop(key)

    def _drop(self, key: tuple[int, int, str]) -> None:
        self.rows -= len(self._parts.pop(key)["MONA_ID"])


def take(
    connection: sqlite3.Connection,
    lake_dir: Path,
    cache: ChunkCache,
    tenant: str,
    context_class: str,
    revision: int | None,
) -> FactSnapshot:
    """Read a snapshot in the caller's transaction. Raises NotFound for a class without data."""
    class_id = catalog.find_class(connection, tenant, context_class)
    if class_id is None:
        raise NotFound(f"context class {context_class} has no data")
    problem = state.check_ledger(connection, "facts", class_id)
    if problem:
        raise DataDamaged(f"context class {context_class}: {problem}", hint="run `mona verify`")
    newest = newest_revision(connection)
    columns = catalog.read_columns(connection, class_id)
    files = lake.live(connection, lake_dir, "facts", class_id)
    chunks = connection.execute(
        "SELECT chunk_id, revision FROM pending WHERE kind = 'facts' AND class_id = ? ORDER BY chunk_id", (class_id,)
    ).fetchall()
    layouts = catalog.read_layouts(connection, class_id)
    shape = repr(columns)
    cache.forget_flushed(class_id, {chunk_id for chunk_id, _ in chunks}, shape)
    parts = []
    for chunk_id, chunk_revision in chunks:
        if revision is not None and chunk_revision > revision:
            continue
        part = cache.get(class_id, chunk_id, shape)
        if part is None:
            body = connection.execute("SELECT body FROM pending WHERE chunk_id = ?", (chunk_id,)).fetchone()[0]
            part = fact_columns([(chunk_revision, body)], layouts, columns)
            cache.put(class_id, chunk_id, shape, part)
        parts.append(part)
    pending = concatenate(parts) if parts else fact_columns([], layouts, columns)
    if revision is not None:
        files = [file for file in files if file.min_revision <= revision]
    return FactSnapshot(
        tenant=tenant,
        context_class=context_class,
        revision=newest if revision is None else min(revision, newest),
        filtered=revision is not None,
        files=tuple(files),
        pending=pending,
        pending_rows=len(pending["MONA_ID"]),
        columns=tuple(columns),
        types=column_types(columns),
    )


def first_pending(connection: sqlite3.Connection) -> int | None:
    """The lowest number of a chunk that is in no file yet, of all classes and kinds; None where all are."""
    number: int | None = connection.execute("SELECT min(chunk_id) FROM pending").fetchone()[0]
    return number


def newest_revision(connection: sqlite3.Connection) -> int:
    """The last revision that was given; 0 before the first."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'revisions'").fetchone()
    return row[0] if row else 0
