"""Data directories that older releases wrote still open, with everything that is in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mona_server.store import contexts, jobs, verify
from mona_server.store.meta import open_meta
from tests.ingest.lab import Lab
from tests.store.old_data import FIELDS, fill
from tests.store.test_meta import differences

RELEASES = sorted((Path(__file__).parent / "data").glob("release-*.zip"))


@pytest.mark.parametrize("archive", RELEASES, ids=lambda path: path.stem)
def test_old_data_directory(archive: Path, tmp_path: Path) -> None:
    """It is migrated when it is opened; facts, history, keys, jobs and waiting rows are those of a new one."""
    shutil.unpack_archive(archive, tmp_path / "old")
    old, new = Lab(tmp_path / "old"), Lab(tmp_path / "new")
    fill(new)
    new.fold()
    old.now_ms = new.now_ms
    old.builders.configure(FIELDS)
    assert verify.verify(old.store, now_ms=old.now_ms) == []
    old.fold()
    assert len(old.facts()) == 22
    assert old.facts() == new.facts()
    history = contexts.message_history(old.store, old.duck, "T", "LOAN", "c1")
    assert [m.values for m in history] == [{"a": 1, "s": "x", "t": "2023-01-01"}, {"label": True}]
    assert old.send([{"contextId": "lists", "message": {"s": ["x", "y"]}}], key="first key").number is None
    assert [job.kind for job in jobs.recent(old.store.meta, "T")] == ["backfill"]
    old.flush()
    assert old.facts() == new.facts()
    old.close()
    new.close()


@pytest.mark.parametrize("archive", RELEASES, ids=lambda path: path.stem)
def test_old_meta_database_is_migrated(archive: Path, tmp_path: Path) -> None:
    """The stored database of an older release gets the tables of today and keeps its rows; a second start does nothing."""
    shutil.unpack_archive(archive, tmp_path / "old")
    for _ in range(2):
        engine = open_meta(tmp_path / "old" / "meta.db")
        assert differences(engine) == []
        assert [job.kind for job in jobs.recent(engine, "T")] == ["backfill"]
        engine.dispose()


def test_there_is_an_old_release() -> None:
    """The test above must not pass for want of archives."""
    assert RELEASES
