"""Documents: what is known of each context. Functions run in the caller's transaction."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Key = tuple[int, str]
"""Class id and context id."""

_COLUMNS = "document_id, hash, class_id, context_id, time_ms, explicit, arrival_ms, updated_ms, variables, fact"


@dataclass(slots=True)
class Document:
    """One context as stored. The fold changes it in place and puts it back."""

    document_id: int | None
    """None until it is stored."""
    hash: int
    class_id: int
    context_id: str
    time_ms: int
    explicit: int
    """1 where the time comes from a timestamp that a message named."""
    arrival_ms: int
    updated_ms: int
    variables: bytes
    """Merged variables, JSON."""
    fact: bytes | None
    """The last fact that was written, see :mod:`mona_server.store.rows`."""


def hash_key(class_id: int, context_id: str) -> int:
    """48 bits: small in the index, and not to be collided by somebody who chooses ids."""
    digest = hashlib.blake2b(b"%d:%s" % (class_id, context_id.encode("utf-8", "surrogatepass")), digest_size=6)
    return int.from_bytes(digest.digest(), "big")


def find(connection: sqlite3.Connection, class_id: int, context_ids: Iterable[str]) -> dict[Key, Document]:
    """The documents of these contexts that exist."""
    return load(connection, {(class_id, context_id): hash_key(class_id, context_id) for context_id in context_ids})


def load(connection: sqlite3.Connection, hashes: Mapping[Key, int]) -> dict[Key, Document]:
    """The documents of these keys that exist. One pass over the index in its order."""
    wanted = {hash_: key for key, hash_ in hashes.items()}
    several = hashes if len(wanted) != len(hashes) else ()  # two wanted keys with one hash
    found: dict[Key, Document] = {}
    # One statement for any number of keys; in the order of the index, so that each of its pages is read once.
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM json_each(?) CROSS JOIN documents ON documents.hash = json_each.value",
        (f"[{','.join(map(str, sorted(wanted)))}]",),
    )
    for row in rows:
        key = (row[2], row[3])
        if wanted[row[1]] == key or key in several:
            found[key] = Document(*row)
    return found


def put(connection: sqlite3.Connection, documents: Iterable[Document]) -> None:
    """Store new documents and changed ones."""
    new, changed = [], []
    for d in documents:
        if d.document_id is None:
            new.append(
                (
                    d.hash,
                    d.class_id,
                    d.context_id,
                    d.time_ms,
                    d.explicit,
                    d.arrival_ms,
                    d.updated_ms,
                    d.variables,
                    d.fact,
                )
            )
        else:
            changed.append((d.time_ms, d.explicit, d.arrival_ms, d.updated_ms, d.variables, d.fact, d.document_id))
    # The order of the pages that are touched: a late label finds its neighbours in the cache.
    changed.sort(key=lambda row: row[6])
    connection.executemany(
        "INSERT INTO documents (hash, class_id, context_id, time_ms, explicit, arrival_ms, updated_ms, variables, fact)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        new,
    )
    connection.executemany(
        "UPDATE documents SET time_ms = ?, explicit = ?, arrival_ms = ?, updated_ms = ?, variables = ?, fact = ?"
        " WHERE document_id = ?",
        changed,
    )


def remove(connection: sqlite3.Connection, document_ids: Iterable[int]) -> None:
    """Forget documents."""
    connection.executemany("DELETE FROM documents WHERE document_id = ?", [(i,) for i in sorted(document_ids)])


def scan(connection: sqlite3.Connection, class_id: int, after: int, up_to: int) -> Iterator[Document]:
    """Documents of a class with ``after < document_id <= up_to``, in the order of their ids."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM documents WHERE document_id > ? AND document_id <= ? AND class_id = ?"
        " ORDER BY document_id",
        (after, up_to, class_id),
    )
    return (Document(*row) for row in rows)
