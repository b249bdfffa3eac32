"""Imported once, before the parts are forked: what two of them or more use, so that its memory is shared.

Nothing here may start a thread, open a file or keep a lock.
"""

import gc

import jinja2  # noqa: F401
import sqlalchemy.dialects.postgresql  # for its INSERT ... ON CONFLICT, whatever the database is
import sqlalchemy.dialects.sqlite  # noqa: F401

import mona_server.config.revisions
import mona_server.ingest.fold_process
import mona_server.ingest.lake_process
import mona_server.insights.lifecycle
import mona_server.logs
import mona_server.notify.process  # noqa: F401
from mona_server.store import meta

meta.load_tables()
# Without this the collector of each part would write into every shared page.
gc.collect()
gc.freeze()
