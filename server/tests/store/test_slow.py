"""The slowest queries: kept across processes, a bounded number per tenant, told by the doctor."""

from __future__ import annotations

from dataclasses import replace

from mona_server import settings
from mona_server.store import doctor, slow
from mona_server.store.slow import SlowQuery
from tests.ingest.lab import START_MS, Lab

QUERY = SlowQuery("T", START_MS, "LOAN", "get_segment", 1_000_000, 2.0)


def test_the_slowest_are_kept(lab: Lab) -> None:
    """Of each tenant so many; a quick tenant's are not pushed out by a slow one's; after a week they go."""
    slow.note(lab.store.meta, replace(QUERY, tenant="other", seconds=1.1))
    for number in range(2 * slow.KEPT):
        slow.note(lab.store.meta, replace(QUERY, seconds=2.0 + number))
    found = slow.slowest(lab.store.meta, since_ms=0, limit=1_000)
    assert len(found) == slow.KEPT + 1
    assert [query.seconds for query in found[:2]] == [2.0 + 2 * slow.KEPT - 1, 2.0 + 2 * slow.KEPT - 2]
    assert found[-1].tenant == "other"
    assert slow.slowest(lab.store.meta, since_ms=0, tenant="other") == [found[-1]]
    slow.note(lab.store.meta, replace(QUERY, at_ms=START_MS + slow.KEPT_MS + 1))
    assert len(slow.slowest(lab.store.meta, since_ms=0, limit=1_000)) == 1


def test_doctor_tells_slow_queries(lab: Lab) -> None:
    """The slowest of the last day; a very slow one is a warning with advice; a tenant is told its own alone."""
    given = settings.load(lab.path, environ={})

    def told(tenant: str | None = None) -> list[doctor.Reading]:
        found = doctor.examine(lab.store, given, START_MS, tenant=tenant)
        return [reading for reading in found if reading.id.startswith("slow_query")]

    assert told() == []
    slow.note(lab.store.meta, QUERY)
    slow.note(lab.store.meta, replace(QUERY, tenant="other", context_class="SECRET", seconds=30.0))
    slow.note(lab.store.meta, replace(QUERY, at_ms=START_MS - 2 * doctor.DAY_MS, seconds=99.0))
    worst, other = told()
    assert (worst.id, worst.value, worst.unit, worst.status) == ("slow_query_1", 30.0, "s", "warning")
    assert "engine.memory" in worst.advice
    assert worst.title == "slow query 2023-11-14 22:13: get_segment, SECRET of other, 1,000,000 rows"
    assert (other.value, other.status, other.advice) == (2.0, "ok", "")
    (mine,) = told("T")
    assert mine.title == "slow query 2023-11-14 22:13: get_segment, LOAN, 1,000,000 rows"
