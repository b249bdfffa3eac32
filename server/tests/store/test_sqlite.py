"""Connections to SQLite: one for each thread, for as long as the thread lives."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mona_server.errors import Overloaded, Unavailable
from mona_server.store.inbox import Accepted, Inbox
from mona_server.store.meta import open_meta
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


def test_a_commit_that_the_disk_did_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the kernel gives up a disk, a COMMIT may succeed without being kept: it counts once the witness agrees."""
    inbox = Inbox(tmp_path / "inbox.db")

    def send(number: int) -> None:
        inbox.append([Accepted("T", b"%d" % number, 0, 1)])

    send(1)
    with monkeypatch.context() as failing:
        failing.setattr("os.ftruncate", _failing(errno.EROFS))
        with pytest.raises(Unavailable, match=r"inbox\.db cannot be written .*Read-only file system"):
            send(2)
        with pytest.raises(Unavailable, match=r"inbox\.db cannot be written"):
            inbox.check()
        with pytest.raises(Unavailable, match=r"meta\.db cannot be written"):
            open_meta(tmp_path / "meta.db")
        failing.setattr("os.ftruncate", _failing(errno.ENOSPC))
        with pytest.raises(Overloaded, match="disk is full"):
            send(3)
    inbox.check()
    send(3)
    assert [row.body for row in inbox.read("T", 0)][-1] == b"3"
    inbox.close()


def _failing(number: int) -> Callable[[int, int], None]:
    def fail(_file: int, _size: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_witnesses_are_closed(tmp_path: Path) -> None:
    """Each database has one nameless file, for as long as somebody uses it."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        database = Database(tmp_path / "x.db", "state")
        assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(("x.db", "meta.db"))] == []
        database.close()
        open_meta(tmp_path / "meta.db").dispose()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
