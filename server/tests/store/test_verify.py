"""Verify, doctor, backup, restore: what is wrong is found and named, and what can be made whole is."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mona_server import settings
from mona_server.errors import BadRequest, Conflict, DataDamaged, MonaError
from mona_server.ingest import deletes
from mona_server.store import Store, backup, doctor, lake, verify
from tests.ingest.lab import Lab, numbered

FIELDS: dict[str, Any] = {"LOAN": {"a": "numeric", "s": "string", "label": "boolean"}}


def fill(lab: Lab) -> None:
    lab.builders.configure(FIELDS)
    for i in range(3):
        lab.send(list(numbered(30, s=["x", "y"] if i else "z")))
        lab.send([{"contextId": f"c{j}", "message": {"label": True}} for j in range(0, 30, 3)])
        lab.fold()
        lab.flush()
    lab.send(list(numbered(10, a=99)))
    lab.fold()


def ids(findings: list[verify.Finding]) -> list[str]:
    return [finding.id for finding in findings]


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("nothing", []),
        ("missing file", ["file_damaged"]),
        ("flipped bit", ["file_damaged"]),
        ("lost manifest row", ["file_unlisted", "rows_lost", "facts_differ"]),
        ("lost chunk", ["rows_lost", "facts_differ"]),
        ("doubled manifest row", ["rows_lost", "facts_differ"]),
        ("lost day", ["days_differ"]),
    ],
)
def test_harm_is_named_and_repaired_from_the_documents(lab: Lab, harm: str, found: list[str]) -> None:
    """Afterwards every read gives what it gave before, and verify has nothing to say."""
    fill(lab)
    before = lab.facts()
    connection = lab.store.state.connection
    with lab.store.state.reading():
        file = next(f for f in lake.all_live(connection, lab.store.lake) if f.kind == "facts")
    if harm == "missing file":
        file.path.unlink()
    elif harm == "flipped bit":
        content = bytearray(file.path.read_bytes())
        content[100] ^= 4
        file.path.write_bytes(bytes(content))
    elif harm == "lost manifest row":
        connection.execute("DELETE FROM files WHERE file_id = ?", (file.file_id,))
    elif harm == "lost chunk":
        connection.execute("DELETE FROM pending WHERE kind = 'facts'")
    elif harm == "doubled manifest row":
        copy = file.path.with_name("copy.parquet")
        shutil.copy(file.path, copy)
        connection.execute("CREATE TEMP TABLE doubled AS SELECT * FROM files WHERE file_id = ?", (file.file_id,))
        connection.execute("UPDATE doubled SET file_id = 999, path = ?", (str(copy.relative_to(lab.store.lake)),))
        connection.execute("INSERT INTO files SELECT * FROM doubled")
    elif harm == "lost day":
        connection.execute("DELETE FROM days")
    lab.restart()
    if found and harm != "lost day":
        with pytest.raises(DataDamaged):
            lab.rows()
    named = verify.verify(lab.store, now_ms=lab.later())
    assert set(ids(named)) <= set(found)
    assert bool(named) == bool(found)
    assert all(finding.hint and not finding.repaired for finding in named)
    # A repair may show more: what was hidden behind a damaged file is seen once it is out of the way.
    verify.verify(lab.store, now_ms=lab.later(), repair=True)
    verify.verify(lab.store, now_ms=lab.later(), repair=True)
    assert [i for i in ids(verify.verify(lab.store, now_ms=lab.later())) if i != "file_unlisted"] == []
    assert lab.facts() == before
    lab.flush()
    assert lab.facts() == before


def test_what_deleted_contexts_left_is_named_and_erased(lab: Lab) -> None:
    """Releases before 1.0 kept messages and past facts of a context that a message had deleted."""
    fill(lab)
    lab.send([{"contextId": "c1", "action": "DELETE", "message": {}}])
    lab.fold()
    before = lab.facts()
    assert verify.verify(lab.store, now_ms=lab.later()) == []  # the lake is asked to erase it
    lab.store.state.connection.execute("DELETE FROM erasures")
    (finding,) = verify.verify(lab.store, now_ms=lab.later())
    assert (finding.id, "1 contexts" in finding.message) == ("deleted_left", True)
    verify.verify(lab.store, now_ms=lab.later(), repair=True)
    assert verify.verify(lab.store, now_ms=lab.later()) == []
    lab.erase()
    assert verify.verify(lab.store, now_ms=lab.later()) == []
    assert lab.facts() == before
    assert "c1" not in stored_ids(lab)


def test_surplus_of_a_deleted_context_is_repaired_once(lab: Lab) -> None:
    """A lost cancellation of a context without document: the rows that make up for it are erased with the rest."""
    fill(lab)
    lab.flush()
    lab.send([{"contextId": "c1", "action": "DELETE", "message": {}}])
    lab.fold()
    before = lab.facts()
    connection = lab.store.state.connection
    connection.execute("DELETE FROM pending WHERE kind = 'facts'")
    connection.execute("DELETE FROM erasures")
    for _ in range(2):
        verify.verify(lab.store, now_ms=lab.later(), repair=True)
        assert lab.facts() == before
    lab.erase()
    assert verify.verify(lab.store, now_ms=lab.later()) == []
    assert lab.facts() == before
    assert "c1" not in stored_ids(lab)


def stored_ids(lab: Lab) -> set[str]:
    """Ids that any live file of the lake holds."""
    with lab.store.state.reading() as connection:
        files = [str(file.path) for file in lake.all_live(connection, lab.store.lake)]
    rows = lab.duck.execute("SELECT DISTINCT MONA_ID FROM read_parquet(?, union_by_name = true)", [files]).fetchall()
    return {row[0] for row in rows}


@pytest.mark.parametrize("file", ["inbox.db", "state.db", "meta.db"])
def test_damaged_database_is_named(tmp_path: Path, file: str) -> None:
    """SQLite's own check; the hint is to restore a backup."""
    lab = Lab(tmp_path / "data")
    fill(lab)
    lab.store.state.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = lab.path / file
    assert verify.database_damage(path) is None
    lab.close()
    content = bytearray(path.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 8] = b"\xff" * 8
    path.write_bytes(bytes(content))
    assert verify.database_damage(path) is not None


def test_no_database_at_all(tmp_path: Path) -> None:
    """A file that is not SQLite's is refused with one clear error."""
    Store.open(tmp_path).close()
    (tmp_path / "state.db").write_bytes(b"not a database, certainly" * 1000)
    with pytest.raises(DataDamaged, match=r"state\.db is damaged"):
        Store.open(tmp_path)


def test_truncated_write_ahead_log_loses_no_more_than_its_end(lab: Lab, tmp_path: Path) -> None:
    """A log that is cut in the middle of a transaction counts up to the last whole one; the rest is folded again."""
    lab.builders.configure(FIELDS)
    lab.send(list(numbered(5)))
    lab.fold()
    lab.send(list(numbered(10)))
    copy = tmp_path / "copy"
    shutil.copytree(lab.path, copy)
    other = Lab(copy)
    other.builders.configure(FIELDS)
    other.fold()
    log = copy / "state.db-wal"
    crashed = tmp_path / "crashed"
    shutil.copytree(copy, crashed)
    other.close()
    content = log.read_bytes() if log.exists() else (crashed / "state.db-wal").read_bytes()
    (crashed / "state.db-wal").write_bytes(content[:-2000])
    (crashed / "state.db-shm").unlink(missing_ok=True)
    found = Lab(crashed)
    found.builders.configure(FIELDS)
    assert verify.database_damage(crashed / "state.db") is None
    assert verify.verify(found.store, now_ms=found.later()) == []
    found.close()


def test_inbox_whose_end_was_lost(lab: Lab) -> None:
    """What comes afterwards is folded all the same, and the loss is named until somebody takes note of it."""
    lab.send(list(numbered(5)))
    lab.fold()
    lab.close()  # the last connection moves the log into the file
    before = (lab.path / "inbox.db").read_bytes()
    lab.open()
    for i in range(3):
        lab.send([{"contextId": f"later {i}", "message": {}}])
    lab.fold()
    lab.close()
    (lab.path / "inbox.db").write_bytes(before)
    for end in ("-wal", "-shm"):
        (lab.path / f"inbox.db{end}").unlink(missing_ok=True)
    lab.open()
    (finding,) = verify.verify(lab.store, now_ms=lab.later())
    assert (finding.id, "1 was its last, 4 is folded" in finding.message) == ("inbox_lost", True)
    lab.send([{"contextId": "after", "message": {}}])
    lab.fold()
    assert set(lab.facts()) == {*(f"c{i}" for i in range(5)), "later 0", "later 1", "later 2", "after"}
    verify.verify(lab.store, now_ms=lab.later(), repair=True)
    assert verify.verify(lab.store, now_ms=lab.later()) == []


def test_backup_of_a_working_server(lab: Lab, tmp_path: Path) -> None:
    """The copy has what was folded and what was only accepted; the original goes on; numbers go on above."""
    fill(lab)
    lab.send([{"contextId": "waiting", "message": {"a": 5}}])
    made = backup.backup(lab.store, tmp_path / "backup", now_ms=lab.now_ms)
    lab.send([{"contextId": "later", "message": {}}])
    lab.fold()
    lab.compact()
    lake.sweep(lab.store.state.connection, lab.store.lake, lab.later(), grace_ms=0)
    restored = backup.restore(tmp_path / "backup", tmp_path / "restored")
    assert restored.revision == made.revision
    other = Lab(tmp_path / "restored")
    other.builders.configure(FIELDS)
    assert verify.verify(other.store, now_ms=lab.now_ms) == []
    assert "waiting" not in other.facts()
    other.fold()
    assert other.facts() == {k: v for k, v in lab.facts().items() if k != "later"}
    other.close()


@pytest.mark.parametrize("way", ["by a message", "by a job"])
def test_next_backup_holds_nothing_of_a_deleted_context(lab: Lab, tmp_path: Path, way: str) -> None:
    """Not a byte of its values, in no file; a backup from before the lake came to erase it does so when restored."""
    lab.builders.configure(FIELDS)
    lab.send([{"contextId": "secret id", "message": {"s": "a text to forget"}}, *numbered(20)])
    lab.fold()
    lab.flush()
    if way == "by a message":
        lab.send([{"contextId": "secret id", "action": "DELETE", "message": {}}])
        lab.fold()
    else:
        lab.job(deletes.delete_context, {"context_class": "LOAN", "context_id": "secret id"})
    backup.backup(lab.store, tmp_path / "early", now_ms=lab.now_ms)
    backup.restore(tmp_path / "early", tmp_path / "restored")
    other = Lab(tmp_path / "restored")
    other.builders.configure(FIELDS)
    other.erase()
    assert "secret id" not in stored_ids(other)
    assert other.facts() == lab.facts()
    other.close()
    lab.erase()
    backup.backup(lab.store, tmp_path / "next", now_ms=lab.now_ms)
    for file in (tmp_path / "next").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert b"a text to forget" not in content, file
        # The job that deleted it, in meta.db, says what it was asked for.
        assert b"secret id" not in content or file.name == "meta.db", file


def test_restored_numbers_are_above_what_was_folded(lab: Lab, tmp_path: Path) -> None:
    """The inbox is copied first, so the state may have folded more than the copied inbox has seen."""
    fill(lab)
    backup.backup(lab.store, tmp_path / "backup", now_ms=lab.now_ms)
    folded = lab.store.inbox.last_number()
    database = tmp_path / "backup" / "inbox.db"
    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM sqlite_sequence")
    connection.commit()
    connection.close()
    listing = json.loads((tmp_path / "backup" / backup.LISTING).read_text())
    listing["files"]["inbox.db"] = {"bytes": database.stat().st_size, "sha256": lake.checksum(database)}
    (tmp_path / "backup" / backup.LISTING).write_text(json.dumps(listing))
    backup.restore(tmp_path / "backup", tmp_path / "restored")
    with Store.open(tmp_path / "restored") as store:
        assert store.inbox.last_number() == folded
        assert verify.verify(store, now_ms=lab.now_ms) == []


def test_what_a_restore_refuses(lab: Lab, tmp_path: Path) -> None:
    """A damaged backup, a folder that is none, a target that is not empty, a second backup in one place."""
    fill(lab)
    made = backup.backup(lab.store, tmp_path / "backup", now_ms=lab.now_ms)
    with pytest.raises(Conflict):
        backup.backup(lab.store, made.path, now_ms=lab.now_ms)
    with pytest.raises(Conflict):
        backup.restore(made.path, lab.path)
    with pytest.raises(BadRequest):
        backup.restore(tmp_path, tmp_path / "x")
    for victim in sorted(made.path.rglob("*.parquet"))[:1]:
        copy = victim.read_bytes()
        victim.unlink()
        victim.write_bytes(copy[:-1] + b"?")
    with pytest.raises(DataDamaged):
        backup.restore(made.path, tmp_path / "x")


def test_doctor_says_what_to_do(lab: Lab, tmp_path: Path) -> None:
    """All well at first; a backlog, a lake that stands still and a small budget are named with advice, worst first."""
    fill(lab)
    given = settings.load(lab.path, environ={})
    assert {r.status for r in doctor.examine(lab.store, given, lab.now_ms) if r.id != "bytes_free"} == {"ok"}
    lab.send(list(numbered(5)))
    strict = settings.load(lab.path, environ={}, storage={"disk_budget": "1KB"})
    readings = doctor.examine(lab.store, strict, lab.now_ms + 3_600_000)
    troubled = {r.id: r.advice for r in readings if r.status == "bad"}
    assert {"lag_s", "rows_pending", "bytes_used"} <= set(troubled)
    assert all(troubled.values())
    assert [r.status for r in readings] == sorted((r.status for r in readings), key=["bad", "warning", "ok"].index)
    assert len({r.id for r in readings}) == len(readings)


def test_read_only_data_directory_is_one_clear_error(tmp_path: Path) -> None:
    """Not a traceback of SQLite's."""
    (tmp_path / "state.db").mkdir(parents=True)
    with pytest.raises(MonaError, match=r"state\.db"):
        Store.open(tmp_path)
