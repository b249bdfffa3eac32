"""Servers that misbehave on purpose: every call ends, nothing raises, and nothing is lost that could be kept."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.tests.conftest import a_message, ends_within, wait_until
from mona_sdk.tests.servers import TOKEN_PATH, Keeper, RecordingServer, accept_all

# Names under .invalid never exist (RFC 2606).
NO_HOST = "no-such-host.invalid"
QUICK: dict[str, Any] = {"connect_timeout": 0.3, "read_timeout": 0.3, "export_deadline": 0.6}


def silent(sock: socket.socket) -> None:
    """Accepts, reads, and says nothing until the other side goes."""
    with contextlib.suppress(OSError):
        sock.recv(1)


def half_closed(sock: socket.socket) -> None:
    """Shuts its sending side in the middle of the headers."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        sock.recv(1)


def dripping(sock: socket.socket) -> None:
    """A byte now and then, for ever: no single read ever times out."""
    with contextlib.suppress(OSError):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            sock.sendall(b" ")
            time.sleep(0.05)


def dripping_head(sock: socket.socket) -> None:
    """The same in the headers."""
    with contextlib.suppress(OSError):
        sock.sendall(b"HTTP/1.1 200 OK\r\nX-Filler: ")
        while True:
            sock.sendall(b"a")
            time.sleep(0.05)


def truncated(sock: socket.socket) -> None:
    """Promises more than it sends."""
    sock.sendall(b'HTTP/1.1 400 Bad\r\nContent-Length: 500\r\n\r\n{"failed":')


def garbage(sock: socket.socket) -> None:
    """No HTTP at all."""
    sock.sendall(b"\x00\x01\x02 not http\r\n\r\n" * 20)


def bad_gzip(sock: socket.socket) -> None:
    """Says gzip and is none."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")


def endless_headers(sock: socket.socket) -> None:
    """More headers than anyone needs."""
    with contextlib.suppress(OSError):
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n")


MISBEHAVIOURS = [silent, half_closed, dripping, dripping_head, truncated, garbage, bad_gzip, endless_headers]


@pytest.mark.parametrize("behaviour", MISBEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_a_misbehaving_server_costs_a_message_and_no_more_than_the_deadline(
    server: RecordingServer, make_client: Callable[..., Client], behaviour: Any
) -> None:
    """`export` is False within the deadline; the client works again as soon as the server does."""
    client = make_client(**QUICK)
    server.routes["/export"] = lambda _: behaviour
    with ends_within(15):
        assert client.export(a_message()) is False
        result = client.export_batch([a_message(1), a_message(2)])
    assert result["failed"] == 2
    server.routes["/export"] = accept_all
    # Once is enough, but 0.6 s are short for a busy machine.
    wait_until(lambda: client.export(a_message(3)))


@pytest.mark.parametrize("behaviour", MISBEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_a_misbehaving_token_endpoint_does_not_hold_the_constructor(
    server: RecordingServer, make_client: Callable[..., Client], behaviour: Any
) -> None:
    """(retries + 1) x (connect + read + wait) at most."""
    server.routes[TOKEN_PATH] = lambda _: behaviour
    with ends_within(15):
        client = make_client(num_of_retries_for_authentication=1, wait_time_for_authentication_retries=0.1, **QUICK)
    assert client.is_active() is False


def test_a_host_that_does_not_exist(make_client: Callable[..., Client]) -> None:
    """DNS failure is a connection failure: tried again, and lost only where nobody keeps it."""
    with contextlib.suppress(socket.gaierror):
        pytest.skip(f"the resolver here has an answer for names that do not exist: {socket.getaddrinfo(NO_HOST, 80)}")
    arguments: dict[str, Any] = {"server_url": f"http://{NO_HOST}", "access_token": "t", "user_id": "U"}
    client = make_client(max_retries=1, export_deadline=60, **arguments)
    reason = client.export_batch([a_message()])["failure_reasons"]["0"]
    assert "NameResolutionError" in reason
    assert client.stats()["retried"] == 1
    assert client.get_config()["error_message"] == "Cannot connect to app-server."
    background = make_client(background=True, flush_interval=0.01, **arguments)
    assert background.export(a_message())
    wait_until(lambda: background.stats()["retried"] > 0)
    assert (background.stats()["queued"], background.stats()["dropped"]) == (1, 0)


@pytest.mark.parametrize(
    "address", ["ftp://x", "nonsense", "http://", "http://[::1", "http://h:port", "http://ex ample/"]
)
def test_a_bad_address_is_contained(make_client: Callable[..., Client], address: str) -> None:
    """Construction warns, calls fail at once."""
    client = make_client(server_url=address, access_token="t", user_id="U", export_deadline=60)
    with ends_within(20):
        assert client.export(a_message()) is False
        assert client.get_config() == {}


def test_a_connection_that_died_meanwhile_is_replaced_at_once(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """The server restarts between two calls: no retry is counted, no time is lost."""
    client = make_client(max_retries=0)
    assert client.export(a_message(1))
    server.cut()
    assert client.export(a_message(2))
    server.routes["/export"] = lambda request: accept_all(request) if len(server.sends) != 4 else None
    assert client.export(a_message(3))
    assert client.export(a_message(4))
    assert client.stats()["retried"] == 0


def test_a_server_that_is_restarted_all_the_time_stores_each_message_once(
    make_client: Callable[..., Client],
) -> None:
    """20 restarts during 20,000 messages: connections break in the middle of requests and of answers."""
    store = Keeper(lost_answers=0.15, seed=3)
    first = RecordingServer(keep_requests=False, routes={"/export": store})
    running = [first]
    client = make_client(server_url=first.url, background=True, batch_max_messages=100, flush_interval=0.01)
    stop = threading.Event()
    restarts = 0

    def restart() -> None:
        nonlocal restarts
        while restarts < 20 and not stop.is_set():
            stop.wait(0.05)
            running[-1].close()
            stop.wait(0.02)
            running.append(RecordingServer(keep_requests=False, port=first.port, routes={"/export": store}))
            restarts += 1

    killer = threading.Thread(target=restart)
    killer.start()
    for number in range(20_000):
        while not client.export(a_message(number)):
            time.sleep(0.001)
    killer.join()
    assert restarts == 20
    assert client.flush(30)
    running[-1].close()
    assert len(store.stored) == 20_000
    assert set(store.stored.values()) == {1}
    assert client.stats()["sent"] == 20_000
