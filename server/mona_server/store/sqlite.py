"""How this server opens SQLite: WAL, durable commits, numbered migrations, one connection per thread.

Transactions are opened by hand: :func:`writing` takes the write lock at once (a deferred read-then-write
beside another writer fails instead of waiting), :func:`reading` gives several SELECTs one view.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mona_server.errors import CHECK_DISK, DataDamaged, MonaError, Overloaded, Unavailable

BUSY_TIMEOUT_MS = 60_000
_SCHEMAS = Path(__file__).parent / "schema"


class Witness:
    """A nameless file beside a database that tells after a commit whether the commit can be believed.

    While ext4 gives up its journal (a bad block, an error of the device), an fsync may return without an error although
    what it was for is lost: the write-back fails in the kernel's own thread, and nobody tells who waits for it. A plain
    loop of write and fsync shows it in one of twenty such failures (Linux 6.18). From that moment on no metadata can be
    changed, so one change that succeeds *after* the fsync says that the fsync told the truth. It takes 7 µs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0

    def confirm(self) -> None:
        """Raises what SQLite raises where a COMMIT meets a disk that takes no writes."""
        try:
            with self._lock:
                if self._file is None:
                    with tempfile.TemporaryFile(dir=self._folder) as file:
                        self._file = os.dup(file.fileno())
                self._size = self._size % 4096 + 1
                os.ftruncate(self._file, self._size)  # another length without a block: metadata alone
        except OSError as error:
            failure = sqlite3.OperationalError(f"disk I/O error, {error.strerror}")
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            failure.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
            raise failure from error

    def close(self) -> None:
        """Give the file back. The next commit makes a new one."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    __del__ = close


class Confirmed(sqlite3.Connection):
    """A connection whose write transactions (:func:`writing`) are confirmed by a witness."""

    witness: Witness


class _Own:
    """The connection of one thread. Closed when the thread ends: pools of threads come and go."""

    __slots__ = ("__weakref__", "connection")

    def __init__(self, connection: Confirmed) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """One SQLite file. ``connection`` is the calling thread's own; they are made on first use."""

    def __init__(
        self,
        path: Path,
        schema: str,
        *,
        page_bytes: int = 4096,
        cache_mib: int = 16,
        checkpoint_pages: int = 1000,
        mmap_mib: int = 0,
    ) -> None:
        """``schema`` names the folder of ``store/schema`` with the numbered migrations."""
        self.path = path
        self._pragmas = (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"page_size={page_bytes}",
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"cache_size={-cache_mib * 1024}",
            f"wal_autocheckpoint={checkpoint_pages}",
            # An unbounded WAL after one large transaction would never shrink.
            f"journal_size_limit={64 * 2**20}",
            f"mmap_size={mmap_mib * 2**20}",
            "temp_store=MEMORY",
            "foreign_keys=ON",
        )
        self._local = threading.local()
        self._all: weakref.WeakSet[_Own] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._witness = Witness(path.parent)
        with storage_errors(path):
            migrate(self.connection, schema)

    @property
    def connection(self) -> Confirmed:
        own: _Own | None = getattr(self._local, "own", None)
        if own is None:
            own = self._local.own = _Own(self.open())
            with self._lock:
                self._all.add(own)
        return own.connection

    def open(self) -> Confirmed:
        """A new connection that the caller closes; autocommit until a transaction is begun."""
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=256, factory=Confirmed
        )
        connection.witness = self._witness
        for pragma in self._pragmas:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def shrink(self, pages: int) -> None:
        """Give up to so many free pages back to the file system. A short write transaction, if there are any."""
        if self.connection.execute("PRAGMA freelist_count").fetchone()[0]:
            self.connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def close(self) -> None:
        with self._lock:
            for own in list(self._all):
                own.connection.close()
            self._all.clear()
        self._witness.close()
        self._local = threading.local()


def migrate(connection: Confirmed, schema: str) -> None:
    """Run the numbered migrations above ``user_version``, each in one transaction. Raises Unavailable if newer."""
    files = sorted((_SCHEMAS / schema).glob("*.sql"))
    newest = int(files[-1].stem)
    if connection.execute("PRAGMA user_version").fetchone()[0] == newest:
        return
    with writing(connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > newest:
            raise Unavailable(
                f"{schema}.db has schema {version}, this Mona knows {newest}",
                hint="start the version that wrote it, or a newer one",
            )
        for file in files:
            if int(file.stem) > version:
                for statement in _statements(file.read_text(encoding="utf-8")):
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version={newest}")


def _statements(script: str) -> Iterator[str]:
    # executescript() would commit the transaction that makes a migration whole.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def writing(connection: Confirmed) -> Iterator[Confirmed]:
    """A write transaction: all or nothing, durable when the block is left.

    Where it raises at its very end, the transaction may be kept or lost, as with any failed COMMIT.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
        connection.witness.confirm()
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Several SELECTs that see one state."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        connection.execute("COMMIT")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into ours: full disk, read-only, damaged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise explain(error, path) from error


def explain(error: sqlite3.Error, path: Path) -> MonaError:
    """What an SQLite error means for the people outside."""
    return storage_problem(error, path) or Unavailable(f"{path.name}: {error}")


def storage_problem(error: sqlite3.Error, path: Path) -> MonaError | None:
    """The same where the disk, the file or another writer is the cause; None for all else, such as a wrong statement."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return Overloaded("the disk is full", retry_after_s=30, hint="free space or lower storage.disk_budget")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DataDamaged(f"{path.name} is damaged", hint="run `mona verify`, or restore a backup")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM):
        return Unavailable(f"{path.name} cannot be written ({error})", hint=CHECK_DISK)
    if code == sqlite3.SQLITE_BUSY:
        return Overloaded(f"{path.name} is busy", retry_after_s=1)
    return None
