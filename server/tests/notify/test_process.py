"""The sender's life in the detect process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from mona_server.notify import InsightEvent, deliver_due, enqueue, process
from mona_server.settings import Settings
from tests.support import PATIENCE_S, eventually

from .conftest import Hooks, Storage, loan


@contextmanager
def running(store: Storage, settings: Settings) -> Iterator[None]:
    """The loop in a thread; it must end when told to."""
    stop = threading.Event()
    thread = threading.Thread(target=process.run, args=(store, settings, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_what_is_queued_goes_out_until_it_is_stopped(
    store: Storage,
    settings: Settings,
    hooks: Hooks,
    event: Callable[..., InsightEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Notices queued by another process are sent soon; the stop ends the loop at once."""
    monkeypatch.setattr(process, "PAUSE_S", 0.05)
    with running(store, settings):
        for name in "ab":
            enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event("new", name)], datetime.now(UTC))
            eventually(lambda name=name: len(hooks.got) == " ab".index(name))  # type: ignore[misc]


def test_a_failing_pass_does_not_end_the_loop(
    store: Storage,
    settings: Settings,
    hooks: Hooks,
    event: Callable[..., InsightEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One broken pass is logged; the next one sends."""
    passes: list[int] = []

    def sometimes(*given: object) -> int:
        passes.append(1)
        if len(passes) == 1:
            raise OSError("the disk is full")
        return deliver_due(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(process, "PAUSE_S", 0.05)
    monkeypatch.setattr(process, "deliver_due", sometimes)
    enqueue(store, "default", loan(ops={"webhook": hooks.url}), [event()], datetime.now(UTC))
    with running(store, settings):
        eventually(lambda: len(hooks.got) == 1)
