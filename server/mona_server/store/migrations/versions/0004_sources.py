"""Folders that are watched, and the files that were seen in them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=False),
        sa.Column("url", sa.String(length=4000), nullable=False),
        sa.Column("pattern", sa.String(length=255), nullable=False, comment="of file names"),
        sa.Column("mapping", sa.JSON(), nullable=False),
        sa.Column("poll_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_after", sa.JSON(), nullable=True, comment="a file name, or Unix seconds"),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("author", sa.String(length=254), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=False, comment="when to look; moving it on claims the look"),
        sa.Column("looked_ms", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.String(length=2048), nullable=True, comment="why the last look failed"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        comment="Folders that are watched.",
    )
    op.create_index("ix_sources_tenant", "sources", ["tenant"], unique=False)
    op.create_table(
        "source_files",
        sa.Column("source_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=1024), nullable=False),
        sa.Column("etag", sa.String(length=64), nullable=False, comment="time of change and size"),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False, comment="the newest import"),
        sa.PrimaryKeyConstraint("source_id", "name", name=op.f("pk_source_files")),
        comment="Files that a source has seen.",
    )
