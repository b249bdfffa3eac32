"""Imported once, before the parts are forked: what all of them use, so that its memory is shared.

Nothing here may start a thread, open a file or keep a lock.
"""

import gc

import duckdb  # noqa: F401
import msgspec  # noqa: F401
import numpy as np  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401

import mona_server.store  # noqa: F401
from mona_server.store import meta

meta.load_tables()
# Without this the collector of each part would write into every shared page.
gc.collect()
gc.freeze()
