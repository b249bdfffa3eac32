"""The fold process: folds the inbox, and does the jobs that change documents, one small step at a time."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog

from mona_server.errors import Conflict, MonaError, file_errors
from mona_server.ingest import backfill, deletes
from mona_server.ingest.builders import Builders, ConfiguredBuilders
from mona_server.ingest.fold import Folder
from mona_server.ingest.work import Clock, Work, Worker
from mona_server.settings import Settings
from mona_server.store.store import Store

log = structlog.get_logger(__name__)

_JOB_POLL_S = 1.0
_BATCHES_PER_JOB_STEP = 4
"""While messages wait, a job gets one step after so many batches."""
_RETRY_S = 2.0


def clock() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


@contextmanager
def only_one(data_dir: Path, name: str) -> Iterator[None]:
    """Hold the lock of a part of which a data directory may have one, which is made when missing.

    Raises Conflict when it is taken, Unavailable where it cannot be written. The operating system gives it back when the process ends, however that happens.
    """
    with file_errors(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(data_dir / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another {name} process works on this data directory", hint="stop it first") from None
        yield
    finally:
        os.close(handle)


def workers(folder: Folder, now: Clock = clock) -> list[Worker]:
    """Do the jobs that change documents: deletes in one row, backfills, which take longer, in another."""
    rows: list[dict[str, Work]] = [
        {
            "delete_context": partial(deletes.delete_context, folder),
            "delete_range": partial(deletes.delete_range, folder),
            "forget_tenant": partial(deletes.forget_tenant, folder),
        },
        {"backfill": partial(backfill.backfill, folder)},
    ]
    return [Worker(folder.store.meta, kinds, f"fold-{os.getpid()}", now) for kinds in rows]


def serve(settings: Settings, stop: threading.Event, *, builders: Builders | None = None) -> None:
    """Fold until ``stop`` is set. Raises Conflict where another fold works on the data directory."""
    with only_one(settings.data_dir, "fold"), Store.open(settings.data_dir, settings, folding=True) as store:
        folder = Folder(
            store, builders or ConfiguredBuilders(store.meta), batch_messages=settings.ingest.fold_batch_messages
        )
        _loop(folder, workers(folder), stop, settings.ingest.fold_idle_s)


def _loop(folder: Folder, jobs: list[Worker], stop: threading.Event, idle_s: float) -> None:
    seen = -1
    batches = 0
    job_at = 0.0
    while not stop.is_set():
        try:
            version = folder.store.inbox.data_version()
            folded = folder.step(clock()) if version != seen else None
            batches = batches + 1 if folded else 0
            if not folded:
                seen = version
            if batches % _BATCHES_PER_JOB_STEP == 0 and time.monotonic() >= job_at:
                worked = [worker.step() for worker in jobs]
                job_at = 0.0 if any(worked) else time.monotonic() + _JOB_POLL_S
                if not folded and not any(worked):
                    folder.forget_unused()
                    folder.store.inbox.shrink()
            if not folded and job_at:
                stop.wait(idle_s)
        except MonaError as error:
            # A full disk or a busy database: nothing is lost, the same batch is folded again.
            log.warning("the fold waits", problem=error.message, hint=error.hint)
            seen = -1
            stop.wait(_RETRY_S)
        except sqlite3.Error:
            log.exception("the fold waits")
            seen = -1
            stop.wait(_RETRY_S)
