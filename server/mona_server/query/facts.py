"""The signed facts of one context class as a relation that SQL can read: files of the lake plus pending rows.

Every reading of this room goes through :meth:`Facts.relation`. It never de-duplicates contexts: a changed context
left a row with sign -1 (its old values) and one with sign +1, and all sums weigh rows by their sign (ADR 1).
"""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal

from mona_server.errors import BadRequest
from mona_server.query.engines.duckdb import Arrays, DuckEngine, Tables, file_list, quoted
from mona_server.store.rows import PhysicalColumn
from mona_server.store.snapshot import FactSnapshot

Kind = Literal["numeric", "string", "boolean", "timestamp", "geo"]
SQL_TYPES: Mapping[str, str] = {
    "numeric": "DOUBLE",
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "timestamp": "BIGINT",
    "geo": "VARCHAR",
}
ALIASES = {"export_timestamp": "MONA_TIMESTAMP"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the class: the field, its type, and where it lies in the files."""

    field: str
    kind: Kind
    physical: str
    lists: bool = False
    """Some rows hold an array: its distinct elements stand in a second column, NULL in this one."""

    @property
    def sql(self) -> str:
        """The column in SQL over :meth:`Facts.relation`."""
        return quoted(self.physical)

    @property
    def list_sql(self) -> str:
        """The column of elements."""
        return quoted(self.physical + "[]")

    @property
    def sql_type(self) -> str:
        return SQL_TYPES[self.kind]

    @property
    def numeric_like(self) -> bool:
        """Statistics make sense: numbers, and booleans as 0 and 1."""
        return self.kind in ("numeric", "boolean")


RESERVED = {
    "MONA_ID": Column("MONA_ID", "string", "MONA_ID"),
    "MONA_TIMESTAMP": Column("MONA_TIMESTAMP", "timestamp", "MONA_TIMESTAMP"),
    "MONA_ARRIVAL_TIMESTAMP": Column("MONA_ARRIVAL_TIMESTAMP", "timestamp", "MONA_ARRIVAL_TIMESTAMP"),
}


@dataclass(frozen=True, slots=True)
class File:
    """One Parquet file of facts."""

    path: str
    rows: int
    min_ms: int
    """Least and greatest context time in it."""
    max_ms: int
    columns: frozenset[str] = frozenset()
    """Its physical columns."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of one class at one moment, and the engine that reads them. Threads may share it."""

    engine: DuckEngine
    files: Sequence[File] = ()
    pending: Arrays = field(default_factory=dict)
    """Physical column → values, all of one length; None, NaN or a mask stand for no value."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """Field → column, without the reserved ones."""
    as_of: int | None = None
    """Only rows of this revision or earlier count; None = all."""

    @classmethod
    def of(cls, snapshot: FactSnapshot, engine: DuckEngine, types: Mapping[str, str] | None = None) -> Facts:
        """The facts of a snapshot of the store; ``types`` as for :meth:`columns_of`."""
        files = tuple(
            File(str(f.path), f.rows, f.min_time_ms, f.max_time_ms, frozenset(f.columns)) for f in snapshot.files
        )
        pending = snapshot.pending if snapshot.pending_rows else {}
        columns = cls.columns_of(snapshot.columns, types)
        return cls(engine, files, pending, columns, snapshot.revision if snapshot.filtered else None)

    @staticmethod
    def columns_of(stored: Iterable[PhysicalColumn], types: Mapping[str, str] | None) -> Mapping[str, Column]:
        """Field → column. ``types`` (field → type) are those of the configuration.

        A field whose type changed has a column of each type, and one that nobody sent yet has none. ``types`` None:
        every field that was ever stored, with its last type.
        """
        latest: dict[str, Column] = {}
        by_type: dict[tuple[str, str], Column] = {}
        for there in sorted(stored, key=lambda c: (len(c.physical), c.physical)):
            column = Column(there.field, _kind(there.type), there.physical, there.lists)
            latest[there.field] = by_type[there.field, column.kind] = column
        if types is None:
            return latest
        # "@0" is never given by the store: a column that no file has.
        return {
            name: by_type.get((name, _kind(type_))) or Column(name, _kind(type_), f"{name}@0")
            for name, type_ in types.items()
        }

    def column(self, name: str) -> Column:
        """The column of a field. Raises :class:`BadRequest` that names near ones."""
        name = ALIASES.get(name, name)
        found = self.columns.get(name) or RESERVED.get(name)
        if found is None:
            near = difflib.get_close_matches(name, [*self.columns, *RESERVED], n=1)
            raise BadRequest(f"there is no field {name!r}", hint=f"did you mean {near[0]}?" if near else "")
        return found

    def time_axis(self, name: str) -> Column:
        """The column of a time axis. Raises :class:`BadRequest` for a field of another type."""
        column = self.column(name)
        if column.kind != "timestamp":
            raise BadRequest(f"{name} is {column.kind}, not a time axis", hint="name a field of type timestamp")
        return column

    @property
    def pending_rows(self) -> int:
        return len(next(iter(self.pending.values()), ()))

    def files_between(self, axis: str, from_ms: int | None, to_ms: int | None) -> list[File]:
        """Files that may hold rows of the time range; on another axis than the context time, all."""
        if self.column(axis).field != "MONA_TIMESTAMP":
            return list(self.files)
        return [
            f for f in self.files if (to_ms is None or f.min_ms < to_ms) and (from_ms is None or f.max_ms >= from_ms)
        ]

    def relation(
        self,
        fields: Iterable[str] = (),
        *,
        axis: str = "MONA_TIMESTAMP",
        from_ms: int | None = None,
        to_ms: int | None = None,
        frames: Sequence[int] = (),
        revision: bool = False,
    ) -> str:
        """A sub-query with ``MONA_SIGN`` (TINYINT), ``MONA_AXIS`` (BIGINT, Unix ms) and the columns of the fields.

        Columns have their physical names, because SQL does not tell ``City`` from ``city``; see :attr:`Column.sql`.
        Rows without a time on the axis, outside of ``from_ms <= t < to_ms`` or after the as-of revision are left
        out; ``revision`` adds ``MONA_REVISION``. With ``frames`` (ascending edges) ``MONA_AXIS`` only tells between which
        of them a row lies: the times of files that lie within one frame are not read. Rows come in the order of the
        files, then pending ones. Run it with :meth:`arrays` or :meth:`rows`.
        """
        time = self.time_axis(axis)
        wanted = list(dict.fromkeys(self.column(name) for name in fields))
        parts = []

        def whole(file: File) -> bool:
            """Is every row of it in the range? Then its times need not be read."""
            after, before = from_ms is None or file.min_ms >= from_ms, to_ms is None or file.max_ms < to_ms
            return time.field == "MONA_TIMESTAMP" and after and before

        def in_one_frame(file: File) -> bool:
            """Does the file tell the frame of its rows? (A field may have the name of the engine's number of the file.)"""
            same = bool(frames) and bisect_right(frames, file.min_ms) == bisect_right(frames, file.max_ms)
            return same and whole(file) and not any(name.lower() == "file_index" for name in file.columns)

        def reading(file: File) -> tuple[bool, bool]:
            return whole(file), in_one_frame(file)

        for (all_of_it, one_frame), some in groupby(self.files_between(axis, from_ms, to_ms), reading):
            files = list(some)
            source = f"read_parquet({file_list([f.path for f in files])}, union_by_name=true)"
            there = frozenset[str]().union(*(f.columns for f in files))
            between = None if all_of_it else (from_ms, to_ms)
            # The engine looks it up once for each file, because the number of the file is the same for all its rows.
            at = f"CAST({[f.min_ms for f in files]}[CAST(file_index AS INTEGER) + 1] AS BIGINT)" if one_frame else None
            parts.append(self._part(source, there, time, wanted, between, at=at, revision=revision))
        if self.pending_rows:
            parts.append(
                self._part("pending", set(self.pending), time, wanted, (from_ms, to_ms), clean=True, revision=revision)
            )
        if not parts:
            parts.append(self._part("(SELECT 1) AS nothing", set(), time, wanted, (1, 0), revision=revision))
        return "(" + " UNION ALL ".join(parts) + ")"

    def parts(self, max_rows: int) -> Iterator[Facts]:
        """The same rows in the same order, in parts of whole files with about ``max_rows`` rows; at least one part."""
        chosen: list[File] = []
        for file in self.files:
            if chosen and sum(f.rows for f in chosen) + file.rows > max_rows:
                yield replace(self, files=tuple(chosen), pending={})
                chosen = []
            chosen.append(file)
        yield replace(self, files=tuple(chosen))

    @property
    def tables(self) -> Tables:
        """What :meth:`relation` names."""
        return {"pending": self.pending} if self.pending_rows else {}

    def arrays(self, sql: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run SQL over :meth:`relation`; see :meth:`DuckEngine.arrays`."""
        return self.engine.arrays(sql, values, self.tables)

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run SQL over :meth:`relation`; see :meth:`DuckEngine.rows`."""
        return self.engine.rows(sql, values, self.tables)

    def _part(
        self,
        source: str,
        there: Collection[str],
        time: Column,
        wanted: Sequence[Column],
        between: tuple[int | None, int | None] | None,
        *,
        at: str | None = None,
        clean: bool = False,
        revision: bool = False,
    ) -> str:
        """``between``: the range of times; None: all rows are in it. ``at``: SQL in place of the time of a row."""

        def typed(physical: str, sql_type: str) -> str:
            if physical not in there:
                return f"CAST(NULL AS {sql_type})"
            value = f"CAST({quoted(physical)} AS {sql_type})"
            # numpy says NaN where SQL says NULL.
            return f"CASE WHEN isnan({value}) THEN NULL ELSE {value} END" if clean and sql_type == "DOUBLE" else value

        t = typed(time.physical, "BIGINT")
        items = [f"{typed('MONA_SIGN', 'TINYINT')} AS MONA_SIGN", f"{at or t} AS MONA_AXIS"]
        if revision:
            items.append(f"{typed('MONA_REVISION', 'BIGINT')} AS MONA_REVISION")
        for column in wanted:
            items.append(f"{typed(column.physical, column.sql_type)} AS {column.sql}")
            if column.lists:
                items.append(f"{typed(column.physical + '[]', column.sql_type + '[]')} AS {column.list_sql}")
        where = [] if between is None else [f"{t} IS NOT NULL"]
        from_ms, to_ms = between or (None, None)
        if from_ms is not None:
            where.append(f"{t} >= {int(from_ms)}")
        if to_ms is not None:
            where.append(f"{t} < {int(to_ms)}")
        if self.as_of is not None and "MONA_REVISION" in there:
            where.append(f"{quoted('MONA_REVISION')} <= {int(self.as_of)}")
        return f"SELECT {', '.join(items)} FROM {source} WHERE {' AND '.join(where) or 'TRUE'}"


def _kind(type_: str) -> Kind:
    """The kind of a field type."""
    if type_ in ("geopoint", "geoshape"):
        return "geo"
    assert type_ in SQL_TYPES, type_
    return type_  # type: ignore[return-value]
