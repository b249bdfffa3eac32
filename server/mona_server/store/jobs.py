"""Background work that a person asked for: rows of the table ``jobs``, claimed by a conditional update.

    job_id = jobs.create(meta, "acme", "backfill", {"context_class": "LOAN"}, now_ms)     # api
    job = jobs.claim(meta, ("backfill",), worker, now_ms)                                 # a process
    jobs.progress(meta, job, 0.4, checkpoint={"after": 17}, now_ms=now_ms)                # renews the lease
    jobs.finish(meta, job, {"contexts": 1200}, now_ms=now_ms)

A worker that dies loses its lease; the next one goes on from the checkpoint. So the steps of a job must be
harmless when they are repeated.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, or_, select, update

from mona_server.errors import NotFound
from mona_server.store.tables_jobs import jobs

LEASE_MS = 60_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of background work."""

    id: str
    tenant: str
    kind: str
    parameters: dict[str, Any]
    state: str
    """queued, running, done, failed or cancelled."""
    progress: float
    """0 to 1."""
    checkpoint: Any
    result: Any
    error: str | None
    worker: str | None
    author: str
    created_ms: int
    updated_ms: int


class LostJob(Exception):
    """The job was cancelled, or its lease ran out and another worker has it. Stop working on it."""


def create(meta: Engine, tenant: str, kind: str, parameters: dict[str, Any], now_ms: int, *, author: str = "") -> str:
    """Queue a job; returns its id."""
    with meta.begin() as connection:
        return create_with(connection, tenant, kind, parameters, now_ms, author=author)


def create_with(
    connection: Connection, tenant: str, kind: str, parameters: dict[str, Any], now_ms: int, *, author: str = ""
) -> str:
    """:func:`create` within a transaction of the caller's."""
    job_id = f"job_{uuid.uuid4().hex}"
    connection.execute(
        jobs.insert().values(
            id=job_id,
            tenant=tenant,
            kind=kind,
            parameters=parameters,
            state="queued",
            author=author,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
    )
    return job_id


def get(meta: Engine, tenant: str, job_id: str) -> Job:
    """A job of this tenant. Raises NotFound."""
    with meta.connect() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id, jobs.c.tenant == tenant)).first()
    if row is None:
        raise NotFound(f"no job {job_id}")
    return _job(row)


def recent(
    meta: Engine, tenant: str, *, kind: str | None = None, limit: int = 50, after: tuple[float, str] | None = None
) -> list[Job]:
    """The newest jobs of a tenant first; ``after`` the one with this creation time and id."""
    query = select(jobs).where(jobs.c.tenant == tenant).order_by(jobs.c.created_ms.desc(), jobs.c.id).limit(limit)
    if after is not None:
        made, last = after
        query = query.where(or_(jobs.c.created_ms < made, and_(jobs.c.created_ms == made, jobs.c.id > last)))
    if kind is not None:
        query = query.where(jobs.c.kind == kind)
    with meta.connect() as connection:
        return [_job(row) for row in connection.execute(query)]


def claim(meta: Engine, kinds: tuple[str, ...], worker: str, now_ms: int) -> Job | None:
    """The oldest job of these kinds that waits or whose worker is gone; it is this worker's now. None = nothing to do."""
    free = and_(
        jobs.c.kind.in_(kinds),
        or_(jobs.c.state == "queued", and_(jobs.c.state == "running", jobs.c.lease_until_ms < now_ms)),
    )
    with meta.connect() as connection:  # an idle poll takes no write lock
        found = connection.execute(select(jobs.c.id).where(free).order_by(jobs.c.created_ms, jobs.c.id)).scalars().all()
    for job_id in found:
        with meta.begin() as connection:
            taken = connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, free)
                .values(state="running", worker=worker, lease_until_ms=now_ms + LEASE_MS, updated_ms=now_ms)
            )
            if taken.rowcount == 1:
                return _job(connection.execute(select(jobs).where(jobs.c.id == job_id)).one())
    return None


def progress(meta: Engine, job: Job, done: float, *, checkpoint: Any, now_ms: int) -> None:
    """Note how far the job is and renew the lease. Raises LostJob."""
    _set(meta, job, now_ms, progress=done, checkpoint=checkpoint, lease_until_ms=now_ms + LEASE_MS)


def finish(meta: Engine, job: Job, result: Any, *, now_ms: int) -> None:
    """The job is done. Raises LostJob."""
    _set(meta, job, now_ms, state="done", progress=1.0, result=result, checkpoint=None)


def fail(meta: Engine, job: Job, error: str, *, now_ms: int) -> None:
    """The job cannot be done; ``error`` says why, without message values. Raises LostJob."""
    _set(meta, job, now_ms, state="failed", error=error)


def cancel(meta: Engine, tenant: str, job_id: str, *, now_ms: int) -> Job:
    """Stop a job that waits or runs; a finished one stays as it is. Raises NotFound."""
    with meta.begin() as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.tenant == tenant, jobs.c.state.in_(("queued", "running")))
            .values(state="cancelled", updated_ms=now_ms)
        )
    return get(meta, tenant, job_id)


def _set(meta: Engine, job: Job, now_ms: int, **values: Any) -> None:
    with meta.begin() as connection:
        changed = connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.worker == job.worker)
            .values(updated_ms=now_ms, **values)
        )
    if changed.rowcount != 1:
        raise LostJob(job.id)


def _job(row: Any) -> Job:
    return Job(**{name: getattr(row, name) for name in Job.__dataclass_fields__})
