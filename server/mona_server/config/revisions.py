"""Revisions of a tenant's configuration in ``meta.db``: immutable, numbered, each with its text and difference.

The newest revision is the active one. A save reads the active revision and adds the next in one transaction; the
unique number per tenant lets exactly one of two simultaneous saves win.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.exc import IntegrityError

from mona_server.config.diff import difference
from mona_server.config.issues import Issue
from mona_server.config.model import ContextClass
from mona_server.config.parse import Parsed, parse
from mona_server.errors import Conflict, NotFound
from mona_server.store.tables_config import config_revisions as table


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One stored version of a configuration. Its id is what it is: equal ids are equal revisions."""

    id: str
    tenant: str = field(compare=False)
    number: int = field(compare=False)
    parent: str | None = field(compare=False)
    author: str = field(compare=False)
    commit_message: str = field(compare=False)
    created_ms: int = field(compare=False)
    context_class: str | None = field(compare=False)
    """The class that the upload was about; None = the whole file."""
    restored: str | None = field(compare=False)
    lenient: bool = field(compare=False)
    text: str = field(repr=False, compare=False)
    """What was uploaded, byte for byte where it came as text."""
    raw: Mapping[str, Any] = field(repr=False, compare=False)
    """Class → object as uploaded; all classes as of this revision."""
    normal: Mapping[str, Any] = field(repr=False, compare=False)
    diffs: tuple[Mapping[str, Any], ...] = field(repr=False, compare=False)

    @property
    def classes(self) -> Mapping[str, ContextClass]:
        """The context classes, read once per process. What was accepted then is read leniently now."""
        return _classes(self)

    def to_json(self) -> dict[str, Any]:
        """An item of the configuration history."""
        return {
            "config_id": self.id,
            "parent": self.parent,
            "author": self.author,
            "commit_message": self.commit_message,
            "time": self.created_ms / 1000,
            "diffs": list(self.diffs),
            "config": dict(self.raw),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """An accepted upload."""

    revision: Revision
    parsed: Parsed

    @property
    def warnings(self) -> tuple[Issue, ...]:
        return self.parsed.warnings

    def to_json(self) -> dict[str, Any]:
        """``response_data`` of the upload paths."""
        return {
            "new_config_id": self.revision.id,
            "new_config": dict(self.revision.normal),
            "diffs": list(self.revision.diffs),
            "warnings": [issue.to_json() for issue in self.warnings],
        }


class RevisionConflict(Conflict):
    """Another revision came in between; ``diffs`` is what it changed since the given base."""

    def __init__(self, base: str, active: Revision | None, diffs: list[dict[str, Any]]) -> None:
        super().__init__(
            f"the configuration is no longer {base}: "
            + (f"{active.author} saved {active.id}" if active else "there is none"),
            hint="load the newest configuration and apply the change to it",
        )
        self.active = active
        self.diffs = diffs


def active(meta: Engine, tenant: str) -> Revision | None:
    """The newest revision, or None when nothing was configured yet."""
    with meta.connect() as connection:
        return _active(connection, tenant)


def active_id(meta: Engine, tenant: str) -> str | None:
    """The id of the newest revision: a cheap question whether anything changed."""
    newest = select(table.c.id).where(table.c.tenant == tenant).order_by(table.c.number.desc()).limit(1)
    with meta.connect() as connection:
        return connection.execute(newest).scalar()


def get(meta: Engine, tenant: str, revision_id: str) -> Revision:
    """One revision of this tenant. Raises NotFound."""
    wanted = select(table).where(table.c.tenant == tenant, table.c.id == revision_id)
    with meta.connect() as connection:
        row = connection.execute(wanted).mappings().first()
    if row is None:
        raise NotFound(f"there is no configuration revision {revision_id}")
    return _revision(row)


def history(meta: Engine, tenant: str, *, limit: int = 20, before: int | None = None) -> list[Revision]:
    """The newest revisions first, at most ``limit``; ``before``: only with a smaller number."""
    wanted = select(table).where(table.c.tenant == tenant).order_by(table.c.number.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(table.c.number < before)
    with meta.connect() as connection:
        return [_revision(row) for row in connection.execute(wanted).mappings()]


def count(meta: Engine, tenant: str) -> int:
    """How many revisions there are."""
    with meta.connect() as connection:
        return connection.execute(select(func.count()).where(table.c.tenant == tenant)).scalar_one()


def diff_between(meta: Engine, tenant: str, old_id: str, new_id: str) -> list[dict[str, Any]]:
    """What changed from one revision to another. Raises NotFound."""
    return difference(get(meta, tenant, old_id).normal, get(meta, tenant, new_id).normal)


def save(
    meta: Engine,
    tenant: str,
    given: Any,
    *,
    author: str,
    commit_message: str,
    now_ms: int,
    context_class: str | None = None,
    base_config_id: str | None = None,
    lenient: bool = False,
) -> Saved:
    """Checks a configuration (text or object) and makes it the active one.

    ``context_class``: only that class changes; ``given`` is its object, or ``{class: object}``. Else the whole file
    is replaced. ``base_config_id``: only if that is still the active revision.
    Raises ConfigError (nothing is stored) and :class:`RevisionConflict`.
    """
    if context_class is None:
        parsed = parse(given, user_id=tenant, lenient=lenient).or_raise()
    else:
        parsed = parse_for_class(given, context_class, user_id=tenant, lenient=lenient).or_raise()
    given = given.decode() if isinstance(given, bytes) else given
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    revision = _add(
        meta,
        tenant,
        parsed.raw,
        parsed.normal,
        text=text,
        author=author,
        commit_message=commit_message,
        now_ms=now_ms,
        context_class=context_class,
        base_config_id=base_config_id,
        lenient=lenient,
    )
    return Saved(revision=revision, parsed=parsed)


def restore(
    meta: Engine,
    tenant: str,
    revision_id: str,
    *,
    author: str,
    now_ms: int,
    commit_message: str = "",
    base_config_id: str | None = None,
) -> Saved:
    """A new revision with the whole content of an old one. Raises NotFound and :class:`RevisionConflict`."""
    old = get(meta, tenant, revision_id)
    revision = _add(
        meta,
        tenant,
        old.raw,
        old.normal,
        text=json.dumps(old.raw, ensure_ascii=False) if old.context_class else old.text,
        author=author,
        commit_message=commit_message or f"Restore {old.id}",
        now_ms=now_ms,
        base_config_id=base_config_id,
        lenient=old.lenient,
        restored=old.id,
    )
    return Saved(revision=revision, parsed=parse(old.raw, lenient=True))


def parse_for_class(given: Any, context_class: str, *, user_id: str | None = None, lenient: bool = False) -> Parsed:
    """Reads the configuration of one class: its object, ``{class: object}``, or that below the user id."""
    if isinstance(given, str):
        wrapped = parse(given, user_id=user_id, lenient=lenient)
        if list(wrapped.raw) == [context_class] or not wrapped.raw:
            return wrapped  # lines are right
        try:
            given = json.loads(given)
        except ValueError:
            return wrapped
    if isinstance(given, Mapping) and user_id is not None and list(given) == [user_id] and user_id != context_class:
        given = given[user_id]
    named = isinstance(given, Mapping) and list(given) == [context_class] and isinstance(given[context_class], Mapping)
    return parse(given if named else {context_class: given}, lenient=lenient)


def _add(
    meta: Engine,
    tenant: str,
    raw: Mapping[str, Any],
    normal: Mapping[str, Any],
    *,
    base_config_id: str | None,
    now_ms: int,
    context_class: str | None = None,
    restored: str | None = None,
    **values: Any,
) -> Revision:
    for _ in range(20):
        try:
            with meta.begin() as connection:
                before = _active(connection, tenant)
                if base_config_id is not None and (before is None or before.id != base_config_id):
                    raise RevisionConflict(base_config_id, before, _since(connection, tenant, base_config_id, before))
                if context_class is not None and before is not None:
                    # One class is replaced where it stands; the others stay as they are.
                    now_raw, now_normal = {**before.raw, **raw}, {**before.normal, **normal}
                else:
                    now_raw, now_normal = dict(raw), dict(normal)
                row = {
                    "id": str(uuid.uuid4()),
                    "tenant": tenant,
                    "number": before.number + 1 if before else 1,
                    "parent": before.id if before else None,
                    "restored": restored,
                    "context_class": context_class,
                    "created_ms": now_ms,
                    "raw": now_raw,
                    "normal": now_normal,
                    "diffs": difference(before.normal, now_normal) if before else [],
                    **values,
                }
                connection.execute(insert(table), row)
                return _revision(row)
        except IntegrityError:
            continue  # somebody else took the number; on SQLite the write lock excludes it
    raise Conflict("other uploads of the configuration keep coming first", hint="try again")


def _since(connection: Connection, tenant: str, base: str, before: Revision | None) -> list[dict[str, Any]]:
    row = connection.execute(select(table).where(table.c.tenant == tenant, table.c.id == base)).mappings().first()
    return difference(_revision(row).normal, before.normal) if row is not None and before is not None else []


def _active(connection: Connection, tenant: str) -> Revision | None:
    newest = select(table).where(table.c.tenant == tenant).order_by(table.c.number.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return None if row is None else _revision(row)


def _revision(row: Any) -> Revision:
    values = {key: row[key] for key in row if key != "diffs"}
    return Revision(**values, diffs=tuple(row["diffs"]))


@lru_cache(maxsize=64)
def _classes(revision: Revision) -> Mapping[str, ContextClass]:
    return parse(revision.raw, lenient=True).classes
