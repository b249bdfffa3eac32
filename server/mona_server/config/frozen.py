"""Segmentations that are fixed from data: kept in ``meta.db``, so that buckets do not move under old insights.

A ``quantiles`` segmentation and the automatic one of a numeric field have no edges of their own. Once 1,000 values are
there (or at upload, from the last 4 weeks), the caller reads the values, :func:`fix` stores what follows from them,
and :func:`classes` gives context classes whose segmentations are complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike
from sqlalchemy import Engine, delete, insert, select

from mona_server.config.model import ContextClass
from mona_server.config.revisions import Revision
from mona_server.config.segmentations import Segmentation, freeze
from mona_server.store.tables_config import frozen_segmentations as table

ENOUGH_VALUES = 1_000


def classes(meta: Engine, revision: Revision) -> Mapping[str, ContextClass]:
    """The context classes of a revision, with what was fixed from data for the segmentations as they are now."""
    with meta.connect() as connection:
        rows = connection.execute(select(table).where(table.c.tenant == revision.tenant)).mappings().all()
    return {name: _apply(one, rows) for name, one in revision.classes.items()}


def complete(meta: Engine, tenant: str, context_class: ContextClass) -> ContextClass:
    """One class, with what was fixed from data for its segmentations as they are now."""
    with meta.connect() as connection:
        rows = connection.execute(select(table).where(table.c.tenant == tenant)).mappings().all()
    return _apply(context_class, rows)


def _apply(context_class: ContextClass, rows: Sequence[Any]) -> ContextClass:
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        field = context_class.fields.get(row["field"]) if row["context_class"] == context_class.name else None
        segmentation = field.segmentations.get(row["segmentation"]) if field else None
        if segmentation is not None and _definition(segmentation) == row["definition"]:
            found[row["field"], row["segmentation"]] = row["frozen"]
    return context_class.with_frozen(found) if found else context_class


def waiting(context_class: ContextClass) -> tuple[tuple[str, str], ...]:
    """(field, segmentation) of those that still wait for data and that a verse searches by, or that say quantiles."""
    used = {
        (axis.field, axis.segmentation)
        for verse in context_class.verses
        for parameter in ("segment_by", "segment_baseline_by", "always_segment_baseline_by")
        for axis in verse.get(parameter, ())
    }
    return tuple(
        (field.name, one.name)
        for field in context_class.saved_fields.values()
        for one in field.segmentations.values()
        if not one.frozen
        and (one.kind == "quantiles" or (field.name, one.name) in used or (one.default and (field.name, None) in used))
    )


def fix(
    meta: Engine,
    tenant: str,
    context_class: ContextClass,
    field: str,
    segmentation: str,
    values: ArrayLike,
    *,
    now_ms: int,
) -> ContextClass:
    """Fixes one segmentation from the field's values (float, of shape (n,), no NaN) and returns the class with it."""
    one = context_class.fields[field].segmentations[segmentation]
    frozen = freeze(one, values)
    key = {
        "tenant": tenant,
        "context_class": context_class.name,
        "field": field,
        "segmentation": segmentation,
    }
    with meta.begin() as connection:
        connection.execute(delete(table).where(*(table.c[name] == value for name, value in key.items())))
        row = {**key, "definition": _definition(one), "frozen": frozen, "created_ms": now_ms}
        connection.execute(insert(table), row)
    return context_class.with_frozen({(field, segmentation): frozen})


def _definition(segmentation: Segmentation) -> str:
    """What the frozen edges depend on."""
    return json.dumps(
        [segmentation.kind, segmentation.quantiles, segmentation.min_value, segmentation.max_value], sort_keys=True
    )
