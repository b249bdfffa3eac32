"""Table of ``meta.db``: background work that a person asked for."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Float, Index, String, Table, Text

from mona_server.store.meta import metadata

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column(
        "kind", String(32), nullable=False, comment="backfill, delete_context, delete_range, forget_tenant, run ..."
    ),
    Column("parameters", JSON, nullable=False),
    Column("state", String(16), nullable=False, comment="queued, running, done, failed, cancelled"),
    Column("progress", Float, nullable=False, default=0.0, comment="0..1"),
    Column("checkpoint", JSON, nullable=True, comment="where a resumed job goes on; its worker's own shape"),
    Column("result", JSON, nullable=True),
    Column("error", Text, nullable=True),
    Column("worker", String(64), nullable=True, comment="process that claimed it"),
    Column("lease_until_ms", BigInteger, nullable=False, default=0, comment="after it anybody may claim it again"),
    Column("author", Text, nullable=False, default=""),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("ix_jobs_state_kind", "state", "kind"),
    Index("ix_jobs_tenant_created", "tenant", "created_ms"),
)
