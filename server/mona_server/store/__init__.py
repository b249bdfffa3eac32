"""The data directory: inbox, documents, facts, manifest and meta data. The only room that knows SQLite and files."""

from mona_server.store.idempotency import Key, KeyReused, StoredAnswer
from mona_server.store.inbox import Accepted, Backlog, Inbox, Receipt
from mona_server.store.lake import LakeFile
from mona_server.store.rows import PhysicalColumn
from mona_server.store.snapshot import FactSnapshot
from mona_server.store.store import ClassInfo, Store

__all__ = [
    "Accepted",
    "Backlog",
    "ClassInfo",
    "FactSnapshot",
    "Inbox",
    "Key",
    "KeyReused",
    "LakeFile",
    "PhysicalColumn",
    "Receipt",
    "Store",
    "StoredAnswer",
]
