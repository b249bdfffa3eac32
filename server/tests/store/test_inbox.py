"""The inbox: durable before acknowledged, in order, each request once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mona_server.errors import Overloaded, Unavailable
from mona_server.store import Accepted, Inbox, Key, KeyReused, StoredAnswer, idempotency
from mona_server.store.idempotency import PERIOD_MS

NOW = 1_700_000_000_000


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    made = Inbox(tmp_path / "inbox.db")
    yield made
    made.close()


def accepted(
    body: bytes = b"{}", *, tenant: str = "T", key: str | None = None, at: int = NOW, answer: bytes | None = None
) -> Accepted:
    made = None if key is None else Key.of(tenant, "export", key, body)
    return Accepted(tenant, body, at, 1, limits="[]", key=made, answer=answer)


def test_rows_come_out_in_order(inbox: Inbox) -> None:
    """What was appended is read per tenant, in the order of the numbers, with everything that the fold needs."""
    receipts = inbox.append([accepted(b"1"), accepted(b"2", tenant="U"), accepted(b"3")])
    assert [r.number for r in receipts] == [1, 2, 3]
    assert [(r.number, r.body, r.arrival_ms, r.limits) for r in inbox.read("T", 0)] == [
        (1, b"1", NOW, "[]"),
        (3, b"3", NOW, "[]"),
    ]
    assert [r.number for r in inbox.read("T", 1)] == [3]
    assert inbox.tenants() == ["T", "U"]


def test_read_is_bounded(inbox: Inbox) -> None:
    """By rows and by bytes, but at least one row, or a large body could never be folded."""
    inbox.append([accepted(b"x" * 100) for _ in range(5)])
    assert len(inbox.read("T", 0, max_rows=2)) == 2
    assert len(inbox.read("T", 0, max_bytes=250)) == 3
    assert len(inbox.read("T", 0, max_bytes=1)) == 1


def test_numbers_go_on_after_everything_is_forgotten(inbox: Inbox) -> None:
    """An emptied table would start at 1 again, and numbers that the fold has passed would never be folded."""
    inbox.append([accepted(), accepted()])
    assert inbox.forget("T", 2) == 2
    assert inbox.forget("T", 2) == 0
    assert inbox.append([accepted()])[0].number == 3
    inbox.lift_numbers(100)
    inbox.lift_numbers(50)
    assert inbox.append([accepted()])[0].number == 101
    assert inbox.last_number() == 101


def test_numbers_can_be_lifted_before_the_first_row(inbox: Inbox) -> None:
    """A restored inbox may never have had a row."""
    inbox.lift_numbers(7)
    assert inbox.append([accepted()])[0].number == 8


def test_backlog(inbox: Inbox) -> None:
    """Rows, bytes and age of what waits, also when an early part is gone."""
    assert inbox.backlog() == type(inbox.backlog())(0, 0, None)
    inbox.append([accepted(b"x" * 10, at=NOW + i) for i in range(5)])
    inbox.forget("T", 2)
    found = inbox.backlog()
    assert (found.rows, found.bytes, found.oldest_arrival_ms) == (3, 30, NOW + 2)


def test_many_senders_share_transactions_and_get_their_own_numbers(inbox: Inbox) -> None:
    """From eight threads: every body once, every receipt of its own body."""

    def send(i: int) -> tuple[int, int | None]:
        return i, inbox.append([accepted(str(i).encode())])[0].number

    with ThreadPoolExecutor(8) as pool:
        numbers = dict(pool.map(send, range(200)))
    bodies = {row.number: row.body for row in inbox.read("T", 0)}
    assert {i: int(bodies[number]) for i, number in numbers.items() if number is not None} == {i: i for i in range(200)}


async def test_submit_can_be_awaited(inbox: Inbox) -> None:
    """A future of the writer thread wakes an event loop."""
    futures = [asyncio.wrap_future(inbox.submit(accepted())) for _ in range(20)]
    assert sorted([(await future).number or 0 for future in futures]) == list(range(1, 21))


def test_same_key_and_body_gets_the_first_answer(inbox: Inbox) -> None:
    """Nothing is stored, and the answer is the first one, a partial failure included."""
    inbox.append([accepted(b"1", key="full"), accepted(b"2", key="partial", answer=b"{...}")])
    again = inbox.append([accepted(b"1", key="full"), accepted(b"2", key="partial", answer=b"other")])
    assert [(r.number, r.replayed) for r in again] == [(None, StoredAnswer(1, None)), (None, StoredAnswer(1, b"{...}"))]
    assert inbox.backlog().rows == 2
    assert inbox.replays("T", 0, 2**60) == [(NOW // 3_600_000 * 3_600_000, 2, 2)]


def test_two_requests_with_one_key_in_one_group(inbox: Inbox) -> None:
    """The second waits for the first, though both are in the same transaction."""
    first, second = (inbox.submit(accepted(b"1", key="k")) for _ in range(2))
    assert first.result().number == 1
    assert second.result().replayed == StoredAnswer(1, None)


def test_key_with_another_body_is_refused_alone(inbox: Inbox) -> None:
    """The neighbours in the same transaction are stored."""
    inbox.append([accepted(b"1", key="k")])
    futures = [inbox.submit(accepted(b"a")), inbox.submit(accepted(b"2", key="k")), inbox.submit(accepted(b"b"))]
    with pytest.raises(KeyReused):
        futures[1].result()
    assert [futures[0].result().number, futures[2].result().number] == [2, 3]


@pytest.mark.parametrize(
    ("tenant", "family", "key"),
    [("U", "export", "k"), ("T", "otlp", "k"), ("T", "export", "k.1"), ("Texport", "", "k")],
)
def test_scope_of_a_key(inbox: Inbox, tenant: str, family: str, key: str) -> None:
    """Tenant, path family and suffix belong to the key."""
    inbox.append([accepted(b"1", key="k")])
    other = Accepted(tenant, b"2", NOW, 1, key=Key.of(tenant, family, key, b"2"))
    assert inbox.append([other])[0].number == 2


def test_replay_is_known_before_the_body_is_parsed(inbox: Inbox) -> None:
    """The API asks first; an unknown key is None, another body is refused."""
    assert inbox.replay(Key.of("T", "export", "k", b"1")) is None
    inbox.append([accepted(b"1", key="k")])
    assert inbox.replay(Key.of("T", "export", "k", b"1")) == StoredAnswer(1, None)
    with pytest.raises(KeyReused):
        inbox.replay(Key.of("T", "export", "k", b"2"))


def test_keys_survive_folding_and_a_restart(tmp_path: Path) -> None:
    """They live apart from the rows, which go once folded."""
    first = Inbox(tmp_path / "inbox.db")
    first.append([accepted(b"1", key="k")])
    first.forget("T", 1)
    first.close()
    second = Inbox(tmp_path / "inbox.db")
    assert second.append([accepted(b"1", key="k")])[0].replayed == StoredAnswer(1, None)
    second.close()


def test_keys_are_kept_48_hours(tmp_path: Path) -> None:
    """A period is dropped whole once its last key is old enough; a key that was dropped is new again."""
    connection = sqlite3.connect(":memory:")
    connection.executescript("CREATE TABLE periods (period INTEGER PRIMARY KEY, keys INTEGER NOT NULL)")
    known: list[int] = []
    keys = [Key.of("T", "export", str(i), b"") for i in range(4)]
    for i, key in enumerate(keys):
        idempotency.remember(connection, key, 1, None, i * PERIOD_MS, known)
    keep = 2 * PERIOD_MS
    assert idempotency.expire(connection, 3 * PERIOD_MS - 1, keep, 100) == 0
    assert idempotency.find(connection, keys[0], idempotency.periods(connection)) is not None
    assert idempotency.expire(connection, 3 * PERIOD_MS, keep, 100) == 0
    assert idempotency.find(connection, keys[0], idempotency.periods(connection)) is None
    assert idempotency.find(connection, keys[1], idempotency.periods(connection)) is not None
    assert idempotency.expire(connection, 3 * PERIOD_MS, keep, 2) == 1
    assert idempotency.find(connection, keys[1], idempotency.periods(connection)) is None
    assert idempotency.find(connection, keys[3], idempotency.periods(connection)) is not None
    connection.close()


def test_full_backlog_refuses_with_a_time_to_wait(tmp_path: Path) -> None:
    """Above the limit senders are told when to come back; once the fold has caught up they are welcome again."""
    inbox = Inbox(tmp_path / "inbox.db", max_bytes=1000)
    inbox.append([accepted(b"x" * 2000)])
    with pytest.raises(Overloaded) as caught:
        _append_until_checked(inbox)
    assert 1 <= caught.value.retry_after_s <= 60
    inbox.forget("T", 2**62)
    _append_until_taken(inbox)
    inbox.close()


def _append_until_checked(inbox: Inbox) -> None:
    for _ in range(100_000):
        inbox.append([accepted(b"")])


def _append_until_taken(inbox: Inbox) -> None:
    for _ in range(100_000):
        try:
            inbox.append([accepted(b"")])
        except Overloaded:
            continue
        return
    raise AssertionError("still refused")


def test_refused_request_does_not_use_its_key(tmp_path: Path) -> None:
    """After a 429 the same request may come again."""
    inbox = Inbox(tmp_path / "inbox.db", max_bytes=10)
    inbox.append([accepted(b"x" * 20)])
    with pytest.raises(Overloaded):
        _append_until_checked(inbox)
    with pytest.raises(Overloaded):
        inbox.append([accepted(b"1", key="k")])
    assert inbox.replay(Key.of("T", "export", "k", b"1")) is None
    inbox.close()


def test_closed_inbox_says_so(tmp_path: Path) -> None:
    """What was submitted before is stored."""
    inbox = Inbox(tmp_path / "inbox.db")
    future = inbox.submit(accepted())
    inbox.close()
    assert future.result().number == 1
    with pytest.raises(Unavailable):
        inbox.submit(accepted())


def test_two_processes_may_append(tmp_path: Path) -> None:
    """Two inboxes on one file: keys are shared, numbers are not given twice."""
    a, b = Inbox(tmp_path / "inbox.db"), Inbox(tmp_path / "inbox.db")
    a.append([accepted(b"1", key="k")])
    assert b.append([accepted(b"1", key="k")])[0].replayed is not None
    assert b.append([accepted(b"2")])[0].number == 2
    a.close()
    b.close()
