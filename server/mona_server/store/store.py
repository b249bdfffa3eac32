"""The data directory: opens the databases and answers what other rooms ask of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Engine

from mona_server.errors import BadRequest, file_errors
from mona_server.settings import Settings
from mona_server.store import catalog, lake, snapshot, state
from mona_server.store.inbox import HOUR_MS, Inbox
from mona_server.store.lake import LakeFile
from mona_server.store.meta import open_meta
from mona_server.store.snapshot import ChunkCache, FactSnapshot
from mona_server.store.state import State

log = structlog.get_logger(__name__)

_MOST_CHECKED = 10_000
"""So many files may be remembered as checked before those that are gone are forgotten."""


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A context class that has data."""

    name: str
    created_ms: int
    contexts: int
    """Number of contexts now."""
    first_day: int | None
    """First and last day with a context, days since 1970-01-01 of the context time; None where there is none."""
    last_day: int | None
    revision: int
    """Last revision that touched it."""


class Store:
    """Everything in one data directory. Safe for threads; several processes may open the same one."""

    def __init__(self, data_dir: Path, inbox: Inbox, state_: State, meta: Engine) -> None:
        self.data_dir = data_dir
        self.lake = data_dir / "lake"
        """Folder of the Parquet files; see :mod:`mona_server.store.lake`."""
        self.inbox = inbox
        self.state = state_
        self.meta = meta
        """SQLAlchemy engine of ``meta.db``: ``begin()`` to write, ``connect()`` to read."""
        self._chunks = ChunkCache()
        self._checked: set[int] = set()
        self._checked_most = _MOST_CHECKED

    @classmethod
    def open(cls, data_dir: Path | str, settings: Settings | None = None, *, folding: bool = False) -> Store:
        """Open a data directory, making or migrating what is missing or old.

        ``folding`` is for the process that folds: it reads and writes documents all over ``state.db``.
        Raises Unavailable where it cannot be written or a newer version wrote it, DataDamaged for a broken file.
        """
        data_dir = Path(data_dir)
        settings = settings or Settings(data_dir=data_dir)
        with file_errors(data_dir):
            (data_dir / "lake").mkdir(parents=True, exist_ok=True)
        limits = settings.limits
        store = cls(
            data_dir,
            Inbox(
                data_dir / "inbox.db",
                max_bytes=limits.max_inbox_bytes,
                max_keys=limits.max_idempotency_keys,
                keep_keys_ms=round(limits.idempotency_hours * HOUR_MS),
            ),
            State(data_dir / "state.db", folding=folding),
            open_meta(data_dir / "meta.db", settings.store.url),
        )
        store.mend_numbers()
        return store

    def mend_numbers(self) -> bool:
        """Lift the numbers of the inbox above all that are folded; True where they were not.

        That is so after a restore, whose inbox is older than its state, and where the end of ``inbox.db`` was lost: a
        number that the fold has passed would never be folded. The loss is noted for ``mona verify``.
        """
        folded = state.last_folded(self.state.connection)
        last = self.inbox.last_number()
        if last >= folded:
            return False
        self.inbox.lift_numbers(folded)
        log.warning("the end of inbox.db was lost", last=last, folded=folded)
        with self.state.writing() as connection:
            state.set_mark(connection, state.INBOX_LOST, f"number {last} was its last, {folded} is folded")
        return True

    def close(self) -> None:
        """Store what was submitted and close all files."""
        self.inbox.close()
        self.state.close()
        self.meta.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # --- reading facts ------------------------------------------------------------------------------

    def snapshot(self, tenant: str, context_class: str, as_of: int | None = None) -> FactSnapshot:
        """The facts of a class now, or those that were known at ``as_of`` (Unix ms).

        Raises NotFound for a class without data, BadRequest for an ``as_of`` before the horizon that is kept,
        DataDamaged for a file that is missing or not as it was written (its content is checked once per process).
        """
        found = self._take(tenant, context_class, as_of)
        self.check(found.files)
        return found

    def check(self, files: Iterable[LakeFile]) -> None:
        """Raises DataDamaged for a file that is missing or not as it was written; content is read once per process."""
        files = list(files)
        lake.check_presence(files)
        for file in files:
            if file.file_id not in self._checked:
                lake.check_content([file])
                self._checked.add(file.file_id)
        if len(self._checked) > self._checked_most:
            with self.state.reading() as connection:
                self._checked &= lake.numbers(connection)
            self._checked_most = len(self._checked) + _MOST_CHECKED

    def forget_flushed(self) -> None:
        """Drop what was decoded of rows that are in files now. A snapshot does so for its class; this does for those
        that nobody asks for again."""
        if self._chunks.rows:
            with self.state.reading() as connection:
                self._chunks.forget_before(snapshot.first_pending(connection))

    def snapshot_in(self, connection: sqlite3.Connection, tenant: str, context_class: str) -> FactSnapshot:
        """The facts of a class in the caller's read transaction, with no file checked."""
        return snapshot.take(connection, self.lake, self._chunks, tenant, context_class, None)

    def _take(self, tenant: str, context_class: str, as_of: int | None) -> FactSnapshot:
        with self.state.reading() as connection:
            revision = None
            if as_of is not None:
                revision = state.revision_at(connection, as_of)
                horizon = int(state.get_mark(connection, state.ASOF_HORIZON) or 0)
                if revision < horizon:
                    raise BadRequest("as_of is before the time that is kept", hint="see ingest.asof_days")
            return snapshot.take(connection, self.lake, self._chunks, tenant, context_class, revision)

    def classes(self, tenant: str) -> list[ClassInfo]:
        """The classes of a tenant that have data, by name."""
        with self.state.reading() as connection:
            rows = connection.execute(
                "SELECT name, created_ms, coalesce(sum(contexts), 0), min(CASE WHEN contexts > 0 THEN day END),"
                " max(CASE WHEN contexts > 0 THEN day END), coalesce(max(revision), 0)"
                " FROM classes LEFT JOIN days USING (class_id) WHERE tenant = ? GROUP BY class_id ORDER BY name",
                (tenant,),
            ).fetchall()
        return [ClassInfo(*row) for row in rows]

    def tenants(self) -> list[str]:
        """The tenants that have data."""
        return [row[0] for row in self.state.connection.execute("SELECT DISTINCT tenant FROM classes ORDER BY tenant")]

    def changed_days(self, tenant: str, context_class: str, since_revision: int) -> list[int]:
        """The days (since 1970-01-01, of the context time) that got rows after a revision, ascending."""
        with self.state.reading() as connection:
            class_id = catalog.find_class(connection, tenant, context_class)
            rows = connection.execute(
                "SELECT day FROM days WHERE class_id = ? AND revision > ? ORDER BY day", (class_id, since_revision)
            ).fetchall()
        return [row[0] for row in rows]

    def newest_revision(self) -> int:
        """The last revision that was given; 0 before the first."""
        return snapshot.newest_revision(self.state.connection)
