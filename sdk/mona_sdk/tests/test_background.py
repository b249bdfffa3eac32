"""The queue and its lanes (Q6 to Q9, Q38, Q45, Q46)."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.delivery import worker as worker_module
from mona_sdk.tests.conftest import a_message, ends_within, wait_until
from mona_sdk.tests.servers import Answer, RecordingServer, Request, accept_all, always, hang


def lanes() -> int:
    """Threads of ours that live now."""
    return sum(thread.name == "mona-sender" for thread in threading.enumerate())


def test_exports_are_queued_and_sent_together(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Few requests for many messages; the results say what was queued."""
    client = make_client(background=True, flush_interval=60)
    assert client.export(a_message(1)) is True
    result = client.export_batch([a_message(n) for n in range(2, 1200)] + [5], default_action="ADD")  # type: ignore[list-item]
    assert (result["total"], result["failed"], result["sent"], result["queued"]) == (1199, 1, 1198, 1198)
    assert client.flush(10) is True
    assert len(server.messages) == 1199
    assert len(server.sends) <= 5
    assert max(len(request.json["messages"]) for request in server.sends) <= 500
    assert client.stats()["sent"] == 1199


def test_a_message_leaves_after_the_flush_interval(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Without anybody asking for it."""
    client = make_client(background=True, flush_interval=0.1)
    started = time.monotonic()
    client.export(a_message())
    wait_until(lambda: server.messages, worker_module.IDLE_S / 2)
    assert time.monotonic() - started >= 0.1


def test_a_full_queue_refuses_and_counts(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """By number and by bytes; what was accepted arrives."""
    gate = threading.Event()

    def hold(request: Request) -> Any:
        gate.wait(10)
        return accept_all(request)

    server.routes["/export"] = hold
    for bounds in ({"max_queue_messages": 5}, {"max_queue_bytes": 600}):
        gate.clear()
        server.requests.clear()
        client = make_client("key", str(bounds), background=True, batch_max_messages=1, flush_interval=0, **bounds)
        client.export(a_message(0))
        wait_until(lambda: server.sends)
        result = client.export_batch([a_message(0, text=str(n)) for n in range(1, 11)])
        assert 0 < result["failed"] < 10
        assert result["failure_reasons"]["9"] == "the queue is full"
        assert client.export(a_message(99, text="x" * 500)) is False
        assert client.stats()["lost"] == {"queue_full": result["failed"] + 1}
        gate.set()
        assert client.flush(10)
        assert len(server.messages) == 11 - result["failed"]


def test_messages_of_a_context_arrive_in_the_order_of_the_calls(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """Although several requests are under way at once, and some fail at first."""
    lock = threading.Lock()
    order: dict[str, list[int]] = {}
    under_way, calls = 0, 0
    all_queued, overlap = threading.Event(), threading.Event()

    def slow(request: Request) -> Any:
        nonlocal under_way, calls
        # A lane gets company when it comes back and finds more than it takes: the first answer waits until it will.
        all_queued.wait(30)
        with lock:
            under_way += 1
            calls += 1
            first, fail = calls == 1, calls % 7 == 0
            if under_way > 1:
                overlap.set()
        if not first:
            overlap.wait(30)
        time.sleep(0.01)
        with lock:
            under_way -= 1
            if fail:
                return Answer(503, {})
            for message in request.json["messages"]:
                order.setdefault(message["contextId"], []).append(message["message"]["n"])
        return accept_all(request)

    server.routes["/export"] = slow
    # A request that is given up and sent again would be counted twice here: no machine is too slow for a minute.
    client = make_client(background=True, batch_max_messages=20, flush_interval=0.01, read_timeout=60)
    for number in range(3000):
        assert client.export(a_message(number % 50, n=number))
    all_queued.set()
    assert client.flush(60)
    assert overlap.is_set()
    assert sum(map(len, order.values())) == 3000
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_verdicts_come_to_the_hook(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """What the server refuses later is counted and told."""
    told: list[Any] = []
    server.routes["/export"] = always(400, {"failed": 1, "failure_reasons": {"1": "bad id"}})
    client = make_client(background=True, on_error=lambda reason, messages: told.append((reason, messages)))
    assert client.export_batch([a_message(1), a_message(2)])["failed"] == 0
    assert client.flush(5)
    assert [(reason, [m["contextId"] for m in messages]) for reason, messages in told] == [("bad id", ["id-2"])]
    assert (client.stats()["sent"], client.stats()["failed"]) == (1, 1)


def test_flush_never_blocks_longer(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Against a silent server it gives up in time, and says so."""
    released = threading.Event()
    server.routes["/export"] = hang(released)
    client = make_client(background=True, read_timeout=60)
    client.export(a_message())
    for limit in (0, 0.3):
        with ends_within(15):
            assert client.flush(limit) is False
    released.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_flush_restarts_a_worker_that_died(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """A lane that ends in the middle of its work gives it back, and the message still arrives."""
    client = make_client(background=True, flush_interval=0.01)
    worker: Any = client._worker
    perform, deaths = worker._perform, []

    def die(work: Any) -> None:
        worker._perform = perform
        deaths.append(work)
        raise SystemExit

    worker._perform = die
    client.export(a_message())
    wait_until(lambda: deaths)
    wait_until(lambda: lanes() == 0)
    assert client.flush(5) is True
    assert len(server.messages) == 1


def test_flush_after_close_is_false(make_client: Callable[..., Client]) -> None:
    """Nothing is accepted then, either."""
    client = make_client(background=True)
    assert client.close() is True
    assert client.flush() is False
    assert client.export(a_message()) is False


def test_close_is_bounded_and_counts_what_is_left(
    server: RecordingServer, make_client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """The server is silent: `close(0.3)` ends in time, and the loss is counted and logged once."""
    released = threading.Event()
    server.routes["/export"] = hang(released)
    client = make_client(background=True, batch_max_messages=2, read_timeout=60)
    client.export_batch([a_message(n) for n in range(20)])
    with ends_within(15):
        assert client.close(0.3) is False
    assert client.stats()["dropped"] == 20
    assert caplog.text.count("could not be delivered before the end") == 1
    released.set()
    wait_until(lambda: lanes() == 0)
    assert client.stats()["dropped"] == 20


def test_what_fails_while_the_client_is_closed_is_counted_once(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """A lane has given a batch up and tells so, when `close` comes: one of the two counts it."""
    server.routes["/export"] = always(503, {})
    telling, closed = threading.Event(), threading.Event()

    def tell(*_: Any) -> None:
        telling.set()
        closed.wait(30)

    client = make_client(background=True, max_retries=0, flush_interval=0, on_error=tell)
    client.export_batch([a_message(n) for n in range(5)])
    assert telling.wait(30)
    client.close(0)
    closed.set()
    assert client.stats()["dropped"] == 5


def test_a_batch_is_given_up_after_its_retries(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """A server that answers 503 for ever: the loss is counted by reason, and `flush` says so."""
    server.routes["/export"] = always(503, {"topLevelError": "full"})
    told: list[str] = []
    client = make_client(background=True, max_retries=1, on_error=lambda reason, _: told.append(reason))
    client.export(a_message())
    assert client.flush(10) is False
    assert client.stats()["dropped"] == 1
    assert len(server.sends) == 2
    assert len(told) == 1
    assert "full" in told[0]


def test_an_outage_is_outlasted(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """With no server at all, retries are not used up: the message waits in the queue's bounds and arrives."""
    client = make_client(background=True, max_retries=0, flush_interval=0.01)
    port = server.port
    server.close()
    client.export(a_message())
    worker: Any = client._worker
    wait_until(lambda: client.stats()["retried"] >= 2)
    assert client.stats()["queued"] == 1
    assert client.stats()["dropped"] == 0
    with RecordingServer(port=port) as back:
        assert client.flush(20)
        assert len(back.messages) == 1
        assert worker.queued == 0


def test_many_clients_share_one_worker(server: RecordingServer) -> None:
    """1,000 clients of one key: one thread, and clients that are dropped are collected."""
    wait_until(lambda: lanes() == 0)
    clients = [
        Client("key", "secret", server_url=server.url, background=True, flush_interval=60, batch_max_messages=2000)
        for _ in range(1000)
    ]
    for number, client in enumerate(clients):
        assert client.export(a_message(number))
    assert lanes() == 1
    assert clients[0].flush(20)
    assert len({client._worker for client in clients}) == 1
    assert len(server.messages) == 1000
    assert all(client.stats()["sent"] == 1 for client in clients[::100])
    gone = weakref.ref(clients[0])
    clients.clear()
    del client
    gc.collect()
    assert gone() is None


def test_workers_are_not_shared_between_keys(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Nor between options."""
    workers = {
        make_client(background=True)._worker,
        make_client(background=True)._worker,
        make_client("other", "secret", background=True)._worker,
        make_client("key", "other", background=True)._worker,
        make_client(background=True, batch_max_messages=7)._worker,
    }
    assert len(workers) == 4


def test_lanes_end_when_there_is_nothing_to_do(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And come back with the next message."""
    monkeypatch.setattr(worker_module, "IDLE_S", 0.1)
    client = make_client(background=True, flush_interval=0.01)
    for _ in range(2):
        client.export(a_message())
        wait_until(lambda: client.stats()["queued"] == 0 and client.stats()["sent"] > 0)
        wait_until(lambda: lanes() == 0)
    assert len(server.messages) == 2


def test_unsent_data_is_visible(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """`queued` and `oldest_queued_age` grow while nothing is sent."""
    client = make_client(background=True, flush_interval=30)
    client.export_batch([a_message(n) for n in range(3)])
    first = client.stats()["oldest_queued_age"]
    wait_until(lambda: client.stats()["oldest_queued_age"] > first)
    assert client.stats()["queued"] == 3


@pytest.mark.slow
def test_eight_threads_store_everything(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """8 threads x 10,000 exports through one client: all True, all stored."""
    server.keep_requests = False
    stored: set[str] = set()
    lock = threading.Lock()

    def keep(request: Request) -> Any:
        with lock:
            stored.update(message["contextId"] for message in request.json["messages"])
        return accept_all(request)

    server.routes["/export"] = keep
    client = make_client(background=True, max_queue_messages=100_000, max_queue_bytes=1 << 30)
    failed: list[int] = []

    def work(thread: int) -> None:
        failed.extend(n for n in range(10_000) if client.export(a_message(thread * 10_000 + n)) is not True)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert client.flush(60)
    assert len(stored) == 80_000
    assert client.stats()["sent"] == 80_000


def run_script(script: str, *arguments: str, timeout: float = 60) -> tuple[str, float]:
    """Run a program in a process of its own; what it printed, and for how long it ran after its last line."""
    code = textwrap.dedent(script) + "\nprint('end', time.time())\n"
    process = subprocess.run(
        [sys.executable, "-c", "import sys, time\n" + code, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    ended = time.time()
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    lines = process.stdout.splitlines()
    return process.stdout, ended - float(lines[-1].split()[1])


EXPORTER = """
from mona_sdk import Client, MonaSingleMessage
client = Client(server_url=sys.argv[1], background=True, should_use_authentication=False, user_id="U")
for n in range(1000):
    assert client.export(MonaSingleMessage(message={"n": n}, contextClass="C", contextId=str(n)))
"""


def test_a_script_that_ends_delivers_what_it_exported(server: RecordingServer) -> None:
    """1,000 exports and no flush: 1,000 arrive."""
    run_script(EXPORTER, server.url)
    assert len(server.messages) == 1000


def test_a_script_ends_in_time_without_a_server(server: RecordingServer) -> None:
    """The exit drain is bounded by `shutdown_timeout`, 2 seconds; the queue would wait for a server for ever."""
    server.close()
    _, seconds = run_script(EXPORTER, server.url)
    assert seconds < 20
