"""Fold and lake as processes: started and stopped, killed under load, one of each per data directory."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mona_server import settings as settings_module
from mona_server.errors import Conflict
from mona_server.ingest import fold_process, lake_process
from mona_server.settings import Settings
from mona_server.store import Accepted, Key, Store, jobs, lake, verify
from mona_server.store.relation import facts_query
from tests.ingest.lab import Lab, numbered
from tests.support import PATIENCE_S, eventually

NOW = 1_700_000_000_000
_spawn = multiprocessing.get_context("spawn")


def quick(data: Path) -> Settings:
    return settings_module.load(
        data,
        environ={},
        ingest={"flush_interval_s": 0.2, "flush_rows": 3_000, "fold_batch_messages": 500, "fold_idle_s": 0.02},
    )


def run(part: str, data: Path) -> None:
    serve = fold_process.serve if part == "fold" else lake_process.serve
    serve(quick(data), threading.Event())


@contextmanager
def running(data: Path, parts: tuple[str, ...] = ("fold", "lake")) -> Iterator[list[Any]]:
    started = [_spawn.Process(target=run, args=(part, data), daemon=True) for part in parts]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.join()


def counts(store: Store) -> dict[str, int]:
    """Context id → number of messages that it has counted, from the facts."""
    duck = lake.engine()
    try:
        snapshot = store.snapshot("T", "LOAN")
        facts = facts_query(duck, snapshot, ("MONA_ID", "MONA_SIGN"))
        rows = duck.execute(f"SELECT MONA_ID, sum(MONA_SIGN) FROM ({facts}) GROUP BY MONA_ID").fetchall()
        return dict(rows)
    finally:
        duck.close()


def test_data_is_visible_and_jobs_are_done(tmp_path: Path) -> None:
    """Within seconds of the acknowledgement; a job runs beside the folding; stopping is prompt."""
    given = quick(tmp_path)
    stop = threading.Event()
    threads = [threading.Thread(target=serve, args=(given, stop)) for serve in (fold_process.serve, lake_process.serve)]
    for thread in threads:
        thread.start()
    try:
        with Store.open(tmp_path, given) as store:
            send(store, 0, 50)
            eventually(lambda: bool(store.classes("T")) and store.classes("T")[0].contexts == 50, why="not folded")
            job = jobs.create(store.meta, "T", "backfill", {"context_class": "LOAN"}, NOW)
            bad = jobs.create(store.meta, "T", "backfill", {}, NOW)
            eventually(lambda: jobs.get(store.meta, "T", job).state == "done", why="no backfill")
            assert jobs.get(store.meta, "T", job).result == {"contexts": 50, "changed": 0}
            eventually(lambda: jobs.get(store.meta, "T", bad).state == "failed", why="a bad job did not fail")
            assert jobs.get(store.meta, "T", bad).error == "a backfill needs context_class"
            eventually(lambda: store.snapshot("T", "LOAN").pending_rows == 0, why="not flushed")
            assert counts(store) == {str(i): 1 for i in range(50)}
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


def test_a_delete_does_not_wait_for_a_backfill(lab: Lab) -> None:
    """A backfill may take minutes; who asks for a deletion meanwhile sees it done in seconds."""
    lab.send(list(numbered(20)))
    lab.fold()
    slow = jobs.create(lab.store.meta, "T", "backfill", {"context_class": "LOAN"}, lab.later())
    asked = {"context_class": "LOAN", "context_id": "c1"}
    quick_one = jobs.create(lab.store.meta, "T", "delete_context", asked, lab.later())
    workers = fold_process.workers(lab.folder, lab.later)
    for worker in workers:
        worker.step()
    assert jobs.get(lab.store.meta, "T", quick_one).state == "done"
    assert jobs.get(lab.store.meta, "T", slow).state == "running"
    while workers[-1].step():
        pass
    assert jobs.get(lab.store.meta, "T", slow).result["contexts"] == 19


def send(store: Store, start: int, count: int) -> None:
    messages = [
        {
            "arcClass": "LOAN",
            "contextId": str(i),
            "exportTimestamp": 1_600_000_000,
            "action": "ADD",
            "message": {"n": i},
        }
        for i in range(start, start + count)
    ]
    body = json.dumps({"messages": messages}).encode()
    key = Key.of("T", "export", f"{start}-{count}", body)
    store.inbox.append([Accepted("T", body, NOW, count, key=key)])


def test_one_of_each_per_data_directory(tmp_path: Path) -> None:
    """A second fold would read documents that the first is changing."""
    with fold_process.only_one(tmp_path, "fold"):
        with pytest.raises(Conflict, match="another fold"):
            fold_process.serve(quick(tmp_path), threading.Event())
        stopped = threading.Event()
        stopped.set()
        lake_process.serve(quick(tmp_path), stopped)


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_sigkill_under_load(tmp_path: Path, rounds: int) -> None:
    """Whatever is killed whenever: every acknowledged message is found, and none is counted twice.

    Each message ADDs its number to a context of two messages, so that a lost one and a doubled one both show.
    """
    random = Random(7)
    data = tmp_path / "data"
    sent = 0
    with Store.open(data, quick(data)) as store:
        for _ in range(rounds):
            with running(data) as processes:
                target = store.newest_revision() + random.randrange(3)
                for _ in range(random.randrange(3, 8)):
                    for _ in range(2):
                        send_pair(store, sent, 100)
                    sent += 100
                    if store.newest_revision() > target:
                        break
                os.kill(random.choice(processes).pid, signal.SIGKILL)
        with running(data):
            eventually(lambda: store.inbox.tenants() == [])
            eventually(lambda: store.snapshot("T", "LOAN").pending_rows == 0)
        assert counts(store) == {str(i): 1 for i in range(sent)}
        documents = store.state.connection.execute("SELECT context_id, variables FROM documents").fetchall()
        assert {id_: json.loads(v)["n"] for id_, v in documents} == {str(i): [i, i] for i in range(sent)}
        assert [f for f in verify.verify(store, now_ms=NOW) if f.id != "file_unlisted"] == []


_sequence = iter(range(10**9))


def send_pair(store: Store, start: int, count: int) -> None:
    messages = [
        {"arcClass": "LOAN", "contextId": str(i), "action": "ADD", "message": {"n": i}}
        for i in range(start, start + count)
    ]
    body = json.dumps({"messages": messages}).encode()
    key = Key.of("T", "export", f"pair {next(_sequence)}", body)
    accepted = Accepted("T", body, NOW, count, key=key)
    # As a client whose connection broke: the same request again, under its key.
    first, second = store.inbox.append([accepted, accepted])
    assert (first.number is None, second.number is None) == (False, True)
