"""Who judged an insight, and whether its window is left out of later benchmarks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("insights", sa.Column("judged_by", sa.Text(), nullable=True))
    op.add_column("insights", sa.Column("exclude_window", sa.Boolean(), nullable=False, server_default=sa.false()))
