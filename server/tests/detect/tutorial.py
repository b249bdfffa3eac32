"""The tutorial's inference rows as columns in memory, and verses over them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mona_server.detect.source import SourceQuestion, SumsSource
from mona_server.detect.table_columns import Column, coded
from mona_server.detect.table_source import TableSource
from mona_server.detect.verses import VERSES, Verse, resolve

T = 1_619_654_400
NOW = datetime.fromtimestamp(T + 1_800, UTC)
DAY = 86_400


def verse(type_name: str, **given: Any) -> Verse:
    """A verse of the stanza ``loan`` with the chance gate and folding off, unless given."""
    off = {"max_false_discovery_rate": 1, "fold_redundant": False}
    found, problems = resolve(VERSES[type_name], off | given, context_class="LOAN_APPLICATION_TUTORIAL", stanza="loan")
    assert found is not None, problems
    return found


class Table:
    """Columns, times and the start of data of some rows."""

    def __init__(self, columns: Mapping[str, Column], time_ms: np.ndarray) -> None:
        self.columns = dict(columns)
        self.columns.setdefault("MONA_TIMESTAMP", time_ms.astype(np.float64))
        self.time_ms = time_ms.astype(np.int64)
        self.start_ms = int(time_ms.min())

    def source(self, question: SourceQuestion) -> SumsSource:
        return TableSource(self.columns, self.time_ms, question)


def table_of(rows: list[dict[str, Any]], texts: list[str], numbers: list[str]) -> Table:
    """Columns of rows with a ``timestamp`` in ms."""
    columns: dict[str, Column] = {name: coded([row.get(name) for row in rows]) for name in texts}
    for name in numbers:
        columns[name] = np.array([_number(row.get(name)) for row in rows])
    return Table(columns, np.array([row["timestamp"] for row in rows]))


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)
