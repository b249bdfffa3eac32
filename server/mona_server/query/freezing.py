"""Buckets that follow from data: read the values once, fix the edges, keep them.

``quantiles`` and the automatic segmentation of a number have no edges in the configuration. Those that a verse or the
file names are fixed for good from the last four weeks of the data, once it has 1,000 values; until then, and for all
others, each question gets edges from the values as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from mona_server.config import ContextClass, Segmentation, frozen
from mona_server.config.segmentations import freeze
from mona_server.query.facts import Facts

WINDOW_MS = 28 * 86_400_000
MOST_VALUES = 1_000_000


def fix_waiting(meta: Engine, tenant: str, config: ContextClass, facts: Facts) -> ContextClass:
    """The class with all segmentations that were ever fixed, and those fixed that have waited for these facts."""
    if not frozen.waiting(config):
        return config
    config = frozen.complete(meta, tenant, config)
    for field, segmentation in frozen.waiting(config):
        if field not in facts.columns:
            continue
        values, newest_ms = _values(facts, field)
        if len(values) >= frozen.ENOUGH_VALUES:
            config = frozen.fix(meta, tenant, config, field, segmentation, values, now_ms=newest_ms)
    return config


def provisional(facts: Facts, field: str, segmentation: Segmentation) -> Segmentation:
    """The same with edges of the values as they are now, where it has none yet."""
    if segmentation.frozen or field not in facts.columns:
        return segmentation
    values, _ = _values(facts, field)
    return segmentation.with_frozen(freeze(segmentation, values)) if len(values) else segmentation


def _values(facts: Facts, field: str) -> tuple[NDArray[np.float64], int]:
    """Values of the contexts of the last four weeks of the data, and the time of the newest (ms)."""
    newest: Any = facts.rows(f"SELECT max(MONA_AXIS) FROM {facts.relation()}")[0][0]
    if newest is None:
        return np.empty(0), 0
    x = facts.column(field).sql
    recent = facts.relation([field], from_ms=newest - WINDOW_MS, to_ms=newest + 1)
    found = facts.arrays(
        f"SELECT {x} AS x, CAST(sum(MONA_SIGN) AS BIGINT) AS n FROM {recent} WHERE {x} IS NOT NULL AND isfinite({x}) "
        f"GROUP BY {x} HAVING sum(MONA_SIGN) > 0 ORDER BY {x} LIMIT {MOST_VALUES}"
    )
    return np.repeat(np.asarray(found["x"], dtype=np.float64), np.asarray(found["n"], dtype=np.int64)), int(newest)
