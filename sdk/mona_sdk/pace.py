"""Long work in a thread beside an event loop, in short steps.

A thread that computes keeps the interpreter for up to 5 ms (`sys.getswitchinterval()`, which is the program's to set)
before one that has just woken gets it. So what an AsyncClient does in its threads pauses every millisecond, long enough
for the loop to take over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Optional, TypeVar

T = TypeVar("T")

STEP_S = 0.001
# The system rounds this up to about 0.1 ms, in which a waiting thread wakes; without a pause it comes too late.
PAUSE_S = 0.00005


class _Thread(threading.local):
    """When the calling thread pauses next (monotonic); None where nobody waits for it."""

    pause_at: Optional[float] = None


_thread = _Thread()


@contextmanager
def considerate() -> Iterator[None]:
    """Inside, the calling thread pauses at its steps."""
    _thread.pause_at = time.monotonic() + STEP_S
    try:
        yield
    finally:
        _thread.pause_at = None


def step() -> None:
    """Called between short pieces of work: pause if it is time."""
    pause_at = _thread.pause_at
    if pause_at is not None and time.monotonic() >= pause_at:
        time.sleep(PAUSE_S)
        _thread.pause_at = time.monotonic() + STEP_S


def in_steps(values: Iterable[T]) -> Iterator[T]:
    """The values, with a step after each."""
    for value in values:
        yield value
        step()
