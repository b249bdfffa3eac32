"""Imports of files that the server can read: which paths are allowed, and a job for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mona_server.api import uploads
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge, system_clock
from mona_server.api.identity import audit
from mona_server.errors import BadRequest, MonaError
from mona_server.ingest.limits import Limits
from mona_server.settings import Settings
from mona_server.sources import folders
from mona_server.sources.files import FileMapping
from mona_server.sources.imports import Import, import_file
from mona_server.store import Store, jobs
from mona_server.store.jobs import Job

KIND = folders.IMPORT


def start(edge: Edge, caller: Caller, file_path: str, mapping: FileMapping) -> str:
    """Queue an import; the job's id. Raises :class:`Forbidden` for a path that the server may not read."""
    return queue(edge, caller, allowed(file_path, edge.settings.imports.roots), mapping)


def queue(edge: Edge, caller: Caller, path: Path, mapping: FileMapping, *, uploaded: bool = False) -> str:
    """Queue the import of a file that was judged; the job's id. Uploaded files are named from the data directory on."""
    parameters = {
        "context_class": mapping.context_class,
        "file": str(path),
        "mapping": mapping.to_json(),
        "uploaded": uploaded,
    }
    job_id = jobs.create(edge.meta, caller.tenant, KIND, parameters, edge.clock(), author=caller.author)
    told = {"file": path.name, "context_class": mapping.context_class}
    audit.record(edge.meta, caller.actor, "data.import", job_id, now_ms=edge.clock(), after=told)
    return job_id


def allowed(file_path: str, roots: tuple[str, ...]) -> Path:
    """The real path of a file below one of the roots; see :func:`mona_server.sources.folders.allowed`."""
    if "://" in file_path:
        raise BadRequest("file_path: object stores cannot be read yet", hint="copy the file below an import root")
    return folders.allowed(file_path, roots, key="file_path")


def do(store: Store, settings: Settings, job: Job, progress: Callable[[float, Any], None]) -> Mapping[str, Any]:
    """Import the file of a job, or what is left of it. Runs in the background process."""

    def on_progress(state: Import) -> None:
        progress(state.rows_read / state.rows if state.rows else 1.0, {"import_id": state.id})

    mapping = FileMapping(**job.parameters["mapping"])
    file = settings.data_dir / job.parameters["file"]
    try:
        done = import_file(
            store, job.tenant, file, mapping, Limits.of(settings), clock=system_clock, on_progress=on_progress
        )
    except MonaError:  # it will not be tried again; a job that was only interrupted still needs its file
        _forget(job, file)
        raise
    _forget(job, file)
    return done.to_json()


def _forget(job: Job, file: Path) -> None:
    if job.parameters.get("uploaded"):
        uploads.forget(file)


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
