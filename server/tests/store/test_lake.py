"""The lake: flush, compaction, erasure, as-of reads; and a crash between any two of their steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mona_server import settings
from mona_server.errors import BadRequest, DataDamaged, NotFound
from mona_server.ingest import deletes
from mona_server.ingest.lake_process import Keeper
from mona_server.store import catalog, compact, contexts, lake, state, verify
from mona_server.store.flush import flush
from tests.ingest.lab import Crash, Lab, crash_at, numbered

DAY = 86_400_000
FIELDS: dict[str, Any] = {"LOAN": {"a": "numeric", "label": "boolean"}}


def fill(lab: Lab, batches: int = 9, contexts_: int = 20) -> None:
    """Some batches, each flushed: the second half repeats contexts with new values."""
    lab.builders.configure(FIELDS)
    for i in range(batches):
        lab.send([{**m, "message": {"a": i * 100 + j}} for j, m in enumerate(numbered(contexts_))])
        lab.fold()
        lab.flush()


def files(lab: Lab, kind: str = "facts") -> list[lake.LakeFile]:
    with lab.store.state.reading() as connection:
        return [file for file in lake.all_live(connection, lab.store.lake) if file.kind == kind]


def test_flush_moves_rows_and_changes_no_answer(lab: Lab) -> None:
    """The same facts from pending rows and from a file; nothing is pending afterwards."""
    lab.builders.configure(FIELDS)
    lab.send(list(numbered(50)))
    lab.fold()
    before = lab.facts()
    lab.flush()
    assert lab.facts() == before
    assert lab.store.snapshot("T", "LOAN").pending_rows == 0
    (file,) = files(lab)
    assert (file.rows, file.level) == (50, 0)
    assert file.checksum == lake.checksum(file.path)


def test_decoded_rows_go_with_the_flush(lab: Lab) -> None:
    """A reader keeps decoded what is pending, and not what is in files: its memory does not follow the history."""
    for _ in range(3):
        lab.send(list(numbered(50)))
        lab.fold()
        lab.facts()
        assert lab.store._chunks.rows == 50
        lab.flush()
        lab.facts()
        assert lab.store._chunks.rows == 0
        lab.send([{"contextId": f"c{i}", "action": "DELETE", "message": {}} for i in range(50)])
        lab.fold()
        lab.flush()


def test_decoded_rows_go_with_the_flush_of_a_class_that_nobody_asks_for_again(lab: Lab) -> None:
    """Forgetting looks at all classes, and keeps what still waits."""
    for name in ("A", "B", "C"):
        lab.send(list(numbered(50)), context_class=name)
        lab.fold()
        lab.facts(context_class=name)
    lab.store.forget_flushed()
    assert lab.store._chunks.rows == 150
    flush(lab.store, lab.duck, lab.later(), max_rows=200)
    lab.store.forget_flushed()
    assert lab.store._chunks.rows == 50
    lab.flush()
    lab.store.forget_flushed()
    assert lab.store._chunks.rows == 0


def test_checked_files_are_forgotten_with_the_files(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process remembers of files follows those there are, not all that ever were."""
    monkeypatch.setattr("mona_server.store.store._MOST_CHECKED", 3)
    lab.restart()
    for i in range(8):
        fill(lab)
        lab.facts()
        lab.compact()
        lake.sweep(lab.store.state.connection, lab.store.lake, lab.later(lake.GRACE_MS))
        lab.send([{"contextId": f"{i}", "message": {"a": i}}])
        lab.fold()
        lab.flush()
        lab.facts()
    there = {file.file_id for file in files(lab)}
    assert there <= lab.store._checked
    assert len(lab.store._checked) < max(there) / 4


def test_flush_is_bounded(lab: Lab) -> None:
    """One flush takes about so many rows, at least one chunk; more of them take the rest."""
    lab.folder._batch_messages = 10
    for _ in range(3):
        lab.send(list(numbered(10)))
        lab.send([{"message": {}} for _ in range(10)])
    lab.fold()
    lab.flush(max_rows=25)
    assert len(files(lab)) > 1
    assert len(lab.facts()) == 40


@pytest.mark.parametrize(
    "point", ["flush: file written", "flush: files listed", "flush: before commit", "flush: committed"]
)
def test_crash_in_a_flush(lab: Lab, point: str) -> None:
    """Each row is in a file or pending, never both, never neither; what the crash left is cleaned up."""
    lab.builders.configure(FIELDS)
    lab.send(list(numbered(30)))
    lab.fold()
    before = lab.facts()
    crash_at(point)
    with pytest.raises(Crash):
        lab.flush()
    lab.restart()
    assert lab.facts() == before
    lab.flush()
    assert lab.facts() == before
    with lab.store.state.reading() as connection:
        for path in lake.unlisted(connection, lab.store.lake):
            path.unlink()
    assert verify.verify(lab.store, now_ms=lab.now_ms) == []


def test_compaction_drops_cancelled_pairs_only_beyond_the_horizon(lab: Lab) -> None:
    """Nine versions of 20 contexts are 340 rows; those that nobody may read as of any more shrink to 20."""
    fill(lab)
    assert sum(file.rows for file in files(lab)) == 20 * 17
    before = lab.facts()
    assert lab.compact() == 2
    assert sum(file.rows for file in files(lab)) == 20 * 17
    assert lab.facts() == before
    lab.later(40 * DAY)
    assert lab.compact() == 1
    assert sum(file.rows for file in files(lab)) == 20
    assert lab.facts() == before
    fill(lab, batches=8)
    lab.later(40 * DAY)
    after = lab.facts()
    lab.compact()
    assert sum(file.rows for file in files(lab)) == 20
    assert lab.facts() == after
    assert lab.compact() == 0
    assert verify.verify(lab.store, now_ms=lab.now_ms) == []


def test_as_of_reads_see_what_was_known(lab: Lab) -> None:
    """By time, across flush and compaction; before the horizon the answer is refused, not wrong."""
    lab.builders.configure(FIELDS)
    known = {}
    for i in range(9):
        lab.send([{"contextId": "1", "message": {"a": i}}, {"contextId": f"n{i}", "message": {"a": 0}}])
        lab.fold()
        known[lab.now_ms] = lab.facts()
        if i % 2:
            lab.flush()
    lab.flush()
    lab.compact()
    for at, facts in known.items():
        assert lab.facts(as_of=at) == facts
    with pytest.raises(NotFound):
        lab.store.snapshot("T", "OTHER")
    lab.later(40 * DAY)
    lab.compact()
    with pytest.raises(BadRequest, match="before the time that is kept"):
        lab.store.snapshot("T", "LOAN", min(known))
    assert lab.facts(as_of=lab.now_ms) == known[max(known)]


@pytest.mark.parametrize(
    "point", ["compact: file written", "swap: files listed", "swap: before commit", "swap: committed"]
)
def test_crash_in_a_compaction(lab: Lab, point: str) -> None:
    """Old or new files count, never both."""
    fill(lab)
    before = lab.facts()
    crash_at(point)
    with pytest.raises(Crash):
        lab.compact()
    lab.restart()
    assert lab.facts() == before
    lab.compact()
    assert lab.facts() == before
    assert [f.id for f in verify.verify(lab.store, now_ms=lab.now_ms) if f.id != "file_unlisted"] == []


def test_large_days_get_files_of_their_own(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days with few rows, as late labels make them, share one file."""
    monkeypatch.setattr(compact, "DAY_ROWS", 50)
    for i in range(8):
        lab.send([{"exportTimestamp": 1_600_000_000 + (j % 40) * 86_400 * (j % 2), "message": {}} for j in range(20)])
        lab.send([{"exportTimestamp": 1_500_000_000, "message": {"a": i}}])
        lab.fold()
        lab.flush()
    before = lab.facts()
    lab.compact()
    assert lab.facts() == before
    found = sorted((file.days[1] - file.days[0] == 0, file.rows) for file in files(lab))
    assert found == [(False, 8 * 11), (True, 8 * 10)]


def test_replaced_files_stay_for_the_grace_period(lab: Lab) -> None:
    """A query that began before the swap still finds its files."""
    fill(lab)
    snapshot = lab.store.snapshot("T", "LOAN")
    lab.compact()
    assert all(file.path.exists() for file in snapshot.files)
    connection = lab.store.state.connection
    assert lake.sweep(connection, lab.store.lake, lab.now_ms) == 0
    assert lake.sweep(connection, lab.store.lake, lab.later(lake.GRACE_MS)) > 0
    assert not any(file.path.exists() for file in snapshot.files)
    assert len(lab.facts()) == 20


def test_deleted_context_leaves_everything(lab: Lab) -> None:
    """Documents, facts, messages, pending rows and reads as of an earlier time; the others stay."""
    fill(lab, batches=3)
    lab.send([{"contextId": "c1", "message": {"label": True}}])
    lab.fold()
    at = lab.now_ms
    assert lab.job(deletes.delete_context, {"context_class": "LOAN", "context_id": "c1"}) == {"contexts": 1}
    assert "c1" not in lab.facts()
    assert "c1" in lab.facts(as_of=at)
    lab.erase()
    assert "c1" not in lab.facts(as_of=at)
    assert len(lab.facts(as_of=at)) == 19
    assert contexts.message_history(lab.store, lab.duck, "T", "LOAN", "c1") == []
    assert len(contexts.message_history(lab.store, lab.duck, "T", "LOAN", "c2")) == 3
    assert not any(row["MONA_ID"] == "c1" for row in lab.rows())
    with pytest.raises(NotFound):
        contexts.read_context(lab.store, "T", "LOAN", "c1")
    assert verify.verify(lab.store, now_ms=lab.now_ms) == []


def test_a_message_after_the_delete_stays(lab: Lab) -> None:
    """The context starts anew; only what was there before is erased."""
    fill(lab, batches=2)
    lab.job(deletes.delete_context, {"context_class": "LOAN", "context_id": "c1"})
    lab.send([{"contextId": "c1", "message": {"label": True}}])
    lab.fold()
    lab.erase()
    assert {k: v for k, v in lab.facts()["c1"].items() if k != "MONA_TIMESTAMP"} == {"label": True}
    assert len(contexts.message_history(lab.store, lab.duck, "T", "LOAN", "c1")) == 1


def test_delete_of_a_time_range(lab: Lab) -> None:
    """Half-open, by context time; contexts outside stay."""
    lab.builders.configure(FIELDS)
    lab.send(
        [{"contextId": str(i), "exportTimestamp": 1_600_000_000 + i * 86_400, "message": {"a": i}} for i in range(10)]
    )
    lab.fold()
    lab.flush()
    bounds = {"from_ms": 1_600_000_000_000 + 2 * DAY, "to_ms": 1_600_000_000_000 + 5 * DAY}
    assert lab.job(deletes.delete_range, {"context_class": "LOAN", **bounds}) == {"contexts": 3}
    lab.erase()
    assert sorted(lab.facts()) == ["0", "1", "5", "6", "7", "8", "9"]
    assert lab.store.classes("T")[0].contexts == 7
    assert lab.job(deletes.delete_range, {"context_class": "NONE", **bounds}) == {"contexts": 0}
    assert verify.verify(lab.store, now_ms=lab.now_ms) == []


def test_delete_of_a_whole_class(lab: Lab) -> None:
    """Without bounds everything goes; the class takes new data afterwards."""
    fill(lab, batches=3)
    assert lab.job(deletes.delete_range, {"context_class": "LOAN"}) == {"contexts": 20}
    lab.erase()
    assert lab.rows() == []
    assert files(lab, "messages") == []
    lab.send(list(numbered(2)))
    lab.fold()
    assert len(lab.facts()) == 2


def test_forgotten_tenant(lab: Lab) -> None:
    """Nothing of it is left, the tenant beside it is untouched, and it may begin again."""
    fill(lab, batches=3)
    lab.send(list(numbered(5)), tenant="U")
    lab.fold()
    lab.send(list(numbered(5)))
    assert lab.job(deletes.forget_tenant, {}) == {"contexts": 20}
    lab.erase()
    lab.folder.forget_unused()
    assert lab.store.tenants() == ["U"]
    assert lab.store.inbox.tenants() == []
    assert len(lab.facts(tenant="U")) == 5
    lab.send(list(numbered(3)))
    lab.fold()
    assert len(lab.facts()) == 3
    assert verify.verify(lab.store, now_ms=lab.now_ms) == []


@pytest.mark.parametrize("point", ["swap: before commit", "swap: committed", "erase: files replaced"])
def test_crash_in_an_erasure(lab: Lab, point: str) -> None:
    """It is done again from the start, to the same end."""
    fill(lab, batches=3)
    lab.job(deletes.delete_context, {"context_class": "LOAN", "context_id": "c1"})
    crash_at(point)
    with pytest.raises(Crash):
        lab.erase()
    lab.restart()
    lab.erase()
    assert not any(row["MONA_ID"] == "c1" for row in lab.rows())
    assert len(lab.facts()) == 19


@pytest.mark.parametrize("harm", ["missing", "truncated", "flipped"])
def test_damaged_file_is_named_not_served(lab: Lab, harm: str) -> None:
    """A reader refuses, whatever the engine would make of it."""
    fill(lab, batches=2)
    (first, _) = files(lab)
    hurt(first.path, harm)
    lab.restart()
    with pytest.raises(DataDamaged, match=first.path.name):
        lab.rows()


def hurt(path: Path, harm: str) -> None:
    if harm == "missing":
        path.unlink()
    elif harm == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))


@pytest.mark.parametrize("table", ["files", "pending"])
def test_lost_manifest_row_is_noticed_at_once(lab: Lab, table: str) -> None:
    """The ledger knows how many rows there must be."""
    fill(lab, batches=2)
    lab.send(list(numbered(3, label=True)))
    lab.fold()
    lab.store.state.connection.execute(
        f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table} WHERE kind = 'facts')"
    )
    with pytest.raises(DataDamaged, match="rows of facts"):
        lab.rows()


@pytest.mark.parametrize("kind", ["facts", "messages"])
def test_a_damaged_file_is_neither_served_nor_rewritten(lab: Lab, kind: str) -> None:
    """Merging or erasing it would give the damage a good checksum; other classes are kept as ever."""
    classes = ("LOAN", "OTHER")
    lab.builders.configure({name: {"a": "numeric"} for name in classes})
    for i in range(compact.FAN_IN):
        for name in classes:
            lab.send(list(numbered(20, a=i)), context_class=name)
        lab.fold()
        lab.flush()
    with lab.store.state.reading() as connection:
        loan, other = (catalog.find_class(connection, "T", name) for name in classes)
    assert loan is not None
    damaged = next(file for file in files(lab, kind) if file.class_id == loan)
    content = bytearray(damaged.path.read_bytes())
    content[len(content) // 3] ^= 1
    damaged.path.write_bytes(bytes(content))
    lab.restart()

    def read() -> None:
        if kind == "facts":
            lab.store.snapshot("T", "LOAN")
        else:
            contexts.message_history(lab.store, lab.duck, "T", "LOAN", "c1")

    with pytest.raises(DataDamaged, match=damaged.path.name):
        read()
    keeper = Keeper(lab.store, settings.load(lab.path, environ={}))
    while keeper.tick(lab.later()):
        pass
    keeper.close()
    left = {(k, c): sum(f.class_id == c for f in files(lab, k)) for k in ("facts", "messages") for c in (loan, other)}
    assert left == {(k, c): compact.FAN_IN if (k, c) == (kind, loan) else 1 for k, c in left}
    with lab.store.state.writing() as connection:
        state.add_erasure(connection, loan, lab.store.newest_revision(), ["c1"])
    with pytest.raises(DataDamaged, match=damaged.path.name):
        lab.erase()
    assert damaged in files(lab, kind)
    assert "file_damaged" in [finding.id for finding in verify.verify(lab.store, now_ms=lab.later())]
