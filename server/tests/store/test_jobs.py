"""Jobs: claimed by one worker, resumed after a crash, cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from mona_server.errors import NotFound
from mona_server.ingest.work import Clock, Step, Worker
from mona_server.store import jobs
from mona_server.store.jobs import LEASE_MS, Job, LostJob
from mona_server.store.meta import open_meta


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Engine]:
    engine = open_meta(tmp_path / "meta.db")
    yield engine
    engine.dispose()


def test_life_of_a_job(meta: Engine) -> None:
    """Queued, claimed, on its way, done; oldest first; a kind that nobody asked for is left alone."""
    first = jobs.create(meta, "T", "backfill", {"x": 1}, 10, author="ann")
    jobs.create(meta, "T", "other", {}, 5)
    second = jobs.create(meta, "U", "backfill", {}, 11)
    job = jobs.claim(meta, ("backfill",), "w", 20)
    assert job is not None
    assert (job.id, job.parameters, job.state, job.author) == (first, {"x": 1}, "running", "ann")
    jobs.progress(meta, job, 0.5, checkpoint={"after": 3}, now_ms=21)
    assert jobs.get(meta, "T", first).progress == 0.5
    jobs.finish(meta, job, {"n": 2}, now_ms=22)
    found = jobs.get(meta, "T", first)
    assert (found.state, found.progress, found.result, found.checkpoint) == ("done", 1.0, {"n": 2}, None)
    other = jobs.claim(meta, ("backfill",), "w", 23)
    assert other is not None
    assert other.id == second
    assert jobs.claim(meta, ("backfill",), "w", 24) is None
    assert [j.kind for j in jobs.recent(meta, "T")] == ["backfill", "other"]
    assert [j.kind for j in jobs.recent(meta, "T", kind="other")] == ["other"]


def test_a_dead_workers_job_is_taken_over(meta: Engine) -> None:
    """After the lease, from the checkpoint; the old worker, should it live, is told that it lost it."""
    jobs.create(meta, "T", "backfill", {}, 0)
    old = jobs.claim(meta, ("backfill",), "w1", 0)
    assert old is not None
    jobs.progress(meta, old, 0.3, checkpoint=7, now_ms=10)
    assert jobs.claim(meta, ("backfill",), "w2", LEASE_MS) is None
    new = jobs.claim(meta, ("backfill",), "w2", LEASE_MS + 11)
    assert new is not None
    assert (new.checkpoint, new.worker) == (7, "w2")
    with pytest.raises(LostJob):
        jobs.finish(meta, old, {}, now_ms=LEASE_MS + 12)


def test_other_tenants_job_does_not_exist(meta: Engine) -> None:
    """Not even its state can be seen."""
    job_id = jobs.create(meta, "T", "backfill", {}, 0)
    with pytest.raises(NotFound):
        jobs.get(meta, "U", job_id)
    with pytest.raises(NotFound):
        jobs.cancel(meta, "U", job_id, now_ms=1)


def test_worker_does_one_step_at_a_time(meta: Engine) -> None:
    """Steps of a job; a cancelled one stops; one that fails says why, and the next is done."""
    done: list[int] = []

    def count(job: Job, clock: Clock) -> Iterator[Step]:
        for i in range(job.parameters["n"]):
            if job.parameters.get("bad") == i:
                raise ZeroDivisionError
            done.append(i)
            yield Step(i / 10, checkpoint=i)
        yield Step(1.0, result={"n": len(done)})

    worker = Worker(meta, {"count": count}, "w", lambda: 1_000)
    assert not worker.step()
    first = jobs.create(meta, "T", "count", {"n": 2}, 0)
    assert [worker.step() for _ in range(4)] == [True, True, True, False]
    assert jobs.get(meta, "T", first).result == {"n": 2}
    second = jobs.create(meta, "T", "count", {"n": 5}, 1)
    worker.step()
    jobs.cancel(meta, "T", second, now_ms=2)
    worker.step()
    assert not worker.step()
    assert jobs.get(meta, "T", second).state == "cancelled"
    third = jobs.create(meta, "T", "count", {"n": 2, "bad": 1}, 3)
    worker.step()
    worker.step()
    found = jobs.get(meta, "T", third)
    assert (found.state, found.error) == ("failed", "internal error, see the server's log")
