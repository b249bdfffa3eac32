"""A disk that is full, and one that must not be: refused clearly, recovered without loss; old data goes first."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mona_server import settings
from mona_server.errors import BadRequest, MonaError, Overloaded
from mona_server.ingest import retention
from mona_server.store import Store, disk, jobs, verify
from tests.ingest.lab import START_MS, Lab, numbered

DAY_MS = 86_400_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A volume of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a tmpfs of its own")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill_up(folder: Path) -> Path:
    """Take all space that is left; returns the file that takes it."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(os.urandom(2**16))
            file.flush()
    return ballast


def send_until_refused(lab: Lab) -> tuple[int, Overloaded]:
    """How many messages were acknowledged before the first refusal, and the refusal."""
    for taken in range(1000):
        try:
            lab.send([{"contextId": f"full{taken}", "message": {"text": "x" * 10_000}}])
        except Overloaded as refusal:
            return taken, refusal
    raise AssertionError("never refused")


def test_full_disk_loses_nothing(small_disk: Path) -> None:
    """Senders get 429 with a time, the fold and the lake may fail, and with space again all of it goes on."""
    lab = Lab(small_disk / "data")
    lab.builders.configure({"LOAN": {"a": "numeric", "text": "string"}})
    lab.send(list(numbered(100)))
    lab.fold()
    lab.send([{"contextId": "waiting", "message": {"a": 1}}])
    ballast = fill_up(small_disk)
    taken, refusal = send_until_refused(lab)
    assert "disk is full" in refusal.message
    assert refusal.retry_after_s > 0
    with contextlib.suppress(MonaError):
        lab.fold()
    with contextlib.suppress(MonaError, duckdb.Error, OSError):
        lab.flush()
    ballast.unlink()
    lab.restart()
    lab.fold()
    lab.flush()
    assert lab.store.classes("T")[0].contexts == 101 + taken
    assert [f for f in verify.verify(lab.store, now_ms=lab.later()) if f.id != "file_unlisted"] == []
    lab.close()


def test_full_disk_in_the_middle_of_a_fold(lab: Lab) -> None:
    """The transaction is rolled back as a whole; the same batch is folded when there is space."""
    lab.send(list(numbered(500)))
    connection = lab.store.state.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(Overloaded, match="disk is full"):
        lab.fold()
    assert lab.store.newest_revision() == 0
    connection.execute("PRAGMA max_page_count = 1000000")
    lab.fold()
    assert len(lab.facts()) == 500


def test_read_only_disk(small_disk: Path) -> None:
    """A start is refused with the name of what cannot be written; with a writable disk all is there."""
    lab = Lab(small_disk / "data")
    lab.send(list(numbered(10)))
    lab.fold()
    lab.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(MonaError, match=r"\.db"):
        Store.open(small_disk / "data")
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    lab.open()
    lab.send([{"contextId": "after", "message": {}}])
    lab.fold()
    assert len(lab.facts()) == 11
    lab.close()


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ("50GB", 50 * 10**9), ("1.5 MiB", 3 * 2**19), ("10kb", 10_000)]
)
def test_sizes(text: str, size: int, tmp_path: Path) -> None:
    """Bytes with or without a unit."""
    assert disk.budget_bytes(text, tmp_path) == size


def test_share_of_the_volume(tmp_path: Path) -> None:
    """A percentage is one of the volume that the data directory is on; anything else is refused."""
    assert 0 < disk.budget_bytes("50%", tmp_path) < disk.budget_bytes("80%", tmp_path)
    with pytest.raises(BadRequest, match=r"disk_budget"):
        disk.budget_bytes("a lot", tmp_path)


def test_bytes_of_files_and_folders(tmp_path: Path) -> None:
    """What is allocated, folders with everything below them."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 10_000)
    assert disk.bytes_of(tmp_path / "a" / "b") >= 10_000
    assert disk.bytes_of(tmp_path / "none") == 0
    assert disk.bytes_of(tmp_path) >= 10_000


def daily(lab: Lab, days: int) -> None:
    lab.send(
        [
            {"contextId": f"{i}", "exportTimestamp": START_MS - i * DAY_MS, "message": {"a": "x" * 100}}
            for i in range(days)
        ]
    )
    lab.fold()


def do_jobs(lab: Lab) -> list[dict[str, Any]]:
    from mona_server.ingest import deletes

    done = []
    while job := jobs.claim(lab.store.meta, ("delete_range",), "lab", lab.later()):
        last = list(deletes.delete_range(lab.folder, job, lab.later))[-1]
        jobs.finish(lab.store.meta, job, last.result, now_ms=lab.later())
        done.append({**job.parameters, **last.result, "author": job.author})
    return done


def test_retention_deletes_whole_old_days(lab: Lab) -> None:
    """Announced as a job with its reason, counted in its result, and done once."""
    daily(lab, 40)
    given = settings.load(lab.path, environ={}, storage={"retention_days": 10})
    assert len(retention.enforce(lab.store, given, START_MS)) == 1
    assert retention.enforce(lab.store, given, START_MS) == []
    (done,) = do_jobs(lab)
    assert (done["contexts"], done["reason"], done["author"]) == (29, "older than 10 days", "retention")
    assert sorted(lab.facts(), key=int) == [str(i) for i in range(11)]
    assert retention.enforce(lab.store, given, START_MS) == []


def test_no_retention_deletes_nothing(lab: Lab) -> None:
    """The default keeps everything while there is room."""
    daily(lab, 40)
    assert retention.enforce(lab.store, settings.load(lab.path, environ={}), START_MS) == []


def test_disk_budget_takes_the_oldest_first(lab: Lab) -> None:
    """Of all classes together, never the last day; again and again while it is not enough."""
    daily(lab, 10)
    used = disk.bytes_of(lab.path)
    given = settings.load(lab.path, environ={}, storage={"disk_budget": str(round(used * 0.8))})
    retention.enforce(lab.store, given, START_MS)
    (done,) = do_jobs(lab)
    assert done["contexts"] in (2, 3)
    assert done["reason"].startswith("disk budget")
    tiny = settings.load(lab.path, environ={}, storage={"disk_budget": "1"})
    for _ in range(10):
        retention.enforce(lab.store, tiny, START_MS)
        do_jobs(lab)
    assert list(lab.facts()) == ["0"]


def test_tenants_of_one_class_name(tmp_path: Path) -> None:
    """Retention of one tenant's class does not touch the other's."""
    lab = Lab(tmp_path / "data")
    for tenant in ("A", "B"):
        lab.send([{"contextId": "1", "exportTimestamp": START_MS - 40 * DAY_MS, "message": {}}], tenant=tenant)
    lab.fold()
    jobs.create(lab.store.meta, "A", "delete_range", {"context_class": "LOAN", "to_ms": START_MS}, 1)
    do_jobs(lab)
    assert lab.facts(tenant="A") == {}
    assert len(lab.facts(tenant="B")) == 1
    lab.close()


def test_store_opens_again_after_a_full_disk_at_start(small_disk: Path) -> None:
    """A data directory that cannot be made is one clear error, and no trace of it hinders the next start."""
    ballast = fill_up(small_disk)
    with pytest.raises(MonaError):
        Store.open(small_disk / "data")
    ballast.unlink()
    Store.open(small_disk / "data").close()
