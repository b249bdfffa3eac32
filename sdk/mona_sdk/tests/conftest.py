"""Fixtures: a recording server, clients of it, and a clean slate of tokens, environment and warnings."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pytest

from mona_sdk import Client, MonaSingleMessage, log, message, settings
from mona_sdk.auth import store
from mona_sdk.delivery.registry import registry
from mona_sdk.tests.servers import RecordingServer


@pytest.fixture(autouse=True)
def _clean_slate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("MONA_") or any(name in others for _, others, _ in settings.ENVIRONMENT.values()):
            monkeypatch.delenv(name)
    yield
    registry.close_all()
    store.API_KEYS_TO_TOKEN_DATA.clear()
    store._states.clear()
    log._last.clear()
    settings._warned.clear()
    message._warned = False
    logging.getLogger("mona-logger").setLevel(logging.NOTSET)


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """A server that takes everything and remembers it."""
    with RecordingServer() as running:
        yield running


@pytest.fixture
def make_client(server: RecordingServer) -> Iterator[Callable[..., Client]]:
    """Makes clients of the server; they are closed at the end."""
    made: list[Client] = []

    def make(*args: Any, **kwargs: Any) -> Client:
        client = Client(*(args or ("key", "secret")), **{"server_url": server.url, **kwargs})
        made.append(client)
        return client

    yield make
    for client in made:
        client.close(0)


def a_message(number: int = 0, **values: Any) -> MonaSingleMessage:
    """A small message with an id of its own."""
    return MonaSingleMessage(
        message=values or {"amount": number}, contextClass="LOAN", contextId=f"id-{number}", exportTimestamp=1700000000
    )


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer.

    This is for calls that must not wait for something: `seconds` is many times what they take on a busy machine, and
    much less than that something (a timeout of a minute, a server that is silent for ever). How fast things are is
    measured in benchmarks/sdk.
    """
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)
