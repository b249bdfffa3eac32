"""Import of files: chunk by chunk into the inbox, exactly once, from where it stopped.

A chunk goes into the inbox in one transaction with an idempotency key made of the file, the mapping and its place; so a
chunk that was stored just before a crash is stored once. What was read so far stands in the table ``imports``, which
also remembers finished files for good: importing a file twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError

from mona_server.errors import MonaError, NotFound, Overloaded
from mona_server.ingest import envelope
from mona_server.ingest.limits import Limits
from mona_server.sources.files import FileMapping, TableFile, chunks, look_at
from mona_server.store import Store
from mona_server.store.idempotency import Key
from mona_server.store.inbox import Accepted
from mona_server.store.tables_sources import imports

MAX_REASONS = 1_000

Clock = Callable[[], int]
"""Unix milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """How far an import is, as the API shows it."""

    id: str
    file: str
    context_class: str
    state: str
    rows: int
    rows_read: int
    accepted: int
    refused: int
    reasons: tuple[dict[str, Any], ...]
    """First refusals, ``{"line": row number from 1, "reason": text}``."""
    error: str | None
    repeated: bool = False
    """The same file was imported before with the same mapping; nothing was done now."""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "file": self.file,
            "arc_class": self.context_class,
            "state": self.state,
            "rows": self.rows,
            "rows_read": self.rows_read,
            "accepted": self.accepted,
            "refused": self.refused,
            "reasons": list(self.reasons),
            "error": self.error,
            "repeated": self.repeated,
        }


def import_file(
    store: Store,
    tenant: str,
    path: Path,
    mapping: FileMapping,
    limits: Limits,
    *,
    clock: Clock,
    on_progress: Callable[[Import], None] = lambda _: None,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Import:
    """Import a file, or what is left of it. Waits while the inbox is full.

    Raises NotFound and BadRequest for a file that cannot be read; what was read before that stays imported.
    """
    table = look_at(path, mapping)
    for warning in table.warnings:
        on_warning(warning)
    known = _begin(store.meta, tenant, table, mapping, clock())
    if known.state == "done":
        return replace(known, repeated=True)
    try:
        for chunk in chunks(table, mapping, skip_rows=known.rows_read):
            arrival_ms = clock()
            read = envelope.read(chunk.body, arrival_ms, limits)
            place = f"{table.digest}-{_mapping_digest(mapping)}-{chunk.first_row}"
            accepted = Accepted(
                tenant,
                chunk.body,
                arrival_ms,
                read.total,
                limits.text,
                Key.of(tenant, "import", hashlib.sha256(place.encode()).hexdigest(), chunk.body),
            )
            _append_patiently(store, accepted)
            reasons = [
                {"line": chunk.first_row + index + 1, "reason": reason}
                for index, reason in sorted(read.refused.items())
            ]
            # The last chunk finishes the import in the same write: most files are one chunk, and each write is an fsync.
            last = known.rows_read + chunk.rows == table.rows
            known = _advance(store.meta, known, chunk.rows, reasons, clock(), state="done" if last else "running")
            on_progress(known)
    except MonaError as error:
        _finish(store.meta, known, "failed", clock(), error=str(error))
        raise
    return known if known.state == "done" else _finish(store.meta, known, "done", clock())


def get(meta: Engine, tenant: str, import_id: str) -> Import:
    """One import of a tenant. Raises NotFound."""
    with meta.connect() as connection:
        row = connection.execute(select(imports).where(imports.c.id == import_id, imports.c.tenant == tenant)).first()
    if row is None:
        raise NotFound(f"no import {import_id}")
    return _import(row)


def recent(meta: Engine, tenant: str, *, limit: int = 50) -> list[Import]:
    """The newest imports of a tenant first."""
    query = (
        select(imports)
        .where(imports.c.tenant == tenant)
        .order_by(imports.c.created_ms.desc(), imports.c.id)
        .limit(limit)
    )
    with meta.connect() as connection:
        return [_import(row) for row in connection.execute(query)]


def _append_patiently(store: Store, accepted: Accepted) -> None:
    """A full inbox holds the reader back: the fold empties it."""
    while True:
        try:
            store.inbox.append([accepted])
            return
        except Overloaded as error:
            time.sleep(min(error.retry_after_s, 5))


def _begin(meta: Engine, tenant: str, table: TableFile, mapping: FileMapping, now_ms: int) -> Import:
    """The import's row: a new one, or that of an earlier try."""
    mapping_digest = _mapping_digest(mapping)
    same = (
        imports.c.tenant == tenant,
        imports.c.digest == table.digest,
        imports.c.mapping_digest == mapping_digest,
    )
    try:
        with meta.begin() as connection:
            connection.execute(
                imports.insert().values(
                    id=f"imp_{uuid.uuid4().hex}",
                    tenant=tenant,
                    digest=table.digest,
                    mapping_digest=mapping_digest,
                    file=table.path.name,
                    mapping=mapping.to_json(),
                    state="running",
                    rows=table.rows,
                    rows_read=0,
                    accepted=0,
                    refused=0,
                    reasons=[],
                    created_ms=now_ms,
                    updated_ms=now_ms,
                )
            )
    except IntegrityError:
        with meta.begin() as connection:
            connection.execute(
                update(imports).where(*same, imports.c.state != "done").values(state="running", error=None)
            )
    with meta.connect() as connection:
        return _import(connection.execute(select(imports).where(*same)).one())


def _advance(
    meta: Engine, known: Import, rows: int, reasons: list[dict[str, Any]], now_ms: int, *, state: str
) -> Import:
    changed = replace(
        known,
        state=state,
        rows_read=known.rows_read + rows,
        accepted=known.accepted + rows - len(reasons),
        refused=known.refused + len(reasons),
        reasons=(*known.reasons, *reasons)[:MAX_REASONS],
    )
    _write(meta, changed, now_ms)
    return changed


def _finish(meta: Engine, known: Import, state: str, now_ms: int, error: str | None = None) -> Import:
    changed = replace(known, state=state, error=error)
    _write(meta, changed, now_ms)
    return changed


def _write(meta: Engine, changed: Import, now_ms: int) -> None:
    with meta.begin() as connection:
        connection.execute(
            update(imports)
            .where(imports.c.id == changed.id)
            .values(
                state=changed.state,
                rows_read=changed.rows_read,
                accepted=changed.accepted,
                refused=changed.refused,
                reasons=list(changed.reasons),
                error=changed.error,
                updated_ms=now_ms,
            )
        )


def _import(row: Any) -> Import:
    return Import(
        id=row.id,
        file=row.file,
        context_class=row.mapping["context_class"],
        state=row.state,
        rows=row.rows,
        rows_read=row.rows_read,
        accepted=row.accepted,
        refused=row.refused,
        reasons=tuple(row.reasons),
        error=row.error,
    )


def _mapping_digest(mapping: FileMapping) -> str:
    return hashlib.sha256(json.dumps(mapping.to_json(), sort_keys=True).encode()).hexdigest()
