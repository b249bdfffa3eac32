"""Forks: children start empty, parents keep their queue, nobody hangs (Q9)."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.tests.conftest import a_message, wait_until
from mona_sdk.tests.servers import TOKEN_PATH, RecordingServer, hang
from mona_sdk.tests.test_background import run_script

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python 3.12 warns of forks in programs with threads; that they work is what is tested here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


def in_child(work: Callable[[], bool], timeout_s: float = 60) -> None:
    """Run `work` in a forked child, which must say True in time."""
    pid = os.fork()
    if pid == 0:
        ok = False
        try:
            ok = work()
        finally:
            os._exit(0 if ok else 1)
    deadline = time.monotonic() + timeout_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, "the child failed"
            return
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)


def test_preloaded_client_in_children(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """As gunicorn with preload: the client is made and used before the forks; every message arrives once."""
    client = make_client(background=True, flush_interval=5)
    client.export(a_message(0))
    for child in range(1, 4):

        def work(child: int = child) -> bool:
            assert client.stats()["queued"] == 0
            return all(client.export(a_message(child * 100 + n)) for n in range(10)) and client.flush(10)

        in_child(work)
    client.export(a_message(1))
    assert client.flush(10)
    identities = [message["contextId"] for message in server.messages]
    assert len(identities) == len(set(identities)) == 32


def test_synchronous_client_in_children(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """A child never speaks on a connection of its parent."""
    client = make_client()
    assert client.export(a_message(0))
    in_child(lambda: client.export(a_message(1)))
    assert client.export(a_message(2))
    connections = [request.connection for request in server.sends]
    assert connections[0] == connections[2] != connections[1]


def test_fork_while_another_thread_authenticates(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """The child has locks of its own, and authenticates."""
    client = make_client()
    released = threading.Event()
    server.routes["/slow"] = hang(released)
    slow: Any = {"auth_api_token_url": f"{server.url}/slow", "num_of_retries_for_authentication": 0}
    thread = threading.Thread(target=lambda: make_client("slow", "secret", **slow))
    thread.start()
    wait_until(lambda: "/slow" in server.paths())
    server.routes["/slow"] = server.routes[TOKEN_PATH]
    in_child(lambda: client.export(a_message(1)))
    in_child(lambda: Client("slow", "secret", server_url=server.url, **slow).export(a_message(2)))
    released.set()
    thread.join()
    assert len(server.messages) == 2


def test_fork_in_the_middle_of_traffic(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Threads export in the background and in the foreground while the process forks again and again."""
    background, foreground = make_client(background=True, flush_interval=0.01), make_client()
    stop = threading.Event()
    sent: list[int] = []

    def work(first: int, client: Client) -> None:
        number = first
        while not stop.is_set():
            assert client.export(a_message(number))
            sent.append(number)
            number += 1
            time.sleep(0.0005)

    threads = [
        threading.Thread(target=work, args=(10_000 * k, client))
        for k, client in enumerate((background, foreground, background, foreground))
    ]
    for thread in threads:
        thread.start()
    for child in range(10):
        in_child(
            lambda child=child: (  # type: ignore[misc]
                background.export(a_message(100_000 + child))
                and background.flush(10)
                and foreground.export(a_message(200_000 + child))
            )
        )
    stop.set()
    for thread in threads:
        thread.join()
    assert background.flush(10)
    identities = [message["contextId"] for message in server.messages]
    assert len(identities) == len(set(identities)) == len(sent) + 20


def test_closed_clients_stay_closed_in_the_child(make_client: Callable[..., Client]) -> None:
    """What is finished is not woken by a fork."""
    client = make_client(background=True)
    client.export(a_message())
    client.close()
    in_child(lambda: client.export(a_message(1)) is False and client.flush(1) is False)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork start method")
def test_multiprocessing_children_drain_at_their_end(server: RecordingServer) -> None:
    """Such a child ends without `atexit`; what it exported arrives all the same, once."""
    run_script(
        f"""
        sys.path[:0] = {sys.path!r}
        import multiprocessing
        from mona_sdk import Client, MonaSingleMessage
        client = Client("key", "secret", server_url=sys.argv[1], background=True, flush_interval=60)
        def export(first):
            for n in range(first, first + 10):
                assert client.export(MonaSingleMessage(message={{}}, contextClass="C", contextId=str(n)))
        export(0)
        children = [multiprocessing.get_context("fork").Process(target=export, args=(100 * k,)) for k in range(1, 4)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        """,
        server.url,
    )
    identities = [message["contextId"] for message in server.messages]
    assert len(identities) == len(set(identities)) == 40
