"""Imports of files that the server can read: which paths are allowed, a job for each, and the process that does them.

Reading millions of rows would hold up every other answer, so it happens in a child process that lives as long as
there are import jobs.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Engine, or_, select

from mona_server import logs
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity import audit
from mona_server.errors import BadRequest, Forbidden, MonaError
from mona_server.ingest.limits import Limits
from mona_server.settings import Settings
from mona_server.sources.files import FileMapping
from mona_server.sources.imports import Import, import_file
from mona_server.store import Store, jobs
from mona_server.store.jobs import Job, LostJob
from mona_server.store.tables_jobs import jobs as table

KIND = "import"
_POLL_S = 1.0
log = structlog.get_logger("mona.imports")


def start(edge: Edge, caller: Caller, file_path: str, mapping: FileMapping) -> str:
    """Queue an import; the job's id. Raises :class:`Forbidden` for a path that the server may not read."""
    path = allowed(file_path, edge.settings.imports.roots)
    parameters = {"context_class": mapping.context_class, "file": str(path), "mapping": mapping.to_json()}
    job_id = jobs.create(edge.meta, caller.tenant, KIND, parameters, edge.clock(), author=caller.author)
    told = {"file": path.name, "context_class": mapping.context_class}
    audit.record(edge.meta, caller.actor, "data.import", job_id, now_ms=edge.clock(), after=told)
    return job_id


def allowed(file_path: str, roots: tuple[str, ...]) -> Path:
    """The real path of a file below one of the roots. One text for all refusals: it tells nothing about other files."""
    if "://" in file_path:
        raise BadRequest("file_path: object stores cannot be read yet", hint="copy the file below an import root")
    for root in roots:
        base = Path(root).resolve()
        try:
            path = (base / file_path).resolve(strict=True)
        except (OSError, ValueError):
            continue
        if path.is_relative_to(base) and path.is_file():
            return path
    raise Forbidden("file_path: no such file below an import root", hint="roots are set by imports.roots")


def watch(settings: Settings, meta: Engine, stop: threading.Event) -> None:
    """Keep a child process while there are import jobs, until ``stop`` is set."""
    context = multiprocessing.get_context("spawn")
    while not stop.wait(_POLL_S):
        if not _waiting(meta):
            continue
        child = context.Process(target=_child, args=(settings, os.getpid()), daemon=True)
        child.start()
        while child.is_alive() and not stop.is_set():
            child.join(_POLL_S)
        if child.is_alive():
            child.terminate()  # it goes on from its last chunk after the next start
            child.join()


def _child(settings: Settings, parent: int) -> None:
    logs.configure("import")
    work(settings, parent)


def work(settings: Settings, parent: int | None = None) -> None:
    """Do all import jobs there are; give up the current one when ``parent`` is no longer the parent process."""
    with Store.open(settings.data_dir, settings) as store:
        while job := jobs.claim(store.meta, (KIND,), f"import-{os.getpid()}", _now_ms()):
            _do(store, settings, job, parent)


def _do(store: Store, settings: Settings, job: Job, parent: int | None) -> None:
    def on_progress(state: Import) -> None:
        if parent is not None and os.getppid() != parent:
            raise LostJob(job.id)
        share = state.rows_read / state.rows if state.rows else 1.0
        jobs.progress(store.meta, job, min(share, 1.0), checkpoint={"import_id": state.id}, now_ms=_now_ms())

    mapping = FileMapping(**job.parameters["mapping"])
    try:
        done = import_file(
            store,
            job.tenant,
            Path(job.parameters["file"]),
            mapping,
            Limits.of(settings),
            clock=_now_ms,
            on_progress=on_progress,
        )
        jobs.finish(store.meta, job, done.to_json(), now_ms=_now_ms())
    except LostJob:
        log.info("import stopped", job=job.id)
    except MonaError as error:
        jobs.fail(store.meta, job, str(error), now_ms=_now_ms())


def shown(job: Job) -> Mapping[str, Any]:
    """An import as the API shows it: its job, and once it began its rows."""
    state = {"queued": "queued", "running": "running", "done": "done"}.get(job.state, job.state)
    base = {
        "id": job.id,
        "file": Path(job.parameters["file"]).name,
        "arc_class": job.parameters["context_class"],
        "state": state,
        "progress": job.progress,
        "rows_read": None,
        "accepted": None,
        "refused": None,
        "reasons": [],
        "error": job.error,
    }
    counted = ("rows_read", "accepted", "refused", "reasons")
    return base | ({key: job.result[key] for key in counted} if job.result else {})


def _waiting(meta: Engine) -> bool:
    left = (table.c.state == "running") & (table.c.lease_until_ms < _now_ms())
    wanted = select(table.c.id).where(table.c.kind == KIND, or_(table.c.state == "queued", left)).limit(1)
    with meta.connect() as db:
        return db.execute(wanted).first() is not None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
