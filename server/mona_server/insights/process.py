"""The detect process: a scheduler that sleeps, a thread that sends notices, and a worker that is started for work and
gone after it.

The scheduler asks a few cheap questions a second. Reading data and searching takes memory that an idle server should
not hold, so it happens in a child that ends when nothing has been due for a while.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess

import structlog

from mona_server import logs
from mona_server.insights import due
from mona_server.notify import process as notify_process
from mona_server.settings import Settings
from mona_server.store.store import Store

log = structlog.get_logger()

POLL_S = 1.0
SCHEDULE_S = 5.0
"""How often the schedule is looked at; questions of people are looked for every second."""
LINGER_S = 10.0
"""The worker stays so long after its last work."""
END_S = 10.0
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20)}
"""For the worker's glibc: what an array leaves is kept for the next one instead of being fetched from the system again, page
by page, which takes a twentieth of a search. The worker is gone soon."""


def clock() -> datetime:
    """Now, with a zone."""
    return datetime.now(UTC)


def serve(settings: Settings, stop: threading.Event) -> None:
    """Run what is due and what people ask for, until ``stop`` is set. The current run is then given up, and repeated later."""
    worker: BaseProcess | None = None
    context = multiprocessing.get_context("spawn")
    os.environ.update(KEPT | os.environ)
    first = True
    looked_at = 0.0
    with Store.open(settings.data_dir, settings) as store:
        sender = threading.Thread(target=notify_process.run, args=(store, settings, stop), name="notify", daemon=True)
        sender.start()
        while not stop.is_set():
            alive = worker is not None and worker.is_alive()
            if not alive:
                try:
                    wanted = first or due.waiting_jobs(store, int(time.time() * 1000))
                    if not wanted and time.monotonic() - looked_at >= SCHEDULE_S:
                        looked_at = time.monotonic()
                        wanted = due.anything(store, clock())
                except Exception:
                    log.exception("schedule_failed")
                    wanted = False
                if wanted:
                    worker = context.Process(target=run_worker, args=(settings, os.getpid(), first), daemon=True)
                    worker.start()
                    first = False
            stop.wait(POLL_S)
        sender.join(END_S)
    if worker is not None and worker.is_alive():
        worker.terminate()
        worker.join(END_S)
        if worker.is_alive():
            worker.kill()
            worker.join()


def run_worker(settings: Settings, parent: int, recover: bool) -> None:
    """Work until nothing has been due for a while, or the scheduler is gone. Runs in a process of its own."""
    from mona_server.insights import work
    from mona_server.insights.runs import Desk

    logs.configure("detect")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def done() -> bool:
        return stopped.is_set() or os.getppid() != parent

    with Store.open(settings.data_dir, settings) as store:
        desk = Desk.of(store, settings)
        if recover:
            work.recover(desk, clock())
        idle_since = time.monotonic()
        while not done() and time.monotonic() - idle_since < LINGER_S:
            if work.work(desk, clock, done):
                idle_since = time.monotonic()
            stopped.wait(POLL_S)
