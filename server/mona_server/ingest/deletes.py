"""Deletes for good: one context, a time range of a class, a whole class, a tenant. Jobs of the fold process.

Each step removes some documents, cancels their facts, and asks the lake to take all rows of these contexts out
of its files (:mod:`mona_server.store.erase`). Reads see the deletion from the step's commit on; reads as of an
earlier time, once the lake has rewritten its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mona_server.errors import BadRequest, NotFound
from mona_server.ingest.facts import Rows
from mona_server.ingest.fold import Folder
from mona_server.ingest.work import Clock, Step
from mona_server.store import catalog, documents, lake, state
from mona_server.store.documents import Document
from mona_server.store.jobs import Job
from mona_server.store.relation import facts_query

_STEP_CONTEXTS = 10_000


def delete_context(folder: Folder, job: Job, clock: Clock) -> Iterator[Step]:
    """Parameters: ``context_class``, ``context_id``. Result: ``{"contexts": 0 or 1}``."""
    store = folder.store
    name, context_id = _text(job, "context_class"), _text(job, "context_id")
    class_id = catalog.find_class(store.state.connection, job.tenant, name)
    removed = 0 if class_id is None else _remove_ids(folder, class_id, [context_id], clock())
    yield Step(1.0, result={"contexts": removed})


def delete_range(folder: Folder, job: Job, clock: Clock) -> Iterator[Step]:
    """Parameters: ``context_class``, ``from_ms``, ``to_ms`` (null = open) of the context time.

    Result: ``{"contexts": n}``. Without both bounds it is the whole class.
    """
    store = folder.store
    name = _text(job, "context_class")
    from_ms, to_ms = job.parameters.get("from_ms"), job.parameters.get("to_ms")
    removed = (job.checkpoint or {}).get("contexts", 0)
    if from_ms is None and to_ms is None:
        class_id = catalog.find_class(store.state.connection, job.tenant, name)
        if class_id is not None:
            yield from _remove_class(folder, class_id, clock, removed, forget=False)
        else:
            yield Step(1.0, result={"contexts": removed})
        return
    try:
        ids = ids_between(folder, job.tenant, name, from_ms, to_ms)
    except NotFound:
        ids = []
    class_id = catalog.find_class(store.state.connection, job.tenant, name)

    def in_range(document: Document) -> bool:
        # It may have got another time since the ids were read.
        return (from_ms is None or document.time_ms >= from_ms) and (to_ms is None or document.time_ms < to_ms)

    for start in range(0, len(ids), _STEP_CONTEXTS):
        assert class_id is not None
        removed += _remove_ids(folder, class_id, ids[start : start + _STEP_CONTEXTS], clock(), in_range)
        yield Step((start + _STEP_CONTEXTS) / (len(ids) + _STEP_CONTEXTS), checkpoint={"contexts": removed})
    yield Step(1.0, result={"contexts": removed})


def forget_tenant(folder: Folder, job: Job, clock: Clock) -> Iterator[Step]:
    """Everything that the data directory holds of the tenant's data; its rows of ``meta.db`` are others' work.

    Result: ``{"contexts": n}``.
    """
    store = folder.store
    removed = (job.checkpoint or {}).get("contexts", 0)
    with store.state.reading() as connection:
        classes = [row.class_id for row in catalog.list_classes(connection, job.tenant)]
    store.inbox.forget(job.tenant, 2**62)
    for class_id in classes:
        for step in _remove_class(folder, class_id, clock, removed, forget=True):
            if step.result is None:
                yield step
            else:
                removed = step.result["contexts"]
    with store.state.writing() as connection:
        connection.execute("DELETE FROM report WHERE tenant = ?", (job.tenant,))
        connection.execute("DELETE FROM folded WHERE tenant = ?", (job.tenant,))
    yield Step(1.0, result={"contexts": removed})


def ids_between(folder: Folder, tenant: str, name: str, from_ms: int | None, to_ms: int | None) -> list[str]:
    """Ids of the contexts whose time is in the range, from the facts: documents need no index by time."""
    snapshot = folder.store.snapshot(tenant, name)
    duck = lake.engine(memory="1GB", spill=folder.store.data_dir / "tmp")
    facts = facts_query(duck, snapshot, ("MONA_ID", "MONA_SIGN", "MONA_TIMESTAMP", "MONA_ARRIVAL_TIMESTAMP"))
    rows = duck.execute(
        f"SELECT MONA_ID FROM ({facts}) WHERE MONA_TIMESTAMP >= ? AND MONA_TIMESTAMP < ?"
        " GROUP BY MONA_ID HAVING sum(MONA_SIGN) > 0"
        # About the order of the documents, so that neighbours go together and a page is written once.
        " ORDER BY min(MONA_ARRIVAL_TIMESTAMP), min(MONA_TIMESTAMP), MONA_ID",
        (-(2**62) if from_ms is None else from_ms, 2**62 if to_ms is None else to_ms),
    ).fetchall()
    duck.close()
    return [row[0] for row in rows]


def _remove_ids(
    folder: Folder,
    class_id: int,
    ids: Sequence[str],
    now_ms: int,
    wanted: Callable[[Document], bool] = lambda _: True,
) -> int:
    connection = folder.store.state.connection
    found = documents.find(connection, class_id, ids)
    kept = {document.context_id for document in found.values() if not wanted(document)}
    removed = [document for document in found.values() if document.context_id not in kept]
    # One that is not stored may have left rows: releases before 1.0 kept the past of what a message deleted.
    erased = [context_id for context_id in ids if context_id not in kept]
    with folder.store.state.writing() as connection:
        revision = _retract(connection, removed, now_ms)
        state.add_erasure(connection, class_id, revision, erased)
    return len(removed)


def _remove_class(folder: Folder, class_id: int, clock: Clock, removed: int, *, forget: bool) -> Iterator[Step]:
    store = folder.store
    last = store.state.connection.execute("SELECT coalesce(max(document_id), 0) FROM documents").fetchone()[0]
    revision = store.newest_revision()
    after = 0
    while after < last:
        found = list(documents.scan(store.state.connection, class_id, after, after + _STEP_CONTEXTS))
        after += _STEP_CONTEXTS
        if found:
            with store.state.writing() as connection:
                revision = _retract(connection, found, clock())
            removed += len(found)
        yield Step(min(1.0, after / (last + 1)), checkpoint={"contexts": removed})
    with store.state.writing() as connection:
        state.add_erasure(connection, class_id, revision, None)
        connection.execute("UPDATE classes SET forgotten = ? WHERE class_id = ?", (int(forget), class_id))
    yield Step(1.0, result={"contexts": removed})


def _retract(connection: Any, removed: Sequence[Document], now_ms: int) -> int:
    facts = Rows()
    for document in removed:
        if document.fact is not None:
            facts.retract(document.class_id, document.fact, document.time_ms)
    revision = state.next_revision(connection, now_ms)
    documents.remove(connection, [d.document_id for d in removed if d.document_id is not None])
    facts.write(connection, revision)
    return revision


def _text(job: Job, key: str) -> str:
    value = job.parameters.get(key)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{job.kind} needs {key}")
    return value
