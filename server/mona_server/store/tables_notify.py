"""Tables of ``meta.db``: words on their way to people. Times are Unix milliseconds."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from mona_server.store.meta import metadata

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(36), primary_key=True, comment="uuid; X-Mona-Delivery, the same in every attempt"),
    Column("tenant", String(128), nullable=False),
    Column("context_class", String(128), nullable=False),
    Column("entry", Text, nullable=False, comment="name of the notification entry"),
    Column("channel", String(32), nullable=False),
    Column("destination", String(24), nullable=False, comment="hash that names the destination"),
    Column("shown", Text, nullable=False, comment="the destination, shortened for people"),
    Column("sealed", Text, nullable=False, comment="the destination, sealed"),
    Column("kind", String(16), nullable=False, comment="insights, resolved, test"),
    Column("urgent", Integer, nullable=False),
    Column("digest", Integer, nullable=False, comment="1 = gathers items until due_ms"),
    Column("state", String(16), nullable=False, comment="queued, sending, sent, failed"),
    Column("due_ms", BigInteger, nullable=False, comment="next attempt; while sending: when the claim lapses"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger, nullable=True),
    Column("last_status", Integer, nullable=True, comment="HTTP status, or SMTP reply code"),
    Column("last_error", Text, nullable=True),
    Index("deliveries_due", "state", "due_ms"),
    Index("deliveries_by_destination", "tenant", "destination", "created_ms"),
)

delivery_items = Table(
    "delivery_items",
    metadata,
    Column("tenant", String(128), nullable=False),
    Column("destination", String(24), nullable=False),
    Column("event", String(256), nullable=False, comment="identity of the state event: sent once per destination"),
    Column("delivery_id", ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("insight", JSON, nullable=False),
    Column("series", JSON, nullable=True),
    UniqueConstraint("tenant", "destination", "event", name="delivery_items_once"),
    Index("delivery_items_by_delivery", "delivery_id", "position"),
    sqlite_autoincrement=True,
)
