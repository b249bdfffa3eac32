"""The life of the sender: look at the queue every few seconds until asked to stop."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import structlog

from mona_server.notify import Storage, deliver_due, queue
from mona_server.settings import Settings

PAUSE_S = 3.0
_SWEEP_S = 6 * 3600.0

log = structlog.get_logger()


def run(store: Storage, settings: Settings, stop: threading.Event) -> None:
    """Deliver what is due until ``stop`` is set. Meant for a thread of the process that runs the search."""
    swept = -_SWEEP_S
    while not stop.is_set():
        try:
            deliver_due(store, settings)
            if time.monotonic() - swept > _SWEEP_S:
                queue.sweep(store.meta, datetime.now(UTC))
                swept = time.monotonic()
        except Exception:  # the edge of a thread: a locked database today must not silence tomorrow
            log.exception("notify_pass_broke")
        stop.wait(PAUSE_S)
