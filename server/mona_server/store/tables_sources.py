"""Tables of meta.db for what came in by other ways than the sending path."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Integer, String, Table

from mona_server.store.meta import metadata

imports = Table(
    "imports",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(128), nullable=False),
    # SHA-256 of the file and of the mapping: a finished import of both is never done again.
    Column("digest", String(64), nullable=False),
    Column("mapping_digest", String(64), nullable=False),
    Column("file", String(1024), nullable=False),
    Column("mapping", JSON, nullable=False),
    # queued, running, done or failed
    Column("state", String(16), nullable=False),
    Column("rows", BigInteger, nullable=False),
    # Rows up to here are in the inbox: an import goes on from this one.
    Column("rows_read", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    # The first 1,000 refusals: [{"line", "reason"}].
    Column("reasons", JSON, nullable=False),
    Column("error", String(2048)),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("ix_imports_file", "tenant", "digest", "mapping_digest", unique=True),
    comment="Files that were imported or are being imported.",
)

sources = Table(
    "sources",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("context_class", String(128), nullable=False),
    Column("url", String(4000), nullable=False),
    Column("pattern", String(255), nullable=False, comment="of file names"),
    Column("mapping", JSON, nullable=False),
    Column("poll_ms", BigInteger, nullable=False),
    Column("start_after", JSON, comment="a file name, or Unix seconds"),
    Column("paused", Boolean, nullable=False),
    Column("author", String(254), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger, nullable=False, comment="when to look; moving it on claims the look"),
    Column("looked_ms", BigInteger),
    Column("error", String(2048), comment="why the last look failed"),
    Index("ix_sources_tenant", "tenant"),
    comment="Folders that are watched.",
)

source_files = Table(
    "source_files",
    metadata,
    Column("source_id", String(40), primary_key=True),
    Column("name", String(1024), primary_key=True),
    Column("etag", String(64), nullable=False, comment="time of change and size"),
    Column("tries", Integer, nullable=False),
    Column("job_id", String(64), nullable=False, comment="the newest import"),
    comment="Files that a source has seen.",
)
