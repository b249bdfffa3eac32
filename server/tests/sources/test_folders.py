"""A watched folder: each new or changed file becomes one import, whatever fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from mona_server.errors import BadRequest, Forbidden, NotFound
from mona_server.sources import folders
from mona_server.sources.files import FileMapping
from mona_server.store import jobs
from mona_server.store.meta import open_meta

NOW_MS = 1_750_000_000_000
POLL_MS = 300_000
MAPPING = FileMapping(context_class="LOAN", id_column="id")


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Engine]:
    engine = open_meta(tmp_path / "meta.db")
    yield engine
    engine.dispose()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "loans").mkdir(parents=True)
    return folder


def put(root: Path, name: str, text: str = "id\n1\n", *, age_s: float = 60) -> Path:
    """A file that was changed so many seconds before now."""
    path = root / "loans" / name
    path.write_text(text)
    os.utime(path, (NOW_MS / 1000 - age_s,) * 2)
    return path


def watch(meta: Engine, root: Path, url: str = "loans", **options: Any) -> folders.Source:
    options.setdefault("poll_ms", POLL_MS)
    return folders.create(meta, "default", url, MAPPING, roots=(str(root),), now_ms=NOW_MS, **options)


def look(meta: Engine, root: Path, rounds: int = 0) -> int:
    return folders.look(meta, (str(root),), now_ms=NOW_MS + rounds * POLL_MS)


def end(meta: Engine, *, failed: bool = False) -> list[str]:
    """Let a worker end every waiting import; the names of the files."""
    names = []
    while job := jobs.claim(meta, (folders.IMPORT,), "w", NOW_MS):
        names.append(Path(job.parameters["file"]).name)
        if failed:
            jobs.fail(meta, job, "it is no table", now_ms=NOW_MS)
        else:
            jobs.finish(meta, job, {}, now_ms=NOW_MS)
    return names


def test_new_and_changed_files_are_imported_once_by_name(meta: Engine, root: Path) -> None:
    """In the order of names; what a pattern leaves out, hidden files and folders are not touched."""
    for name in ("b.csv", "a.csv", "c.txt", ".hidden.csv"):
        put(root, name)
    (root / "loans" / "deep.csv").mkdir()
    source = watch(meta, root, pattern="*.csv")
    assert look(meta, root) == 2
    job = jobs.recent(meta, "default")[0]
    assert job.parameters["mapping"]["id_column"] == "id"
    assert job.parameters["source"] == source.id
    assert look(meta, root) == 0, "its time has not come"
    assert sorted(end(meta)) == ["a.csv", "b.csv"]
    assert look(meta, root, 1) == 0
    put(root, "a.csv", "id\n1\n2\n")
    put(root, "d.csv")
    assert look(meta, root, 2) == 2
    assert sorted(end(meta)) == ["a.csv", "d.csv"]
    assert folders.counts(meta, source) == {"queued": 0, "running": 0, "done": 3, "failed": 0, "set_aside": 0}


def test_what_is_being_written_waits(meta: Engine, root: Path) -> None:
    """A file that changed a moment ago may be half a file."""
    put(root, "a.csv", age_s=1)
    watch(meta, root)
    assert look(meta, root) == 0
    assert look(meta, root, 1) == 1


def test_a_failing_file_is_set_aside_after_three_tries(meta: Engine, root: Path) -> None:
    """It stands with its reason, others go on; letting the source go on tries it again."""
    put(root, "bad.csv")
    source = watch(meta, root)
    for tries in range(1, 4):
        assert look(meta, root, tries - 1) == 1
        assert end(meta, failed=True) == ["bad.csv"]
        (failure,) = folders.failures(meta, source)
        assert (failure["name"], failure["tries"], failure["error"]) == ("bad.csv", tries, "it is no table")
    put(root, "good.csv")
    assert look(meta, root, 3) == 1
    assert end(meta) == ["good.csv"]
    assert folders.counts(meta, source)["set_aside"] == 1
    folders.pause(meta, "default", source.id, paused=True, now_ms=NOW_MS + 4 * POLL_MS)
    assert look(meta, root, 5) == 0
    folders.pause(meta, "default", source.id, paused=False, now_ms=NOW_MS + 4 * POLL_MS)
    assert look(meta, root, 5) == 1
    assert end(meta) == ["bad.csv"]
    assert folders.failures(meta, source) == []


@pytest.mark.parametrize("start_after", ["b.csv", NOW_MS / 1000 - 100])
def test_the_past_may_be_left_out(meta: Engine, root: Path, start_after: str | float) -> None:
    """By name, or by the time of the last change."""
    put(root, "a.csv", age_s=200)
    put(root, "b.csv", age_s=100)
    put(root, "c.csv")
    watch(meta, root, start_after=start_after)
    look(meta, root)
    assert end(meta) == ["c.csv"]


def test_nothing_outside_of_the_roots(meta: Engine, root: Path, tmp_path: Path) -> None:
    """Neither by the address nor by a link; a root that is taken away later ends the looking with a reason."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.csv").write_text("id\n1\n")
    for url in ("../elsewhere", f"file://{tmp_path}/elsewhere", "nothing"):
        with pytest.raises(Forbidden, match="no such folder below an import root"):
            watch(meta, root, url)
    for url in ("s3://bucket/loans", "https://example.com/loans", "file://host/loans"):
        with pytest.raises(BadRequest, match="only folders of this machine"):
            watch(meta, root, url)
    source = watch(meta, root, f"file://{root}/loans")
    (root / "loans" / "link.csv").symlink_to(tmp_path / "elsewhere" / "secret.csv")
    put(root, "a.csv")
    look(meta, root)
    assert end(meta) == ["a.csv"]
    assert folders.look(meta, (), now_ms=NOW_MS + POLL_MS) == 0
    assert "no such folder" in str(folders.get(meta, "default", source.id).error)
    look(meta, root, 2)
    assert folders.get(meta, "default", source.id).error is None


def test_many_files_come_in_portions(meta: Engine, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look queues so many; the next ones go on."""
    monkeypatch.setattr(folders, "MOST_AT_ONCE", 2)
    for i in range(5):
        put(root, f"{i}.csv")
    watch(meta, root)
    assert [look(meta, root, i) for i in range(4)] == [2, 2, 1, 0]


def test_a_removed_source_is_forgotten(meta: Engine, root: Path) -> None:
    """It looks no more, and is nobody's; a source of another tenant cannot be removed."""
    put(root, "a.csv")
    source = watch(meta, root)
    with pytest.raises(NotFound):
        folders.remove(meta, "acme", source.id)
    folders.remove(meta, "default", source.id)
    assert look(meta, root) == 0
    assert folders.listed(meta, "default") == []
