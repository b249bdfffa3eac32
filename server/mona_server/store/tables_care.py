"""Tables of ``meta.db``: what the doctor is told by processes that he does not run in."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table

from mona_server.store.meta import metadata

slow_queries = Table(
    "slow_queries",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("tenant", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False, comment="when it ended"),
    Column("context_class", String(128), nullable=False),
    Column("kind", String(64), nullable=False, comment="the function of query.service"),
    Column("rows", BigInteger, nullable=False, comment="fact rows of the class at that time"),
    Column("seconds", Float, nullable=False),
    Index("ix_slow_queries_tenant_seconds", "tenant", "seconds"),
)

sender_clocks = Table(
    "sender_clocks",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("at_ms", BigInteger, nullable=False, comment="when it was measured"),
    Column("skew_s", Float, nullable=False, comment="median by which its senders are ahead"),
)
