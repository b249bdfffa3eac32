"""Jobs that would hold up every answer: imports and backtests. They happen in a child process that lives as long as there
are such jobs. The folders that are watched make imports here.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from sqlalchemy import Engine, or_, select
from sqlalchemy.exc import SQLAlchemyError

from mona_server import logs
from mona_server.api import backtests, imports
from mona_server.errors import MonaError
from mona_server.settings import Settings
from mona_server.sources import folders
from mona_server.store import Store, jobs
from mona_server.store.jobs import Job, LostJob
from mona_server.store.tables_jobs import jobs as table

Progress = Callable[[float, Any], None]
"""Called with the share that is done and a checkpoint. Raises LostJob when the work must stop."""
Do = Callable[[Store, Settings, Job, Progress], Mapping[str, Any]]
KINDS: Mapping[str, Do] = {imports.KIND: imports.do, backtests.KIND: backtests.do}
"""A further kind of job is a function and a line here."""

_POLL_S = 1.0
log = structlog.get_logger("mona.background")


def watch(settings: Settings, meta: Engine, stop: threading.Event) -> None:
    """Look into folders, and keep a child process while there are jobs, until ``stop`` is set."""
    context = multiprocessing.get_context("spawn")
    while not stop.wait(_POLL_S):
        try:
            folders.look(meta, settings.imports.roots, now_ms=_now_ms())
            if not _waiting(meta):
                continue
        except (MonaError, SQLAlchemyError) as error:  # a busy database: the next round is soon enough
            log.warning("jobs not read", error=type(error).__name__)
            continue
        child = context.Process(target=_child, args=(settings, os.getpid()), daemon=True)
        child.start()
        while child.is_alive() and not stop.is_set():
            child.join(_POLL_S)
        if child.is_alive():
            child.terminate()  # a job goes on from its checkpoint after the next start
            child.join()


def _child(settings: Settings, parent: int) -> None:
    logs.configure("background")
    work(settings, parent)


def work(settings: Settings, parent: int | None = None) -> None:
    """Do all jobs there are; give up the current one when ``parent`` is no longer the parent process."""
    with Store.open(settings.data_dir, settings) as store:
        while job := jobs.claim(store.meta, tuple(KINDS), f"background-{os.getpid()}", _now_ms()):
            _do(store, settings, job, parent)


def _do(store: Store, settings: Settings, job: Job, parent: int | None) -> None:
    def progress(share: float, checkpoint: Any) -> None:
        if parent is not None and os.getppid() != parent:
            raise LostJob(job.id)
        jobs.progress(store.meta, job, min(share, 1.0), checkpoint=checkpoint, now_ms=_now_ms())

    try:
        result = KINDS[job.kind](store, settings, job, progress)
        jobs.finish(store.meta, job, dict(result), now_ms=_now_ms())
    except LostJob:
        log.info("job stopped", job=job.id)
    except MonaError as error:
        jobs.fail(store.meta, job, str(error), now_ms=_now_ms())
    except Exception as error:  # noqa: BLE001 - the edge of the loop: one bad job stops no other
        log.error("job crashed", job=job.id, kind=job.kind, error=type(error).__name__)  # noqa: TRY400
        jobs.fail(store.meta, job, "internal error, see the server's log", now_ms=_now_ms())


def _waiting(meta: Engine) -> bool:
    left = (table.c.state == "running") & (table.c.lease_until_ms < _now_ms())
    free = or_(table.c.state == "queued", left)
    with meta.connect() as db:
        return db.execute(select(table.c.id).where(table.c.kind.in_(tuple(KINDS)), free).limit(1)).first() is not None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
