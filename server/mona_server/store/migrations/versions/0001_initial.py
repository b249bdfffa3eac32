"""The tables of the first release.

Until that release this migration is the tables themselves; from then on it is frozen and each change gets its
own numbered file (``HEAD`` in ``store/meta.py`` names the newest).
"""

from alembic import op

from mona_server.store.meta import load_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    load_tables().create_all(op.get_bind())
