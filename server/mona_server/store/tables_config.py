"""Tables of ``meta.db``: what was configured, when and by whom, and what was fixed from data."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, String, Table, Text, UniqueConstraint

from mona_server.store.meta import metadata

config_revisions = Table(
    "config_revisions",
    metadata,
    Column("id", String(36), primary_key=True, comment="uuid, the config_id of the wire"),
    Column("tenant", String(128), nullable=False),
    Column("number", Integer, nullable=False, comment="1, 2, ... per tenant; the largest is active"),
    Column("parent", String(36), nullable=True, comment="the revision before it"),
    Column("restored", String(36), nullable=True, comment="the revision whose content this one brought back"),
    Column("context_class", Text, nullable=True, comment="the one class that an upload was about; null = whole file"),
    Column("author", Text, nullable=False),
    Column("commit_message", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("lenient", Boolean, nullable=False),
    Column("text", Text, nullable=False, comment="what was uploaded, byte for byte where it came as text"),
    # JSON text, not JSONB: the order of fields is the order of building.
    Column("raw", JSON, nullable=False, comment="class → object as uploaded, all classes after this upload"),
    Column("normal", JSON, nullable=False, comment="class → normal form"),
    Column("diffs", JSON, nullable=False, comment="against the parent, in the normal form"),
    UniqueConstraint("tenant", "number", name="config_revisions_number"),
)

frozen_segmentations = Table(
    "frozen_segmentations",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("context_class", String(128), primary_key=True),
    Column("field", String(256), primary_key=True),
    Column("segmentation", String(256), primary_key=True),
    Column("definition", Text, nullable=False, comment="what it was fixed for; another definition is fixed anew"),
    Column("frozen", JSON, nullable=False, comment="boundaries, bucket_size and within, or discrete"),
    Column("created_ms", BigInteger, nullable=False),
)
