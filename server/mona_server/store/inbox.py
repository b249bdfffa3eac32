"""The inbox: accepted request bodies, in order, durable before they are acknowledged.

Many requests share one fsync: :meth:`Inbox.submit` hands a body to a writer thread, which stores everything
that waits in one transaction and then resolves the futures. An idempotency key is looked up and stored in the
same transaction, so two requests with one key are serialised and the second gets the first one's answer.

The fold reads rows per tenant in order and forgets them once ``state.db`` says that they are folded; forgetting
may happen late, and twice.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from mona_server.errors import MonaError, Overloaded, Unavailable
from mona_server.store import idempotency
from mona_server.store.idempotency import Key, KeyReused, StoredAnswer
from mona_server.store.sqlite import Confirmed, Database, explain, reading, storage_errors, writing

HOUR_MS = 3_600_000
_GROUP_BYTES = 32 * 2**20
_GROUP_REQUESTS = 1_000
_HOUSEKEEPING_S = 60.0
_FORGETS_PER_CHECKPOINT = 8


@dataclass(frozen=True, slots=True)
class Accepted:
    """One request whose envelope was read and found good."""

    tenant: str
    body: bytes
    """Decompressed, as received."""
    arrival_ms: int
    messages: int
    """How many messages the body holds, refused ones included."""
    limits: str = ""
    """Text form of the limits that the envelope was read with."""
    key: Key | None = None
    answer: bytes | None = None
    """The answer to keep for a repeat; None = all messages accepted."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The acknowledgement: the body is fsynced."""

    number: int | None
    """Its place in the inbox; None for a repeated request, which stored nothing."""
    replayed: StoredAnswer | None = None
    """The first answer, where the key was known."""


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One accepted body that waits for the fold."""

    number: int
    arrival_ms: int
    limits: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is accepted and not yet folded."""

    rows: int
    bytes: int
    oldest_arrival_ms: int | None


class Inbox:
    """``inbox.db``. Safe for threads; several processes may append."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 2 * 2**30,
        max_keys: int = 20_000_000,
        keep_keys_ms: int = 48 * HOUR_MS,
    ) -> None:
        self.path = path
        # A checkpoint by the writer holds up acknowledgements. Under full load the slowest one in a hundred takes 119 ms with
        # checkpoints of 32 MiB, and 206 ms with 128 MiB.
        self._database = Database(path, "inbox", page_bytes=16_384, cache_mib=8, checkpoint_pages=2_000)
        self._max_bytes = max_bytes
        self._max_keys = max_keys
        self._keep_keys_ms = keep_keys_ms
        self._queue: SimpleQueue[tuple[Accepted, Future[Receipt]] | None] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self._start = threading.Lock()
        self._closed = False
        self._housekeeping_at = 0.0
        self._checked_at = 0.0
        self._refusal: Overloaded | None = None
        self._folded_bytes: tuple[float, int] = (0.0, 0)
        self._forgotten = 0
        self._failing = False
        self.keys_dropped_early = 0

    # --- accepting -----------------------------------------------------------------------------------

    def submit(self, accepted: Accepted) -> Future[Receipt]:
        """A future that resolves when the body is fsynced (``asyncio.wrap_future`` makes it awaitable).

        It raises KeyReused (another body had this key), Overloaded (backlog or disk full) or Unavailable.
        """
        if self._closed:
            raise Unavailable("the inbox is closed")
        if self._writer is None:
            with self._start:
                if self._writer is None:
                    self._writer = threading.Thread(target=self._write_groups, name="inbox-writer", daemon=True)
                    self._writer.start()
        future: Future[Receipt] = Future()
        self._queue.put((accepted, future))
        return future

    def append(self, accepted: Sequence[Accepted]) -> list[Receipt]:
        """Store all of them and wait until they are durable. Raises as :meth:`submit`."""
        return [future.result() for future in [self.submit(item) for item in accepted]]

    def replay(self, key: Key) -> StoredAnswer | None:
        """The first answer to this key, if it is known: spares parsing a repeat. Raises KeyReused."""
        connection = self._database.connection
        with reading(connection):
            return idempotency.find(connection, key, idempotency.periods(connection))

    def close(self) -> None:
        """Store what was submitted, then stop."""
        self._closed = True
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
        self._database.close()

    def _write_groups(self) -> None:
        connection = self._database.open()
        last = False
        while not last:
            item = self._queue.get()
            group: list[tuple[Accepted, Future[Receipt]]] = []
            size = 0
            while True:
                if item is None:
                    last = True
                    break
                group.append(item)
                size += len(item[0].body)
                if size >= _GROUP_BYTES or len(group) >= _GROUP_REQUESTS or self._queue.empty():
                    break
                item = self._queue.get()
            if group:
                self._write_group(connection, group)
        connection.close()

    def _write_group(self, connection: Confirmed, group: list[tuple[Accepted, Future[Receipt]]]) -> None:
        results: list[Receipt | MonaError]
        try:
            refusal = self._overload(connection)
            if refusal is not None:
                results = [refusal] * len(group)
            else:
                with writing(connection):
                    results = self._store(connection, [accepted for accepted, _ in group])
                self._failing = False
        except sqlite3.Error as error:
            problem = explain(error, self.path)
            self._failing = not isinstance(problem, Overloaded)
            results = [problem] * len(group)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: every future must resolve
            results = [Unavailable(f"the inbox failed: {error!r}")] * len(group)
        for (_, future), result in zip(group, results, strict=True):
            if isinstance(result, MonaError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _store(self, connection: sqlite3.Connection, group: Iterable[Accepted]) -> list[Receipt | MonaError]:
        results: list[Receipt | MonaError] = []
        known: list[int] | None = None
        row = connection.execute("SELECT total_bytes FROM inbox ORDER BY number DESC LIMIT 1").fetchone()
        total = row[0] if row else 0
        for item in group:
            if item.key is not None:
                if known is None:
                    known = idempotency.periods(connection)
                try:
                    stored = idempotency.find(connection, item.key, known)
                except KeyReused as error:
                    results.append(error)
                    continue
                if stored is not None:
                    connection.execute(
                        "INSERT INTO replays VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE"
                        " SET requests = requests + 1, messages = messages + excluded.messages",
                        (item.tenant, item.arrival_ms // HOUR_MS * HOUR_MS, item.messages),
                    )
                    results.append(Receipt(None, stored))
                    continue
                idempotency.remember(connection, item.key, item.messages, item.answer, item.arrival_ms, known)
            total += len(item.body)
            number = connection.execute(
                "INSERT INTO inbox (tenant, arrival_ms, limits, total_bytes, body) VALUES (?, ?, ?, ?, ?)",
                (item.tenant, item.arrival_ms, item.limits, total, item.body),
            ).lastrowid
            results.append(Receipt(number))
            self._housekeep(connection, item.arrival_ms)
        return results

    def _housekeep(self, connection: sqlite3.Connection, now_ms: int) -> None:
        if time.monotonic() - self._housekeeping_at < _HOUSEKEEPING_S:
            return
        self._housekeeping_at = time.monotonic()
        self.keys_dropped_early += idempotency.expire(connection, now_ms, self._keep_keys_ms, self._max_keys)
        connection.execute("DELETE FROM replays WHERE hour_ms < ?", (now_ms - 90 * 24 * HOUR_MS,))

    def _overload(self, connection: sqlite3.Connection) -> Overloaded | None:
        """Why nothing more can be taken now; looked up at most ten times a second."""
        now = time.monotonic()
        if now - self._checked_at < 0.1:
            return self._refusal
        self._checked_at = now
        self._refusal = None
        row = connection.execute(_ENDS).fetchone()
        if row[1] is not None:
            waiting = row[2] - row[1]
            if waiting > self._max_bytes:
                seconds = self._seconds_until_free(now, row[1], waiting)
                self._refusal = Overloaded("more is waiting to be folded than allowed", retry_after_s=seconds)
                return self._refusal
            self._folded_bytes = (now, row[1])
        usage = shutil.disk_usage(self.path.parent)
        if usage.free < min(256 * 2**20, usage.total // 50):
            self._refusal = Overloaded("the disk is full", retry_after_s=30, hint="free space on the data volume")
        return self._refusal

    def _seconds_until_free(self, now: float, folded: int, waiting: int) -> int:
        """From the speed of the fold since the backlog grew too large; 1 to 60 s."""
        since, before = self._folded_bytes
        rate = (folded - before) / max(now - since, 0.1)
        return round(min(60.0, max(1.0, (waiting - self._max_bytes) / rate if rate > 0 else 60.0)))

    # --- folding -------------------------------------------------------------------------------------

    def tenants(self) -> list[str]:
        """The tenants with rows, by one index step each."""
        return [row[0] for row in self._database.connection.execute(_TENANTS)]

    def read(self, tenant: str, after: int, *, max_rows: int = 1_000, max_bytes: int = 16 * 2**20) -> list[InboxRow]:
        """The next rows of a tenant above number ``after``; at least one if there is one, then up to the bounds."""
        rows = []
        size = 0
        cursor = self._database.connection.execute(
            "SELECT number, arrival_ms, limits, body FROM inbox WHERE tenant = ? AND number > ? ORDER BY number LIMIT ?",
            (tenant, after, max_rows),
        )
        for row in cursor:
            rows.append(InboxRow(*row))
            size += len(row[3])
            if size >= max_bytes:
                break
        cursor.close()
        return rows

    def forget(self, tenant: str, up_to: int) -> int:
        """Remove rows that are folded; returns how many. Not fsynced by itself: a repeat is harmless."""
        connection = self._database.connection
        connection.execute("PRAGMA synchronous=NORMAL")
        try:
            with storage_errors(self.path), writing(connection):
                removed = connection.execute(
                    "DELETE FROM inbox WHERE tenant = ? AND number <= ?", (tenant, up_to)
                ).rowcount
        finally:
            connection.execute("PRAGMA synchronous=FULL")
        self._forgotten += 1
        if self._forgotten % _FORGETS_PER_CHECKPOINT == 0:
            # Here nobody waits for an acknowledgement; the writer thread checkpoints only when this falls behind.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return removed

    def shrink(self) -> None:
        """Give free pages back to the file system. For idle moments."""
        self._database.shrink(pages=1_000)

    def data_version(self) -> int:
        """Changes when another connection has committed: the cheapest way to wait for news."""
        version: int = self._database.connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    # --- looking -------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise why bodies cannot be stored.

        Anybody may ask, so this writes only while the last write failed: then it tries again.
        """
        connection = self._database.connection
        with storage_errors(self.path):
            if self._failing:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                with writing(connection):
                    connection.execute(f"PRAGMA user_version={version}")
                self._failing = False
            connection.execute(_ENDS).fetchone()

    def backlog(self) -> Backlog:
        """How much waits for the fold."""
        connection = self._database.connection
        with reading(connection):
            first, before, last_total, last = connection.execute(_ENDS).fetchone()
            if first is None:
                return Backlog(0, 0, None)
            arrival = connection.execute("SELECT arrival_ms FROM inbox WHERE number = ?", (first,)).fetchone()[0]
        return Backlog(last - first + 1, last_total - before, arrival)

    def replays(self, tenant: str, from_ms: int, to_ms: int) -> list[tuple[int, int, int]]:
        """(hour, requests, messages) that were answered from memory, by hour."""
        return self._database.connection.execute(
            "SELECT hour_ms, requests, messages FROM replays WHERE tenant = ? AND hour_ms >= ? AND hour_ms < ?"
            " ORDER BY hour_ms",
            (tenant, from_ms, to_ms),
        ).fetchall()

    def keys(self) -> tuple[int, int]:
        """Idempotency keys that are kept, and how many this process dropped early because there were too many."""
        row = self._database.connection.execute("SELECT coalesce(sum(keys), 0) FROM periods").fetchone()
        return row[0], self.keys_dropped_early

    def last_number(self) -> int:
        """The highest number ever given, also of rows that are gone."""
        row = self._database.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'inbox'").fetchone()
        return row[0] if row else 0

    def lift_numbers(self, above: int) -> None:
        """Make the next number greater than ``above``: after a restore, when ``state.db`` is newer than the inbox."""
        connection = self._database.connection
        with writing(connection):
            if self.last_number() < above:
                connection.execute("DELETE FROM sqlite_sequence WHERE name = 'inbox'")
                connection.execute("INSERT INTO sqlite_sequence VALUES ('inbox', ?)", (above,))


_ENDS = """
SELECT first.number, first.total_bytes - length(first.body), last.total_bytes, last.number
FROM (SELECT 1) LEFT JOIN inbox AS first ON first.number = (SELECT min(number) FROM inbox)
                LEFT JOIN inbox AS last ON last.number = (SELECT max(number) FROM inbox)
"""

_TENANTS = """
WITH RECURSIVE tenants(tenant) AS (
    SELECT min(tenant) FROM inbox
    UNION ALL
    SELECT (SELECT min(tenant) FROM inbox WHERE inbox.tenant > tenants.tenant) FROM tenants WHERE tenant IS NOT NULL
)
SELECT tenant FROM tenants WHERE tenant IS NOT NULL
"""
