"""A small lake for tests: contexts with a history → signed facts in Parquet files and pending rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from hypothesis import strategies as st

from mona_server.query.engines.duckdb import DuckEngine, quoted
from mona_server.query.facts import SQL_TYPES, Column, Facts, File, Kind
from mona_server.store.rows import RESERVED

DAY_MS = 86_400_000
Values = Mapping[str, Any]
Step = tuple[str, int, Values | None, bool]
"""Context id, time (ms), its values from then on (None: deleted), and whether all rows so far go into a file."""


def histories(
    x: Sequence[float], contexts: int, steps: int, **more: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Step]]:
    """What may happen to a few contexts with the fields city, vip, x, tags and ``more`` in four days."""
    values = st.fixed_dictionaries(
        {},
        optional={
            "city": st.sampled_from(["Haifa", "Acre", "Łódź", "it's"]),
            "vip": st.booleans(),
            "x": st.sampled_from(x),
            "tags": st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
            **more,
        },
    )
    step = st.tuples(
        st.sampled_from([f"id-{i}" for i in range(contexts)]),
        st.integers(0, 4 * DAY_MS - 1),
        st.one_of(values, values, values, st.none()),
        st.sampled_from([False, False, True]),
    )
    return st.lists(step, max_size=steps)


@dataclass
class Lab:
    """Writes what the fold would have written: ``put`` creates, changes and (with None) deletes contexts."""

    folder: Path
    kinds: Mapping[str, Kind]
    engine: DuckEngine
    rows: list[dict[str, Any]] = field(default_factory=list)
    """All fact rows so far; those before ``flushed`` are in files."""
    state: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    """Context id → (time, values): what is true now."""
    files: list[File] = field(default_factory=list)
    flushed: int = 0
    revision: int = 0

    def play(self, steps: Sequence[Step]) -> Lab:
        """Let a history happen."""
        for context_id, time_ms, values, flush in steps:
            self.put(context_id, time_ms, values)
            if flush:
                self.flush()
        return self

    def put(self, context_id: str, time_ms: int, values: Values | None) -> None:
        """One revision of one context."""
        self.revision += 1
        old = self.state.pop(context_id, None)
        if old is not None:
            self._row(context_id, *old, sign=-1)
        if values is not None:
            self.state[context_id] = (time_ms, dict(values))
            self._row(context_id, time_ms, dict(values), sign=1)

    def flush(self) -> None:
        """Move the pending rows into one file."""
        rows = self.rows[self.flushed :]
        self.flushed = len(self.rows)
        if not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{len(self.files):04d}.parquet"
        with duckdb.connect() as db:
            types = self._types(rows)
            columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in types.items())
            db.execute(f"CREATE TABLE rows ({columns})")
            marks = ", ".join("?" for _ in types)
            db.executemany(f"INSERT INTO rows VALUES ({marks})", [[row.get(name) for name in types] for row in rows])
            db.execute(f"COPY (SELECT * FROM rows ORDER BY \"MONA_DAY\") TO '{path}' (FORMAT parquet)")
        times = [row["MONA_TIMESTAMP"] for row in rows]
        self.files.append(File(str(path), len(rows), min(times), max(times), frozenset(types)))

    def facts(self, as_of: int | None = None) -> Facts:
        rows = self.rows[self.flushed :]
        pending: dict[str, Any] = {}
        if rows:
            for name, kind in self._types(rows).items():
                values = [row.get(name) for row in rows]
                if kind == "DOUBLE":
                    pending[name] = np.array([np.nan if v is None else v for v in values], np.float64)
                elif name.startswith("MONA_") and name != "MONA_ID":
                    pending[name] = np.array(values, np.int64)
                elif kind == "BIGINT":
                    pending[name] = np.ma.masked_array(
                        [v or 0 for v in values], mask=[v is None for v in values], dtype=np.int64
                    )
                else:
                    pending[name] = np.empty(len(values), object)
                    pending[name][:] = values
        listed = {name for row in self.rows for name in row}
        columns = {name: Column(name, kind, name, f"{name}[]" in listed) for name, kind in self.kinds.items()}
        return Facts(self.engine, tuple(self.files), pending, columns, as_of)

    def _types(self, rows: Sequence[Values]) -> dict[str, str]:
        types = dict(RESERVED)
        for name, kind in self.kinds.items():
            types[name] = SQL_TYPES[kind]
            if any(f"{name}[]" in row for row in rows):
                types[f"{name}[]"] = SQL_TYPES[kind] + "[]"
        return types

    def _row(self, context_id: str, time_ms: int, values: dict[str, Any], sign: int) -> None:
        stored: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, list):
                stored[f"{name}[]"] = list(dict.fromkeys(value))
            else:
                stored[name] = value
        self.rows.append(
            {
                "MONA_ID": context_id,
                "MONA_TIMESTAMP": time_ms,
                "MONA_ARRIVAL_TIMESTAMP": time_ms + 1000,
                "MONA_REVISION": self.revision,
                "MONA_SIGN": sign,
                "MONA_DAY": time_ms // DAY_MS,
                **stored,
            }
        )
