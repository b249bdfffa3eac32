"""Connections to SQLite: one for each thread, for as long as the thread lives."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from mona_server.store.sqlite import Database


def open_files(path: Path) -> int:
    """How often this process has the file open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(entry) == str(path)
        except OSError:
            continue
    return found


def test_a_connection_ends_with_its_thread(tmp_path: Path) -> None:
    """Pools of threads come and go: what they opened is closed, and the others go on."""
    database = Database(tmp_path / "x.db", "state")
    before = open_files(database.path)
    counts = []

    def read() -> None:
        database.connection.execute("SELECT count(*) FROM documents").fetchall()
        counts.append(open_files(database.path))

    for _ in range(20):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    # SQLite itself may keep one handle for the next connection: closing it would give up the locks of the others.
    assert max(counts) <= before + 2
    database.connection.execute("SELECT count(*) FROM documents").fetchall()
    database.close()
    assert open_files(database.path) == 0
