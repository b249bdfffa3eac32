"""The words of a measurement: metrics, groups of rows, keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mona_server.query.facts import Column
from mona_server.query.statistics import Statistic

Key = tuple[int, ...]
"""The values of the key columns of one group."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A field and the statistics wanted of it; ``second`` is the other field of two-field statistics."""

    field: str
    types: tuple[Statistic, ...]
    second: str | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """Rows to measure: ``sql`` is a sub-query with ``MONA_SIGN``, the columns of the metrics and the ``keys``."""

    sql: str
    keys: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)


def present_sql(column: Column) -> str:
    """SQL: does the row have a value."""
    if column.lists:
        return f"({column.sql} IS NOT NULL OR coalesce(len({column.list_sql}), 0) > 0)"
    return f"{column.sql} IS NOT NULL"


def keys_of(found: Mapping[str, Any], scan: Scan) -> list[Key]:
    if not scan.keys:
        return [()] * len(next(iter(found.values()), ()))
    return list(zip(*(np.asarray(found[key], np.int64).tolist() for key in scan.keys), strict=True))


def plain(column: Any) -> list[float | None]:
    """Python numbers, None for NaN and infinities; whole counts stay whole."""
    return [value if np.isfinite(value) else None for value in np.asarray(column, np.float64).tolist()]
