"""Backfill: old contexts get the fields of the configuration that is active now."""

from __future__ import annotations

from typing import Any

import pytest

from mona_server.errors import BadRequest
from mona_server.ingest import backfill
from mona_server.store import jobs, verify
from tests.ingest.lab import START_MS, Lab, numbered

DAY = 86_400_000
DAY_S = 86_400


def test_data_before_its_configuration(lab: Lab) -> None:
    """Send first, configure later: the fields appear for all old contexts, once, and a second run changes nothing."""
    lab.send(list(numbered(30, s="x")))
    lab.fold()
    lab.flush()
    lab.builders.configure({"LOAN": {"a": "numeric", "s": "string"}})
    assert all(set(fact) == {"MONA_TIMESTAMP"} for fact in lab.facts().values())
    assert lab.job(backfill.backfill, {"context_class": "LOAN"}) == {"contexts": 30, "changed": 30}
    assert {id_: fact["a"] for id_, fact in lab.facts().items()} == {f"c{i}": float(i) for i in range(30)}
    assert lab.job(backfill.backfill, {"context_class": "LOAN"}) == {"contexts": 30, "changed": 0}
    assert verify.verify(lab.store, now_ms=lab.now_ms) == []


def test_range_of_context_time(lab: Lab) -> None:
    """Half-open; contexts outside keep what they have."""
    lab.send(
        [{"contextId": str(i), "exportTimestamp": START_MS // 1000 - i * DAY_S, "message": {"a": i}} for i in range(10)]
    )
    lab.fold()
    lab.builders.configure({"LOAN": {"a": "numeric"}})
    bounds = {"from_ms": START_MS - 5 * DAY, "to_ms": START_MS - 2 * DAY}
    assert lab.job(backfill.backfill, {"context_class": "LOAN", **bounds}) == {"contexts": 3, "changed": 3}
    assert sorted(id_ for id_, fact in lab.facts().items() if "a" in fact) == ["3", "4", "5"]


def test_resumed_after_a_crash(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the checkpoint; a step that was committed but not noted is repeated without harm."""
    monkeypatch.setattr(backfill, "_STEP_DOCUMENTS", 10)
    lab.send(list(numbered(35)))
    lab.fold()
    lab.builders.configure({"LOAN": {"a": "numeric"}})
    job_id = jobs.create(lab.store.meta, "T", "backfill", {"context_class": "LOAN"}, 0)
    job = jobs.claim(lab.store.meta, ("backfill",), "w", 0)
    assert job is not None
    steps = backfill.backfill(lab.folder, job, lab.later)
    done = next(steps)
    jobs.progress(lab.store.meta, job, done.progress, checkpoint=done.checkpoint, now_ms=1)
    next(steps)  # committed, and the process ends before it can say so
    lab.restart()
    again = jobs.claim(lab.store.meta, ("backfill",), "w2", 10**9)
    assert again is not None
    last = list(backfill.backfill(lab.folder, again, lab.later))[-1]
    assert last.result == {"contexts": 35, "changed": 25}
    assert all("a" in fact for fact in lab.facts().values())
    assert jobs.get(lab.store.meta, "T", job_id).progress > 0


def test_messages_go_on_meanwhile(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context that changes between two steps has the newest values, whichever came first."""
    monkeypatch.setattr(backfill, "_STEP_DOCUMENTS", 5)
    lab.send(list(numbered(20)))
    lab.fold()
    lab.builders.configure({"LOAN": {"a": "numeric"}})
    jobs.create(lab.store.meta, "T", "backfill", {"context_class": "LOAN"}, 0)
    job = jobs.claim(lab.store.meta, ("backfill",), "w", 0)
    assert job is not None
    for n, _ in enumerate(backfill.backfill(lab.folder, job, lab.later)):
        lab.send([{"contextId": f"c{i}", "message": {"a": 1000 + n}} for i in (1, 19)])
        lab.send([{"contextId": f"new{n}", "message": {"a": n}}])
        lab.fold()
    facts = lab.facts()
    assert facts["c1"]["a"] == facts["c19"]["a"] >= 1003
    assert all("a" in fact for fact in facts.values())


def test_default_range_is_eight_weeks_of_the_data(lab: Lab) -> None:
    """Counted back from its last day, which may be years ago."""
    assert backfill.default_range(lab.store, "T", "LOAN") is None
    lab.send([{"contextId": "1", "exportTimestamp": 1_500_000_000, "message": {}}])
    lab.fold()
    found = backfill.default_range(lab.store, "T", "LOAN")
    assert found is not None
    assert found[1] == (1_500_000_000 // DAY_S + 1) * DAY
    assert found[1] - found[0] == 56 * DAY


@pytest.mark.parametrize("parameters", [{}, {"context_class": 5}, {"context_class": "LOAN", "from_ms": "yesterday"}])
def test_bad_parameters(lab: Lab, parameters: dict[str, Any]) -> None:
    """Named, before anything is touched."""
    with pytest.raises(BadRequest):
        lab.job(backfill.backfill, parameters)


def test_unknown_class_is_done_at_once(lab: Lab) -> None:
    """There is nothing to rebuild."""
    assert lab.job(backfill.backfill, {"context_class": "NONE"}) == {"contexts": 0, "changed": 0}
