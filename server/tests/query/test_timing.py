"""Queries that take long are noted where the doctor finds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mona_server.query import service
from mona_server.query.reader import Dataset, Reader
from mona_server.query.timing import timed
from mona_server.settings import Settings
from mona_server.store import slow
from tests.ingest.lab import Lab, numbered


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def dataset(lab: Lab) -> Dataset:
    lab.send(list(numbered(30)))
    lab.fold()
    with Reader(lab.store, Settings(data_dir=lab.path)) as reader:
        return reader.dataset("T", "LOAN")


def test_a_slow_query_is_noted(lab: Lab, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who, when, which class, which function, how many rows, how long; quick ones are not; a failed one is."""
    assert service.overview.__name__ == "overview"

    @timed
    def long_one(of: Dataset, *, fails: bool = False) -> str:
        if fails:
            raise TimeoutError
        return of.name

    assert long_one(dataset) == "LOAN"
    assert slow.slowest(lab.store.meta, since_ms=0) == []
    monkeypatch.setattr(slow, "SLOW_S", 0.0)
    assert long_one(dataset) == "LOAN"
    with pytest.raises(TimeoutError):
        long_one(dataset, fails=True)
    found = slow.slowest(lab.store.meta, since_ms=0)
    assert {(q.tenant, q.context_class, q.kind, q.rows) for q in found} == {("T", "LOAN", "long_one", 30)}
    assert len(found) == 2
    assert all(q.seconds >= 0 for q in found)


def test_an_answer_does_not_wait_for_a_broken_database(
    lab: Lab, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be noted is not; the answer comes."""
    monkeypatch.setattr(slow, "SLOW_S", 0.0)
    with lab.store.meta.begin() as connection:
        connection.exec_driver_sql("DROP TABLE slow_queries")
    assert timed(lambda of: of.name)(dataset) == "LOAN"
