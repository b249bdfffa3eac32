"""Sources that are read again and again: folders of this machine whose new and changed files are imported once each.

A look lists the folder, compares names and times with what it saw before, and queues an import for each file that is new;
the imports themselves are those that a person may ask for. A file that fails is tried three times, then set aside.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, Engine, and_, delete, func, or_, select, update

from mona_server.errors import BadRequest, Forbidden, MonaError, NotFound
from mona_server.sources.files import FileMapping
from mona_server.store import jobs
from mona_server.store.tables_jobs import jobs as job_table
from mona_server.store.tables_sources import source_files, sources

IMPORT = "import"
"""The kind of job that imports a file."""
TRIES = 3
SETTLED_MS = 10_000
"""A file that was written to a moment ago may not be whole yet."""
MOST_AT_ONCE = 100
"""Files that one look queues; the rest waits for the next one."""

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder that is watched for one context class."""

    id: str
    tenant: str
    context_class: str
    url: str
    """``file:///…``, or a path below an import root."""
    pattern: str
    """Of file names, such as ``*.parquet``."""
    mapping: Json
    poll_ms: int
    start_after: str | float | None
    """Only files whose name sorts behind this text, or that were changed after this time (Unix seconds)."""
    paused: bool
    author: str
    created_ms: int
    looked_ms: int | None
    error: str | None
    """Why the last look failed; None = it did not."""


def allowed(path: str, roots: tuple[str, ...], *, key: str, folder: bool = False) -> Path:
    """The real path of a file (or folder) below one of the import roots, links resolved; ``key`` is how the request calls it.

    Raises :class:`Forbidden` with one text for all refusals: it tells nothing about other files.
    """
    for root in roots:
        base = Path(root).resolve()
        try:
            found = (base / path).resolve(strict=True)
        except (OSError, ValueError):
            continue
        if found.is_relative_to(base) and (found.is_dir() if folder else found.is_file()):
            return found
    raise Forbidden(
        f"{key}: no such {'folder' if folder else 'file'} below an import root", hint="roots are set by imports.roots"
    )


def folder_of(url: str, roots: tuple[str, ...]) -> Path:
    """The folder that a URL names. Raises BadRequest for other kinds of places, Forbidden outside of the roots."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file") and not parts.netloc:
        return allowed(unquote(parts.path), roots, key="url", folder=True)
    raise BadRequest(
        "url: only folders of this machine can be watched",
        hint="file:///folder below an import root; let a tool of the object store copy its files there",
    )


def create(
    meta: Engine,
    tenant: str,
    url: str,
    mapping: FileMapping,
    *,
    roots: tuple[str, ...],
    now_ms: int,
    pattern: str = "*",
    poll_ms: int = 300_000,
    start_after: str | float | None = None,
    author: str = "",
) -> Source:
    """Watch a folder from now on. Raises BadRequest and Forbidden as :func:`folder_of`."""
    folder_of(url, roots)
    source_id = f"src_{uuid.uuid4().hex}"
    with meta.begin() as db:
        db.execute(
            sources.insert().values(
                id=source_id,
                tenant=tenant,
                context_class=mapping.context_class,
                url=url,
                pattern=pattern,
                mapping=mapping.to_json(),
                poll_ms=poll_ms,
                start_after=start_after,
                paused=False,
                author=author,
                created_ms=now_ms,
                next_ms=now_ms,
            )
        )
    return get(meta, tenant, source_id)


def get(meta: Engine, tenant: str, source_id: str) -> Source:
    """One source of a tenant. Raises NotFound."""
    with meta.connect() as db:
        row = db.execute(select(sources).where(sources.c.id == source_id, sources.c.tenant == tenant)).first()
    if row is None:
        raise NotFound(f"no source {source_id}")
    return _source(row)


def listed(meta: Engine, tenant: str, *, limit: int = 50, after: tuple[float, str] | None = None) -> list[Source]:
    """Sources of a tenant, newest first; ``after`` the one with this creation time and id."""
    c = sources.c
    query = select(sources).where(c.tenant == tenant).order_by(c.created_ms.desc(), c.id).limit(limit)
    if after is not None:
        query = query.where(or_(c.created_ms < after[0], and_(c.created_ms == after[0], c.id > after[1])))
    with meta.connect() as db:
        return [_source(row) for row in db.execute(query)]


def pause(meta: Engine, tenant: str, source_id: str, *, paused: bool, now_ms: int) -> Source:
    """Stop looking, or look again at once; files that were set aside get new tries then."""
    mine = and_(sources.c.id == source_id, sources.c.tenant == tenant)
    with meta.begin() as db:
        if db.execute(update(sources).where(mine).values(paused=paused, next_ms=now_ms)).rowcount and not paused:
            db.execute(update(source_files).where(source_files.c.source_id == source_id).values(tries=0))
    return get(meta, tenant, source_id)


def remove(meta: Engine, tenant: str, source_id: str) -> None:
    """Forget a source; what it imported stays. Raises NotFound."""
    with meta.begin() as db:
        gone = delete(sources).where(sources.c.id == source_id, sources.c.tenant == tenant)
        if db.execute(gone).rowcount == 0:
            raise NotFound(f"no source {source_id}")
        db.execute(delete(source_files).where(source_files.c.source_id == source_id))


def counts(meta: Engine, source: Source) -> dict[str, int]:
    """Files by state: queued, running, done, failed (will be tried again), set_aside."""
    found = dict.fromkeys(("queued", "running", "done", "failed", "set_aside"), 0)
    aside = and_(job_table.c.state == "failed", source_files.c.tries >= TRIES)
    query = (
        select(job_table.c.state, aside.label("aside"), func.count())
        .join(job_table, job_table.c.id == source_files.c.job_id)
        .where(source_files.c.source_id == source.id)
        .group_by(job_table.c.state, aside)
    )
    with meta.connect() as db:
        for state, is_aside, count in db.execute(query):
            # A cancelled import is not taken up again: a person did not want it.
            name = "set_aside" if is_aside or state == "cancelled" else state
            found[name] += count
    return found


def failures(meta: Engine, source: Source, *, limit: int = 100) -> list[Json]:
    """Files whose import failed, by name: ``{"name", "tries", "error", "job_id"}``."""
    c = source_files.c
    query = (
        select(c.name, c.tries, job_table.c.error, c.job_id)
        .join(job_table, job_table.c.id == c.job_id)
        .where(c.source_id == source.id, job_table.c.state == "failed")
        .order_by(c.name)
        .limit(limit)
    )
    with meta.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def look(meta: Engine, roots: tuple[str, ...], *, now_ms: int) -> int:
    """Look into every folder whose time has come, and queue imports; how many. Several processes may do so."""
    queued = 0
    for source in _due(meta, now_ms):
        error = None
        try:
            queued += _look(meta, source, roots, now_ms)
        except MonaError as failed:
            error = str(failed)
        except OSError as failed:
            error = f"the folder cannot be listed: {failed.strerror}"
        with meta.begin() as db:
            db.execute(update(sources).where(sources.c.id == source.id).values(looked_ms=now_ms, error=error))
    return queued


def _due(meta: Engine, now_ms: int) -> Iterator[Source]:
    """Sources whose time has come, each claimed by moving it on."""
    c = sources.c
    with meta.connect() as db:  # an idle poll takes no write lock
        rows = db.execute(select(sources).where(c.next_ms <= now_ms, c.paused.is_(False))).all()
    for row in rows:
        with meta.begin() as db:
            mine = and_(c.id == row.id, c.next_ms == row.next_ms)
            claimed = db.execute(update(sources).where(mine).values(next_ms=now_ms + row.poll_ms)).rowcount == 1
        if claimed:
            yield _source(row)


def _look(meta: Engine, source: Source, roots: tuple[str, ...], now_ms: int) -> int:
    base = folder_of(source.url, roots)
    with meta.connect() as db:
        c = source_files.c
        query = (
            select(c.name, c.etag, c.tries, job_table.c.state)
            .outerjoin(job_table, job_table.c.id == c.job_id)
            .where(c.source_id == source.id)
        )
        known = {row.name: row for row in db.execute(query)}
    queued = 0
    for path in _files(base, source, now_ms):
        status = path.stat()
        etag = f"{status.st_mtime_ns}-{status.st_size}"
        before = known.get(path.name)
        tries = 1
        if before is not None:
            if before.state in ("queued", "running"):
                continue  # if it changes while it is imported: at the next look
            if before.etag == etag:
                if before.state != "failed" or before.tries >= TRIES:
                    continue
                tries = before.tries + 1
        with meta.begin() as db:
            _queue(db, source, path, etag, tries, now_ms)
        queued += 1
        if queued == MOST_AT_ONCE:
            break
    return queued


def _files(base: Path, source: Source, now_ms: int) -> list[Path]:
    """Whole files that the source wants, by name. A link that leads out of the folder is none of them."""
    after = source.start_after
    found = []
    with os.scandir(base) as entries:
        for entry in entries:
            if not fnmatchcase(entry.name, source.pattern) or entry.name.startswith(".") or not entry.is_file():
                continue
            changed_ms = entry.stat().st_mtime * 1000
            if changed_ms > now_ms - SETTLED_MS:
                continue
            if (isinstance(after, str) and entry.name <= after) or (
                isinstance(after, int | float) and changed_ms <= after * 1000
            ):
                continue
            path = Path(entry.path)
            if path.resolve().is_relative_to(base):
                found.append(path)
    return sorted(found)


def _queue(db: Connection, source: Source, path: Path, etag: str, tries: int, now_ms: int) -> None:
    """The import of a file and the memory of it, in one transaction."""
    parameters = {
        "context_class": source.context_class,
        "file": str(path),
        "mapping": source.mapping,
        "source": source.id,
    }
    job_id = jobs.create_with(db, source.tenant, IMPORT, parameters, now_ms, author=source.author)
    values = {"etag": etag, "tries": tries, "job_id": job_id}
    mine = and_(source_files.c.source_id == source.id, source_files.c.name == path.name)
    if db.execute(update(source_files).where(mine).values(**values)).rowcount == 0:
        db.execute(source_files.insert().values(source_id=source.id, name=path.name, **values))


def _source(row: Any) -> Source:
    names = Source.__dataclass_fields__
    return Source(**{name: getattr(row, name) for name in names})
