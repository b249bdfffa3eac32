"""Slow queries and the clocks of senders, for the doctor."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "slow_queries",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False, comment="when it ended"),
        sa.Column("context_class", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False, comment="the function of query.service"),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="fact rows of the class at that time"),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slow_queries")),
    )
    op.create_index("ix_slow_queries_tenant_seconds", "slow_queries", ["tenant", "seconds"], unique=False)
    op.create_table(
        "sender_clocks",
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False, comment="when it was measured"),
        sa.Column("skew_s", sa.Float(), nullable=False, comment="median by which its senders are ahead"),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_sender_clocks")),
    )
