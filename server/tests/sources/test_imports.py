"""An import stores each row once, goes on where it stopped, and never repeats a finished file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from mona_server.errors import BadRequest, NotFound
from mona_server.ingest.limits import Limits
from mona_server.sources import imports
from mona_server.sources.files import FileMapping
from mona_server.sources.imports import import_file
from mona_server.store import Store
from mona_server.store.tables_sources import imports as table

NOW_MS = 1_750_000_000_000
MAPPING = FileMapping(context_class="LOAN", id_column="id", time_column="ts")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "loans.csv"
    path.write_text("id,ts,x\n" + "".join(f"i{i},{1700000000 + i},{i}\n" for i in range(25_000)))
    return path


def run(store: Store, path: Path, mapping: FileMapping = MAPPING, **options: Any) -> imports.Import:
    return import_file(store, "default", path, mapping, Limits(), clock=lambda: NOW_MS, **options)


def stored_ids(store: Store) -> list[str]:
    rows = store.inbox.read("default", 0, max_bytes=2**30)
    return [message["contextId"] for row in rows for message in json.loads(row.body)["messages"]]


def test_every_row_is_in_the_inbox_once(store: Store, file: Path) -> None:
    """Progress is told chunk by chunk, and the result counts."""
    seen: list[int] = []
    done = run(store, file, on_progress=lambda state: seen.append(state.rows_read))
    assert seen == [10_000, 20_000, 25_000]
    assert (done.state, done.rows, done.accepted, done.refused) == ("done", 25_000, 25_000, 0)
    assert stored_ids(store) == [f"i{i}" for i in range(25_000)]


def test_a_finished_file_is_never_imported_again(store: Store, file: Path) -> None:
    """Neither under another name nor later; with another mapping it is another import."""
    run(store, file)
    copy = file.with_name("copy.csv")
    copy.write_bytes(file.read_bytes())
    assert run(store, copy).repeated
    assert len(stored_ids(store)) == 25_000
    assert not run(store, file, FileMapping(context_class="OTHER", id_column="id", time_column="ts")).repeated


def test_an_interrupted_import_goes_on_where_it_stopped(store: Store, file: Path) -> None:
    """Stopped between the inbox and the note of it, the chunk in question is sent again and stored once."""

    class PowerCut(Exception):
        pass

    def stop(state: imports.Import) -> None:
        raise PowerCut

    with pytest.raises(PowerCut):
        run(store, file, on_progress=stop)
    with store.meta.begin() as connection:  # as if the note had not been written either
        connection.execute(table.update().values(rows_read=0, accepted=0))
    done = run(store, file)
    assert (done.state, done.accepted, done.repeated) == ("done", 25_000, False)
    assert stored_ids(store) == [f"i{i}" for i in range(25_000)]


def test_a_small_file_is_finished_with_its_only_chunk(store: Store, tmp_path: Path) -> None:
    """Each note of progress is an fsync: ten thousand small files must not take one more each."""
    path = tmp_path / "t.csv"
    path.write_text("id,ts,x\na,1700000000,1\n")
    commits: list[Any] = []
    states: list[str] = []
    event.listen(store.meta, "commit", commits.append)
    done = run(store, path, on_progress=lambda state: states.append(state.state))
    assert (states, done.state, len(commits)) == (["done"], "done", 2)


def test_refused_rows_are_told_by_line(store: Store, tmp_path: Path) -> None:
    """A bad row never takes the others with it."""
    path = tmp_path / "t.csv"
    path.write_text("id,ts,x\na,1700000000,1\nb,soon,2\nc,1700000000,3\n")
    done = run(store, path)
    assert (done.accepted, done.refused) == (2, 1)
    assert done.reasons == ({"line": 2, "reason": "exportTimestamp is not a valid timestamp"},)
    assert imports.get(store.meta, "default", done.id) == done


def test_a_broken_file_fails_with_its_reason(store: Store, tmp_path: Path) -> None:
    """What cannot be read at all is no import; the error names the file."""
    path = tmp_path / "t.json"
    path.write_text("[{")
    with pytest.raises(BadRequest, match=r"t\.json"):
        run(store, path)
    assert imports.recent(store.meta, "default") == []


def test_a_tenant_sees_its_own_imports(store: Store, file: Path) -> None:
    """Another tenant does not even learn that the import exists."""
    done = run(store, file)
    assert imports.recent(store.meta, "other") == []
    with pytest.raises(NotFound):
        imports.get(store.meta, "other", done.id)
