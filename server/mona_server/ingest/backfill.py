"""Backfill: rebuild the fields of old contexts with the configuration that is active now.

A job of the fold process, in small steps between batches, because documents have one writer. It goes through the
documents in the order of their ids; the last id that was done is its checkpoint, and rebuilding a context twice
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from mona_server.errors import BadRequest
from mona_server.ingest.facts import Rows, context_of, rebuild
from mona_server.ingest.fold import Folder
from mona_server.ingest.work import Clock, Step
from mona_server.store import catalog, documents, state
from mona_server.store.jobs import Job
from mona_server.store.rows import DAY_MS
from mona_server.store.store import Store

DEFAULT_WEEKS = 8
_STEP_DOCUMENTS = 2_000


def default_range(store: Store, tenant: str, context_class: str) -> tuple[int, int] | None:
    """The last eight weeks of the class's data as ``[from_ms, to_ms)``; None where it has none."""
    info = next((c for c in store.classes(tenant) if c.name == context_class), None)
    if info is None or info.last_day is None:
        return None
    end = (info.last_day + 1) * DAY_MS
    return end - DEFAULT_WEEKS * 7 * DAY_MS, end


def backfill(folder: Folder, job: Job, clock: Clock) -> Iterator[Step]:
    """Parameters: ``context_class``, and ``from_ms``, ``to_ms`` of the context time (null = open).

    The result is ``{"contexts": rebuilt, "changed": with another fact than before}``.
    """
    store = folder.store
    name = job.parameters.get("context_class")
    if not isinstance(name, str):
        raise BadRequest("a backfill needs context_class")
    from_ms = _bound(job, "from_ms", -(2**62))
    to_ms = _bound(job, "to_ms", 2**62)
    with store.state.reading() as connection:
        class_id = catalog.find_class(connection, job.tenant, name)
        last = connection.execute("SELECT coalesce(max(document_id), 0) FROM documents").fetchone()[0]
    done = job.checkpoint or {"after": 0, "contexts": 0, "changed": 0}
    # Contexts that arrive from now on are built by this configuration, or a newer one, anyway.
    while class_id is not None and done["after"] < last:
        end = done["after"] + _STEP_DOCUMENTS
        found = [
            document
            for document in documents.scan(store.state.connection, class_id, done["after"], end)
            if from_ms <= document.time_ms < to_ms
        ]
        changed = _rebuild(folder, job.tenant, name, found, clock())
        done = {
            "after": end,
            "contexts": done["contexts"] + len(found),
            "changed": done["changed"] + changed,
        }
        yield Step(min(1.0, end / last), checkpoint=done)
    yield Step(1.0, result={"contexts": done["contexts"], "changed": done["changed"]})


def _rebuild(folder: Folder, tenant: str, name: str, found: list[documents.Document], now_ms: int) -> int:
    facts = Rows()
    shape = folder.shapes(tenant, (name,), now_ms)[name]
    changed = [d for d in found if rebuild(d, context_of(d), shape, facts)]
    if not changed:
        return 0
    with folder.store.state.writing() as connection:
        documents.put(connection, changed)
        facts.write(connection, state.next_revision(connection, now_ms))
        folder.note_lists(connection, shape)
    return len(changed)


def _bound(job: Job, key: str, default: int) -> int:
    value = job.parameters.get(key)
    if value is None:
        return default
    if not isinstance(value, int):
        raise BadRequest(f"{key} must be Unix milliseconds")
    return value
