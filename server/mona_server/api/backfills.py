"""Rebuilding the past: as a person asks for it, and after an upload that changed how fields are built."""

from __future__ import annotations

from datetime import UTC, datetime

from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity import audit
from mona_server.config import revisions
from mona_server.config.changes import changes
from mona_server.errors import BadRequest, NotFound
from mona_server.ingest.backfill import default_range
from mona_server.store import jobs


def fields(
    edge: Edge, caller: Caller, context_class: str, *, from_ms: int | None = None, to_ms: int | None = None
) -> str:
    """Queue a rebuild of the fields of a class in ``[from_ms, to_ms)`` of the context time; the job's id.

    Without both bounds: the last 8 weeks of its data. Raises :class:`NotFound` for a class without data.
    """
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise BadRequest("to: must be after from")
    found = default_range(edge.store, caller.tenant, context_class)
    if found is None:
        raise NotFound(f"Unknown context class: {context_class}", hint="there is no data of it")
    if from_ms is None and to_ms is None:
        from_ms, to_ms = found
    parameters = {"context_class": context_class, "from_ms": from_ms, "to_ms": to_ms}
    job_id = jobs.create(edge.meta, caller.tenant, "backfill", parameters, edge.clock(), author=caller.author)
    audit.record(edge.meta, caller.actor, "data.backfill", job_id, now_ms=edge.clock(), after=parameters)
    return job_id


def insights(
    edge: Edge, caller: Caller, context_class: str, from_s: float | None, to_s: float | None, verses: list[str] | None
) -> str:
    """Queue runs of verses for every T in a range; the job's id. Without a begin: the last 8 weeks of data."""
    from mona_server.insights import work  # brings the search with it, which this process needs only here

    if from_s is None:
        found = default_range(edge.store, caller.tenant, context_class)
        if found is None:
            raise NotFound(f"Unknown context class: {context_class}", hint="there is no data of it")
        from_s = found[0] / 1000
    return work.ask(
        edge.store,
        caller.tenant,
        context_class,
        now=datetime.fromtimestamp(edge.clock() / 1000, UTC),
        verses=verses,
        from_s=from_s,
        to_s=to_s,
        reason="backfill",
        author=caller.author,
    )


def after_upload(edge: Edge, caller: Caller, saved: revisions.Saved) -> dict[str, str]:
    """Queue the default rebuild of each class whose fields the upload changed and that has data: class → job id."""
    revision = saved.revision
    parent = revisions.get(edge.meta, caller.tenant, revision.parent) if revision.parent else None
    changed = {name for name, one in changes(parent.classes if parent else {}, revision.classes).items() if one.fields}
    known = {info.name for info in edge.store.classes(caller.tenant) if info.contexts}
    return {name: fields(edge, caller, name) for name in sorted(changed & known)}
