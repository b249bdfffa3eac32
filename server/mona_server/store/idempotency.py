"""Idempotency keys: the first answer to a request is kept for 48 hours beside the data it stored.

Single sends make hundreds of millions of keys, so only 16-byte hashes are kept, the answer only where it was
not a full success, and one table per period, which is dropped whole. All functions run inside of the caller's
transaction.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass

from mona_server.errors import MonaError

PERIOD_MS = 6 * 3_600_000


class KeyReused(MonaError):
    """The key was used before, with another body."""

    status = 422

    def __init__(self) -> None:
        super().__init__("Idempotency-Key was used before with another body", hint="make a new key for each request")


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key and the body it stands for, as hashes of 16 bytes."""

    hash: bytes
    digest: bytes

    @classmethod
    def of(cls, tenant: str, family: str, key: str, body: bytes) -> Key:
        """``family`` is the path family that the key is scoped to; ``body`` is decompressed."""
        scoped = f"{len(tenant)}:{tenant}{len(family)}:{family}{key}".encode()
        return cls(hashlib.blake2b(scoped, digest_size=16).digest(), hashlib.blake2b(body, digest_size=16).digest())


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What was answered first. ``answer`` is None for a full success of ``messages`` messages."""

    messages: int
    answer: bytes | None


def periods(connection: sqlite3.Connection) -> list[int]:
    """The periods that have a table, newest first (a repeat comes soon)."""
    return [row[0] for row in connection.execute("SELECT period FROM periods ORDER BY period DESC")]


def find(connection: sqlite3.Connection, key: Key, known: list[int]) -> StoredAnswer | None:
    """The answer that this key got. Raises KeyReused where the body differs."""
    for period in known:
        row = connection.execute(
            f"SELECT digest, messages, answer FROM keys_{period} WHERE hash = ?", (key.hash,)
        ).fetchone()
        if row is not None:
            if row[0] != key.digest:
                raise KeyReused
            return StoredAnswer(row[1], row[2])
    return None


def remember(
    connection: sqlite3.Connection, key: Key, messages: int, answer: bytes | None, arrival_ms: int, known: list[int]
) -> None:
    """Keep the answer; ``known`` gains the period when it is new."""
    period = arrival_ms // PERIOD_MS
    if period not in known:
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS keys_{period} (hash BLOB PRIMARY KEY, digest BLOB NOT NULL,"
            " messages INTEGER NOT NULL, answer BLOB) STRICT, WITHOUT ROWID"
        )
        connection.execute("INSERT OR IGNORE INTO periods VALUES (?, 0)", (period,))
        known.insert(0, period)
    connection.execute(f"INSERT INTO keys_{period} VALUES (?, ?, ?, ?)", (key.hash, key.digest, messages, answer))
    connection.execute("UPDATE periods SET keys = keys + 1 WHERE period = ?", (period,))


def expire(connection: sqlite3.Connection, now_ms: int, keep_ms: int, max_keys: int) -> int:
    """Drop the periods that are older than ``keep_ms``, and the oldest ones above ``max_keys``.

    Returns how many keys went before their time, because there were too many.
    """
    rows = connection.execute("SELECT period, keys FROM periods ORDER BY period").fetchall()
    total = sum(keys for _, keys in rows)
    early = 0
    for i, (period, keys) in enumerate(rows):
        old = (period + 1) * PERIOD_MS <= now_ms - keep_ms
        last = i == len(rows) - 1
        if not old and (total <= max_keys or last):
            break
        connection.execute(f"DROP TABLE keys_{period}")
        connection.execute("DELETE FROM periods WHERE period = ?", (period,))
        total -= keys
        early += 0 if old else keys
    return early
