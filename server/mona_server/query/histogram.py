"""How the values of a field are spread: contexts per bucket or value, for any groups of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mona_server.config.segmentations import Segmentation, bucket_width
from mona_server.detect.source import AxisRequest
from mona_server.query.axes import AxisPlan, SegmentationOf, code_sql, codes_sql, plan_axis
from mona_server.query.facts import Facts
from mona_server.query.scan import Key, Scan
from mona_server.segment import Condition, Segment

LARGEST = 50
"""So many values of a text are shown one by one."""
SAMPLE = 100_000


def plan_bins(
    facts: Facts,
    field: str,
    segmentation_of: SegmentationOf,
    rows_sql: Callable[[Sequence[str]], str],
    values: Mapping[str, Any],
    *,
    chosen: bool = False,
) -> AxisPlan:
    """The bins of a field: its default segmentation; else 50 or so even buckets, or the 50 largest values.

    ``chosen``: somebody named the segmentation, so it is taken as it is.
    """
    segmentation = segmentation_of(field, None)
    column = facts.column(field)
    if chosen:
        pass
    elif column.kind == "numeric" and (segmentation is None or not segmentation.frozen):
        x = column.sql
        sample = facts.arrays(f"SELECT {x} AS x FROM {rows_sql([field])} WHERE {x} IS NOT NULL LIMIT {SAMPLE}", values)[
            "x"
        ]
        width = bucket_width(sample)
        segmentation = Segmentation(name="default", kind="discrete" if width is None else "width", bucket_size=width)
    elif column.kind == "string" and not (segmentation and (segmentation.max_values <= LARGEST or segmentation.groups)):
        segmentation = Segmentation(name="default", kind="values", max_values=LARGEST)
    return plan_axis(facts, AxisRequest(field), lambda *_: segmentation, rows_sql, dict(values))


def histogram(facts: Facts, scan: Scan, plan: AxisPlan) -> dict[Key, list[dict[str, Any]]]:
    """Key → items ``{"segment", "size"}`` in the order of the bins, empty ones too; "other" holds what no bin has."""
    column = facts.column(plan.axis.field)
    keys = "".join(f"{key}, " for key in scan.keys)
    code = f"unnest({codes_sql(facts, plan)})" if column.lists else code_sql(facts, plan)
    rows = facts.rows(
        f"SELECT {keys}code, CAST(sum(MONA_SIGN) AS BIGINT) AS n "
        f"FROM (SELECT {keys}{code} AS code, MONA_SIGN FROM {scan.sql}) GROUP BY {keys}code",
        scan.values,
    )
    counts: dict[Key, list[int]] = {}
    bins = len(plan.axis.conditions)
    for row in rows:
        sizes = counts.setdefault(tuple(row[: len(scan.keys)]), [0] * (bins + 1))
        sizes[row[-2]] += int(row[-1])
    return {key: _items(plan.axis.field, plan.axis.conditions, sizes) for key, sizes in counts.items()}


def empty(plan: AxisPlan) -> list[dict[str, Any]]:
    """The histogram of nobody."""
    return _items(plan.axis.field, plan.axis.conditions, [0] * (len(plan.axis.conditions) + 1))


def _items(field: str, conditions: Sequence[Condition], sizes: Sequence[int]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [
        {"segment": Segment.of({field: condition}).to_json(), "size": size}
        for condition, size in zip(conditions, sizes, strict=False)
    ]
    if sizes[-1]:
        items.append({"segment": None, "label": "other", "size": sizes[-1]})
    return items


def jensen_shannon(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Distance of two histograms over the same bins: base 2, 0 (same) to 1 (nothing in common); None when one is empty.

    >>> jensen_shannon([1, 0], [0, 1]), jensen_shannon([2, 2], [1, 1])
    (1.0, 0.0)
    """
    p, q = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if p.sum() <= 0 or q.sum() <= 0:
        return None
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / middle), 0) + np.where(q > 0, q * np.log2(q / middle), 0)
    return float(np.sqrt(min(max(terms.sum() / 2, 0.0), 1.0)))
