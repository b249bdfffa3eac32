"""``state.db``: documents, pending rows, the manifest. Two writers, fold and lake, both in short transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mona_server.store.sqlite import Database, reading, storage_errors, writing

ASOF_HORIZON = "asof_horizon"
"""Mark: the oldest revision that can still be read as of."""

KEEP_FILES_UNTIL = "keep_files_until"
"""Mark: no file of the lake is removed before this time (Unix ms), because a backup copies them."""

INBOX_LOST = "inbox_lost"
"""Mark: ``inbox.db`` was found to be older than this database, and how much."""

REPORT_DAYS = 90
"""How long the ingestion report is kept."""


class State:
    """Connections to ``state.db`` and the statements that several parts share. Safe for threads."""

    def __init__(self, path: Path, *, folding: bool = False) -> None:
        self.path = path
        # Mapped reads save the fold a fifth of its time at ten million documents (benchmarks/ingest.py). The others
        # read little, and a damaged disk must give them an error rather than end them.
        self.database = Database(
            path,
            "state",
            page_bytes=4096,
            cache_mib=64 if folding else 8,
            checkpoint_pages=16_000,
            mmap_mib=2_000 if folding else 0,
        )

    @property
    def connection(self) -> sqlite3.Connection:
        """The calling thread's own connection."""
        return self.database.connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A durable transaction, all or nothing. Raises our errors for a full or damaged disk."""
        with storage_errors(self.path), writing(self.database.connection) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Several SELECTs that see one state."""
        with storage_errors(self.path), reading(self.connection) as connection:
            yield connection

    def close(self) -> None:
        self.database.close()


def keep_house(state: State, now_ms: int) -> None:
    """Drop old hours of the report; give space that deletes left back to the file system, a little at a time."""
    with state.writing() as connection:
        connection.execute("DELETE FROM report WHERE hour_ms < ?", (now_ms - REPORT_DAYS * 24 * 3_600_000,))
    state.database.shrink(pages=5_000)


# Statements below run in the caller's transaction.


def next_revision(connection: sqlite3.Connection, at_ms: int) -> int:
    """A new revision: greater than all before it, of all tenants."""
    return int(
        connection.execute("INSERT INTO revisions (at_ms) VALUES (?) RETURNING revision", (at_ms,)).fetchone()[0]
    )


def revision_at(connection: sqlite3.Connection, at_ms: int) -> int:
    """The newest revision that was there at a time; one below the first where there was none yet."""
    row = connection.execute(
        "SELECT revision FROM revisions WHERE at_ms <= ? ORDER BY revision DESC LIMIT 1", (at_ms,)
    ).fetchone()
    if row is not None:
        return int(row[0])
    row = connection.execute("SELECT min(revision) FROM revisions").fetchone()
    return int(row[0]) - 1 if row[0] is not None else 0


def folded_number(connection: sqlite3.Connection, tenant: str) -> int:
    """The last inbox number of a tenant that is folded; 0 before the first."""
    row = connection.execute("SELECT number FROM folded WHERE tenant = ?", (tenant,)).fetchone()
    return row[0] if row else 0


def last_folded(connection: sqlite3.Connection) -> int:
    """The highest inbox number that is folded, of all tenants; 0 before the first."""
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM folded").fetchone()[0])


def set_folded(connection: sqlite3.Connection, tenant: str, number: int) -> None:
    """Everything of the tenant up to this inbox number is folded."""
    connection.execute(
        "INSERT INTO folded VALUES (?, ?) ON CONFLICT DO UPDATE SET number = excluded.number", (tenant, number)
    )


def add_pending(
    connection: sqlite3.Connection, kind: str, class_id: int, revision: int, rows: int, body: bytes
) -> None:
    """Append a chunk of ``facts`` or ``messages``."""
    connection.execute(
        "INSERT INTO pending (kind, class_id, revision, rows, body) VALUES (?, ?, ?, ?, ?)",
        (kind, class_id, revision, rows, body),
    )
    book(connection, kind, class_id, rows)


def remove_pending(connection: sqlite3.Connection, chunk_ids: Iterable[int]) -> None:
    """Chunks whose rows are in a file now."""
    for chunk_id in chunk_ids:
        kind, class_id, rows = connection.execute(
            "DELETE FROM pending WHERE chunk_id = ? RETURNING kind, class_id, rows", (chunk_id,)
        ).fetchone()
        book(connection, kind, class_id, -rows)


def book(connection: sqlite3.Connection, kind: str, class_id: int, rows: int) -> None:
    """The number of rows of a class changes by ``rows``."""
    connection.execute(
        "INSERT INTO ledger VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows",
        (kind, class_id, rows),
    )


def check_ledger(connection: sqlite3.Connection, kind: str, class_id: int) -> str | None:
    """What is wrong with the number of rows of a class in files and pending chunks; None when it is right."""
    expected, found = connection.execute(
        "SELECT (SELECT rows FROM ledger WHERE kind = :kind AND class_id = :class_id),"
        " (SELECT coalesce(sum(rows), 0) FROM files WHERE kind = :kind AND class_id = :class_id AND removed_ms IS NULL)"
        " + (SELECT coalesce(sum(rows), 0) FROM pending WHERE kind = :kind AND class_id = :class_id)",
        {"kind": kind, "class_id": class_id},
    ).fetchone()
    return None if found == (expected or 0) else f"{found} rows of {kind} are listed, not {expected or 0}"


def settle_ledger(connection: sqlite3.Connection, kind: str, class_id: int) -> None:
    """Take what is listed as right."""
    connection.execute(
        "INSERT OR REPLACE INTO ledger SELECT :kind, :class_id,"
        " (SELECT coalesce(sum(rows), 0) FROM files WHERE kind = :kind AND class_id = :class_id AND removed_ms IS NULL)"
        " + (SELECT coalesce(sum(rows), 0) FROM pending WHERE kind = :kind AND class_id = :class_id)",
        {"kind": kind, "class_id": class_id},
    )


def touch_days(connection: sqlite3.Connection, class_id: int, revision: int, contexts: Mapping[int, int]) -> None:
    """Days of a class that got rows, each with the change of its number of contexts."""
    connection.executemany(
        "INSERT INTO days VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET revision = excluded.revision, contexts = contexts + excluded.contexts",
        [(class_id, day, revision, change) for day, change in contexts.items()],
    )


def add_erasure(connection: sqlite3.Connection, class_id: int, revision: int, ids: Sequence[str] | None) -> None:
    """All rows of these contexts (None = of the class) up to a revision must leave the lake, see ``erase``."""
    connection.execute(
        "INSERT INTO erasures (class_id, revision, ids) VALUES (?, ?, ?)",
        (class_id, revision, None if ids is None else json.dumps(ids)),
    )


def erased_up_to(connection: sqlite3.Connection, class_id: int, context_id: str) -> int:
    """The revision up to which rows of a context still wait to be erased; -1 where none do. Readers skip them."""
    row = connection.execute(
        "SELECT max(revision) FROM erasures WHERE class_id = ?"
        " AND (ids IS NULL OR EXISTS (SELECT 1 FROM json_each(ids) WHERE value = ?))",
        (class_id, context_id),
    ).fetchone()
    return -1 if row[0] is None else int(row[0])


def get_mark(connection: sqlite3.Connection, name: str) -> str | None:
    """A single stored value."""
    row = connection.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def set_mark(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Store a single value."""
    connection.execute(
        "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
    )


def remove_mark(connection: sqlite3.Connection, name: str) -> None:
    """Forget a single stored value."""
    connection.execute("DELETE FROM marks WHERE name = ?", (name,))


def add_report(connection: sqlite3.Connection, rows: Iterable[tuple[str, str, int, str, str, int, str]]) -> None:
    """Add to the ingestion report: (tenant, class, hour, what, item, count, example ids as JSON)."""
    connection.executemany(
        "INSERT INTO report VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
        rows,
    )
