"""A snapshot as one SQL relation: files and pending rows together, checked against the manifest."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from mona_server.store import lake
from mona_server.store.lake import name, quote
from mona_server.store.snapshot import FactSnapshot


def facts_query(duck: duckdb.DuckDBPyConnection, snapshot: FactSnapshot, columns: Sequence[str]) -> str:
    """SQL for some columns of all facts of a snapshot; its pending rows are registered as ``pending_facts``.

    Raises DataDamaged where a file is missing or holds another number of rows than the manifest says: an
    engine that reads a list of files may pass over one in silence.
    """
    casts = ", ".join(f"CAST({name(c)} AS {snapshot.types[c]}) AS {name(c)}" for c in columns)
    needed = dict.fromkeys([*columns, "MONA_REVISION"])
    duck.register("pending_facts", {column: snapshot.pending[column] for column in needed})
    parts = [_bounded(f"SELECT {casts} FROM pending_facts", snapshot)]
    if snapshot.files:
        lake.check_presence(snapshot.files)
        paths = ", ".join(quote(str(file.path)) for file in snapshot.files)
        files = f"read_parquet([{paths}], union_by_name = true)"
        count = duck.execute(f"SELECT count(*) FROM {files}").fetchall()[0]
        snapshot.check(count[0])
        known = {column for file in snapshot.files for column in file.columns}
        present = ", ".join(
            f"CAST({name(c) if c in known else 'NULL'} AS {snapshot.types[c]}) AS {name(c)}" for c in columns
        )
        parts.append(_bounded(f"SELECT {present} FROM {files}", snapshot))
    return " UNION ALL ".join(parts)


def _bounded(query: str, snapshot: FactSnapshot) -> str:
    return f"{query} WHERE MONA_REVISION <= {snapshot.revision}" if snapshot.filtered else query
