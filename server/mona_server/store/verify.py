"""``mona verify``: do the parts of a data directory agree, and what of it can be made whole again.

    databases are intact          SQLite's own check; the inbox is not older than the state
    manifest = files              all listed rows are there, and all listed files, as they were written
    facts = documents             the net facts of each class are exactly the last facts of its documents
    days = facts                  the number of contexts by day
    deleted = gone                no context without a document has messages or facts, but for what waits to be erased

The documents are the truth: with ``repair`` a damaged file is taken out of the manifest, and then whatever is
missing in the facts, or too much, is written as new rows that make up for it. What was lost of the past (reads
as of an earlier time, message history) stays lost, and is named.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from mona_server.store import catalog, documents, erase, lake, state
from mona_server.store.catalog import ClassRow
from mona_server.store.lake import LakeFile, name, quote
from mona_server.store.relation import facts_query
from mona_server.store.rows import (
    DAY_MS,
    column_types,
    encode_fact,
    encode_fact_chunk,
    fact_columns,
    message_columns,
)
from mona_server.store.snapshot import FactSnapshot, newest_revision
from mona_server.store.store import Store

_DOCUMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    id: str
    """Stable name of the kind: database_damaged, inbox_lost, file_damaged, file_unlisted, rows_lost, facts_differ,
    days_differ, deleted_left."""
    message: str
    hint: str
    repaired: bool = False


def verify(store: Store, *, now_ms: int, repair: bool = False) -> list[Finding]:
    """Everything that is wrong; empty when all is well. Run with ``repair`` while no other process writes."""
    damaged = list(_databases(store))
    if damaged:
        return damaged
    findings = [*_inbox(store, repair=repair), *_files(store, now_ms, repair=repair)]
    duck = lake.engine(threads=2, memory="1GB", spill=store.data_dir / "tmp")
    for row in catalog.list_classes(store.state.connection):
        findings += _ledger(store, row, repair=repair)
        findings += _class(store, duck, row, now_ms, repair=repair)
    duck.close()
    return findings


def _databases(store: Store) -> Iterator[Finding]:
    for file in ("inbox.db", "state.db", "meta.db"):
        path = store.data_dir / file
        if not path.exists():
            continue  # meta.db may be a PostgreSQL database
        problem = database_damage(path)
        if problem:
            yield Finding("database_damaged", f"{file}: {problem}", "restore a backup with `mona restore`")


def _inbox(store: Store, *, repair: bool) -> Iterator[Finding]:
    lost = state.get_mark(store.state.connection, state.INBOX_LOST)
    if lost is None:
        return
    if repair:
        with store.state.writing() as connection:
            state.remove_mark(connection, state.INBOX_LOST)
    yield Finding(
        "inbox_lost",
        f"the end of inbox.db was lost ({lost}); messages that were accepted last may be missing",
        "send again what was acknowledged shortly before; a repair takes note of it",
        repair,
    )


def database_damage(path: Path) -> str | None:
    """What SQLite's own check says of a database file; None when it is intact."""
    try:
        connection = sqlite3.connect(path)
        try:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if answer == "ok" else str(answer)


def _files(store: Store, now_ms: int, *, repair: bool) -> Iterator[Finding]:
    with store.state.reading() as connection:
        files = lake.all_live(connection, store.lake)
        unlisted = lake.unlisted(connection, store.lake)
    for file in files:
        problem = lake.damage(file)
        if problem is None:
            continue
        if repair:
            with store.state.writing() as connection:
                lake.retire(connection, [file.file_id], now_ms)
        lost = "message history" if file.kind == "messages" else "the past of these contexts"
        yield Finding(
            "file_damaged",
            f"{file.kind} file {file.path.name} ({file.rows} rows) {problem}",
            f"restore it from a backup; a repair takes it out of the manifest, and {lost} is lost",
            repair,
        )
    for path in unlisted:
        yield Finding(
            "file_unlisted",
            f"file {path.name} is not in the manifest",
            "the lake process removes it at its next start; a crash leaves such files",
        )


def _ledger(store: Store, row: ClassRow, *, repair: bool) -> Iterator[Finding]:
    for kind in ("facts", "messages"):
        with store.state.reading() as connection:
            problem = state.check_ledger(connection, kind, row.class_id)
        if problem is None:
            continue
        if repair:
            with store.state.writing() as connection:
                state.settle_ledger(connection, kind, row.class_id)
        yield Finding(
            "rows_lost",
            f"class {row.name} of tenant {row.tenant}: {problem}",
            "a manifest row or a pending chunk is gone: restore a backup, or repair from the documents",
            repair,
        )


def _class(
    store: Store, duck: duckdb.DuckDBPyConnection, row: ClassRow, now_ms: int, *, repair: bool
) -> Iterator[Finding]:
    with store.state.reading() as connection:
        if state.check_ledger(connection, "facts", row.class_id):
            return  # named already
        snapshot = store.snapshot_in(connection, row.tenant, row.name)
        readable = [file for file in snapshot.files if lake.damage(file) is None]
        if len(readable) != len(snapshot.files):
            return  # the files were named already; a difference would only say it again
        types = column_types(snapshot.columns)
        _load_documents(connection, duck, row.class_id, snapshot, types)
        messages = _load_messages(connection, duck, store, row.class_id)
    differences = _differences(duck, snapshot, types)
    left = _left(duck, snapshot, messages)
    if differences:
        if repair:
            _repair(store, row.class_id, snapshot, types, differences, now_ms)
        yield Finding(
            "facts_differ",
            f"class {row.name} of tenant {row.tenant}: {len(differences)} fact rows differ from the documents",
            "a repair writes rows that make up for it",
            repair,
        )
    if left:
        if repair:
            with store.state.writing() as connection:
                # After the repair above: what it wrote for these contexts goes with the rest.
                state.add_erasure(connection, row.class_id, newest_revision(connection), left)
        yield Finding(
            "deleted_left",
            f"class {row.name} of tenant {row.tenant}: {len(left)} contexts that were deleted left messages or facts",
            "a repair has the lake erase them; a release before 1.0 kept the past of what a message deleted",
            repair,
        )
    days = dict(duck.execute("SELECT MONA_DAY, count(*) FROM documents GROUP BY MONA_DAY ORDER BY MONA_DAY").fetchall())
    with store.state.reading() as connection:
        counted = dict(
            connection.execute("SELECT day, contexts FROM days WHERE class_id = ? AND contexts <> 0", (row.class_id,))
        )
    duck.execute("DROP TABLE documents")
    if days != counted:
        if repair:
            _set_days(store, row.class_id, days, now_ms)
        yield Finding(
            "days_differ",
            f"class {row.name} of tenant {row.tenant}: the number of contexts by day is wrong",
            "a repair counts them anew",
            repair,
        )


def _load_documents(
    connection: sqlite3.Connection,
    duck: duckdb.DuckDBPyConnection,
    class_id: int,
    snapshot: FactSnapshot,
    types: dict[str, str],
) -> None:
    """The last fact of every document of a class as table ``documents`` of DuckDB."""
    layouts = catalog.read_layouts(connection, class_id)
    definitions = ", ".join(f"{name(c)} {t}" for c, t in types.items())
    duck.execute(f"CREATE OR REPLACE TEMP TABLE documents ({definitions})")
    casts = ", ".join(f"CAST({name(c)} AS {t})" for c, t in types.items())
    last = connection.execute("SELECT coalesce(max(document_id), 0) FROM documents").fetchone()[0]
    for after in range(0, last, _DOCUMENTS):
        found = documents.scan(connection, class_id, after, after + _DOCUMENTS)
        facts = [document.fact for document in found if document.fact is not None]
        if facts:
            columns = fact_columns([(0, encode_fact_chunk([], facts))], layouts, snapshot.columns)
            duck.register("some_documents", columns)
            duck.execute(f"INSERT INTO documents SELECT {casts} FROM some_documents")
            duck.unregister("some_documents")


def _load_messages(
    connection: sqlite3.Connection, duck: duckdb.DuckDBPyConnection, store: Store, class_id: int
) -> list[LakeFile]:
    """The readable files of messages; the ids of messages that are not in one yet as table ``some_messages``, and what
    waits to be erased as table ``erased``."""
    duck.execute("CREATE OR REPLACE TEMP TABLE some_messages (MONA_ID VARCHAR, MONA_REVISION BIGINT)")
    for revision, body in connection.execute(
        "SELECT revision, body FROM pending WHERE kind = 'messages' AND class_id = ?", (class_id,)
    ):
        duck.register("chunk", {"MONA_ID": message_columns([(revision, body)])["MONA_ID"]})
        duck.execute(f"INSERT INTO some_messages SELECT CAST(MONA_ID AS VARCHAR), {revision} FROM chunk")
        duck.unregister("chunk")
    waiting = erase.waiting(connection, class_id)
    erase.load(duck, waiting)
    return [f for f in lake.live(connection, store.lake, "messages", class_id) if lake.damage(f) is None]


def _left(duck: duckdb.DuckDBPyConnection, snapshot: FactSnapshot, messages: list[LakeFile]) -> list[str]:
    """Ids that have rows in the lake, no document, and nothing under way that erases them."""
    parts = [
        facts_query(duck, snapshot, ["MONA_ID", "MONA_REVISION"]),
        "SELECT MONA_ID, MONA_REVISION FROM some_messages",
    ]
    if messages:
        paths = ", ".join(quote(str(file.path)) for file in messages)
        parts.append(f"SELECT MONA_ID, MONA_REVISION FROM read_parquet([{paths}])")
    rows = duck.execute(
        f"SELECT DISTINCT MONA_ID FROM ({erase.kept(' UNION ALL '.join(parts))})"
        " WHERE MONA_ID NOT IN (SELECT MONA_ID FROM documents) ORDER BY MONA_ID"
    ).fetchall()
    return [row[0] for row in rows]


def _differences(
    duck: duckdb.DuckDBPyConnection, snapshot: FactSnapshot, types: dict[str, str]
) -> list[tuple[object, ...]]:
    """Rows (all columns but sign and revision) with how often they are too much (+) or missing (-) in the facts."""
    columns = [column for column in types if column not in ("MONA_SIGN", "MONA_REVISION")]
    listed = ", ".join(map(name, columns))
    facts = facts_query(duck, snapshot, [*columns, "MONA_SIGN"])
    return duck.execute(
        f"SELECT {listed}, CAST(sum(MONA_SIGN) AS BIGINT) FROM"
        f" (SELECT {listed}, MONA_SIGN FROM ({facts}) UNION ALL SELECT {listed}, -1 FROM documents)"
        f" GROUP BY {listed} HAVING sum(MONA_SIGN) <> 0"
    ).fetchall()


def _repair(
    store: Store,
    class_id: int,
    snapshot: FactSnapshot,
    types: dict[str, str],
    differences: list[tuple[object, ...]],
    now_ms: int,
) -> None:
    columns = [column for column in types if column not in ("MONA_SIGN", "MONA_REVISION")]
    physical = [column.physical for column in snapshot.columns]
    minus: list[bytes] = []
    plus: list[bytes] = []
    days: dict[int, int] = {}
    with store.state.writing() as connection:
        layout = catalog.ensure_layout(connection, class_id, physical)
        for *cells, surplus in differences:
            row = dict(zip(columns, cells, strict=True))
            values = [row[c] if row[c] is not None else row.get(f"{c}[]") for c in physical]
            fact = encode_fact(
                layout, str(row["MONA_ID"]), _int(row["MONA_TIMESTAMP"]), _int(row["MONA_ARRIVAL_TIMESTAMP"]), values
            )
            (minus if _int(surplus) > 0 else plus).extend([fact] * abs(_int(surplus)))
            days[_int(row["MONA_TIMESTAMP"]) // DAY_MS] = 0
        revision = state.next_revision(connection, now_ms)
        body = encode_fact_chunk(minus, plus)
        state.add_pending(connection, "facts", class_id, revision, len(minus) + len(plus), body)
        state.touch_days(connection, class_id, revision, days)


def _set_days(store: Store, class_id: int, days: dict[int, int], now_ms: int) -> None:
    with store.state.writing() as connection:
        revision = state.next_revision(connection, now_ms)
        connection.execute("UPDATE days SET contexts = 0 WHERE class_id = ?", (class_id,))
        state.touch_days(connection, class_id, revision, days)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
