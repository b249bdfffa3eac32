"""Compaction: many small files → few large ones, and rows that no reader can tell apart from nothing are dropped.

Files are merged in tiers: eight files of about one size become one of the next, so each row is rewritten a
logarithmic number of times. A day with many rows gets files of its own; the days with few rows, as late labels
make them, stay together in one file that is sorted by day.

A day whose rows may to a large part cancel each other is merged as a whole, whatever the sizes: late labels leave
a plus row in the day's file and its minus row in another.

A plus row and the minus row that cancels it are dropped together once the minus row is older than the as-of
horizon: every read that is still allowed sees both or neither.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from mona_server.store import catalog, lake, state
from mona_server.store.faults import point
from mona_server.store.flush import ORDER
from mona_server.store.lake import LakeFile, NewFile, name, quote
from mona_server.store.rows import MESSAGE_COLUMNS, RESERVED
from mona_server.store.store import Store

FAN_IN = 8
"""Files of one tier that are merged at once."""
DAY_ROWS = 50_000
"""A day with at least so many rows gets files of its own."""
CANCELLED_SHARE = 0.2
"""Old files of a day are merged when at least this share of their rows may cancel each other ..."""
UNSETTLED_SHARE = 0.1
"""... and at least this share was not in such a merge yet."""
_BASE_ROWS = 10_000
_MAX_MERGED_ROWS = 20_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Files of one kind and class to merge into one, or into one per day."""

    files: list[LakeFile]
    settles: bool
    """These are all old files of their day, so what cancels is found."""
    horizon: int
    """The oldest revision that can be read as of."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """One merge that was committed."""

    files_before: int
    files_after: int
    rows_before: int
    rows_after: int


def tier(rows: int) -> int:
    """Files of one tier are merged with each other."""
    return max(0, math.floor(math.log(max(rows, 1) / _BASE_ROWS, FAN_IN)) + 1)


def plan(files: Sequence[LakeFile], horizon_revision: int) -> Plan | None:
    """What to merge next; None when nothing is worth it. Files of one kind and class."""
    by_day: dict[int | None, list[LakeFile]] = defaultdict(list)
    for file in files:
        first, last = file.days
        by_day[first if first == last and file.level else None].append(file)
    for group in by_day.values():
        by_tier: dict[int, list[LakeFile]] = defaultdict(list)
        for file in group:
            by_tier[tier(file.rows)].append(file)
        for _, alike in sorted(by_tier.items()):
            if len(alike) >= FAN_IN:
                return Plan(_bounded(alike[: FAN_IN * 2]), settles=False, horizon=horizon_revision)
        # Old rows are looked through together for what cancels, again when enough new ones have become old.
        aged = [file for file in group if file.max_revision <= horizon_revision]
        rows = sum(file.rows for file in aged)
        unsettled = sum(file.rows for file in aged if file.settled < file.max_revision)
        if 2 * sum(file.minus for file in aged) >= CANCELLED_SHARE * rows and unsettled >= UNSETTLED_SHARE * rows > 0:
            return Plan(_bounded(aged), settles=True, horizon=horizon_revision)
    return None


def _bounded(files: Sequence[LakeFile]) -> list[LakeFile]:
    chosen: list[LakeFile] = []
    rows = 0
    for file in sorted(files, key=lambda f: f.file_id):
        if not chosen or rows + file.rows <= _MAX_MERGED_ROWS:
            chosen.append(file)
            rows += file.rows
    return chosen


def horizon(store: Store, now_ms: int, asof_ms: int) -> int:
    """The oldest revision that can be read as of, moved forward to ``now - asof`` and written down.

    It is written before anything is dropped, so that no reader gets half of the past.
    """
    with store.state.writing() as connection:
        known = int(state.get_mark(connection, state.ASOF_HORIZON) or 0)
        moved = max(known, state.revision_at(connection, now_ms - asof_ms))
        if moved > known:
            state.set_mark(connection, state.ASOF_HORIZON, str(moved))
            connection.execute("DELETE FROM revisions WHERE revision < ?", (moved,))
    return moved


def plans(store: Store, now_ms: int, asof_ms: int) -> list[Plan]:
    """What each kind and class that needs it should merge next. Moves the horizon."""
    moved = horizon(store, now_ms, asof_ms)
    with store.state.reading() as connection:
        found = [
            plan(lake.live(connection, store.lake, kind, row.class_id), moved)
            for row in catalog.list_classes(connection)
            for kind in ORDER
        ]
    return [item for item in found if item is not None]


def compact(store: Store, duck: duckdb.DuckDBPyConnection, chosen: Plan, now_ms: int) -> Compacted:
    """Merge the files of one plan. Raises DataDamaged where one of them is not as it was written."""
    files = chosen.files
    kind, class_id = files[0].kind, files[0].class_id
    lake.check_content(files)
    query = rows_of(duck, files)
    if kind == "facts":
        query = _without_cancelled(query, files, chosen.horizon)
    new = write_by_day(store, duck, kind, class_id, query, settled=chosen.horizon if chosen.settles else 0)
    swap(store, files, new, now_ms)
    return Compacted(len(files), len(new), sum(f.rows for f in files), sum(f.rows for f in new))


def rows_of(duck: duckdb.DuckDBPyConnection, files: Sequence[LakeFile]) -> str:
    """SQL that reads all rows of some files. Raises DataDamaged where their number differs from the manifest."""
    paths = ", ".join(quote(str(file.path)) for file in files)
    query = f"SELECT * FROM read_parquet([{paths}], union_by_name = true)"
    count = duck.execute(f"SELECT count(*) FROM ({query})").fetchall()[0]
    lake.check_rows(files, count[0])
    return query


def _without_cancelled(query: str, files: Sequence[LakeFile], horizon_revision: int) -> str:
    if all(file.min_revision > horizon_revision for file in files):
        return query
    columns = sorted({column for file in files for column in file.columns} - {"MONA_SIGN", "MONA_REVISION"})
    values = ", ".join(name(column) for column in columns)
    # Equal rows are numbered by sign in the order of revision: the i-th minus row cancels the i-th plus row.
    return f"""
        WITH source AS ({query}),
        hashed AS (SELECT *, hash({values}) AS mona_hash FROM source),
        numbered AS (
            SELECT *, row_number() OVER (
                PARTITION BY MONA_ID, mona_hash, MONA_SIGN ORDER BY MONA_REVISION
            ) AS mona_place
            FROM hashed
        ),
        cancelled AS (
            SELECT minus.MONA_ID, minus.mona_hash, minus.mona_place
            FROM numbered AS minus JOIN numbered AS plus USING (MONA_ID, mona_hash, mona_place)
            WHERE minus.MONA_SIGN = -1 AND plus.MONA_SIGN = 1
              AND plus.MONA_REVISION <= minus.MONA_REVISION AND minus.MONA_REVISION <= {horizon_revision}
        )
        SELECT * EXCLUDE (mona_hash, mona_place) FROM numbered
        ANTI JOIN cancelled USING (MONA_ID, mona_hash, mona_place)
    """


def write_by_day(
    store: Store,
    duck: duckdb.DuckDBPyConnection,
    kind: str,
    class_id: int,
    query: str,
    *,
    level: int = 1,
    settled: int = 0,
) -> list[NewFile]:
    """The rows of a query as durable files: one for each day with many rows, one for the others. May be none."""
    duck.execute(f"CREATE OR REPLACE TEMP TABLE merged AS {query}")
    try:
        days = duck.execute("SELECT MONA_DAY, count(*) FROM merged GROUP BY MONA_DAY ORDER BY MONA_DAY").fetchall()
        large = [day for day, rows in days if rows >= DAY_ROWS]
        conditions = [f"MONA_DAY = {day}" for day in large]
        if len(large) < len(days):
            conditions.append(f"MONA_DAY NOT IN ({', '.join(map(str, large))})" if large else "true")
        result = []
        for condition in conditions:
            rows = f"SELECT {_types(duck, kind)} FROM merged WHERE {condition}"
            result.append(
                lake.write_query(
                    duck, store.lake, kind, class_id, rows, order=ORDER[kind], level=level, settled=settled
                )
            )
            point("compact: file written")
        return result
    finally:
        duck.execute("DROP TABLE IF EXISTS merged")


def _types(duck: duckdb.DuckDBPyConnection, kind: str) -> str:
    """Reserved columns first, then the others by name."""
    first = list(RESERVED if kind == "facts" else MESSAGE_COLUMNS)
    found = [row[0] for row in duck.execute("DESCRIBE merged").fetchall()]
    return ", ".join(name(column) for column in [*first, *sorted(set(found) - set(first))])


def swap(store: Store, old: Sequence[LakeFile], new: Sequence[NewFile], now_ms: int) -> None:
    """From one moment to the next the new files count instead of the old ones."""
    with store.state.writing() as connection:
        lake.add(connection, new, now_ms)
        point("swap: files listed")
        lake.retire(connection, [file.file_id for file in old], now_ms)
        point("swap: before commit")
    point("swap: committed")
