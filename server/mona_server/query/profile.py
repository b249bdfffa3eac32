"""What a class holds: its contexts and times, and a profile of each field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mona_server.query import measure
from mona_server.query.facts import Column
from mona_server.query.ingested import ALL_TIME, shown
from mona_server.query.reader import Dataset
from mona_server.query.requests import Window
from mona_server.query.scan import Metric, Scan
from mona_server.query.statistics import STATISTICS

QUANTILES = {"0.05": "p05", "0.5": "median", "0.95": "p95"}
DAY_MS = 86_400_000
EXACT_ROWS = SAMPLE_ROWS = 200_000
"""Beyond so many contexts, what is no sum is taken from about so many, chosen by the hash of their id."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Contexts of a class now; ``first_ms`` and ``last_ms`` are context times, None without contexts."""

    contexts: int
    first_ms: int | None
    last_ms: int | None


def overview(dataset: Dataset) -> Overview:
    """How many contexts there are, and between which times."""
    facts = dataset.facts
    # First by day, which are few; then the moments of the first and the last one.
    days = facts.rows(
        f"SELECT CAST(floor(MONA_AXIS / {DAY_MS}.0) AS BIGINT) AS d, CAST(sum(MONA_SIGN) AS BIGINT) AS n FROM {facts.relation()} "
        "GROUP BY d HAVING sum(MONA_SIGN) > 0 ORDER BY d"
    )
    if not days:
        return Overview(0, None, None)
    ends = []
    for day, end in ((days[0][0], "min"), (days[-1][0], "max")):
        relation = facts.relation(from_ms=day * DAY_MS, to_ms=(day + 1) * DAY_MS)
        moments = f"SELECT MONA_AXIS AS t FROM {relation} GROUP BY t HAVING sum(MONA_SIGN) > 0"
        ends.append(facts.rows(f"SELECT {end}(t) FROM ({moments})")[0][0])
    return Overview(sum(n for _, n in days), ends[0], ends[1])


def field_profiles(
    dataset: Dataset, fields: Sequence[str] | None = None, window: Window = ALL_TIME
) -> list[dict[str, Any]]:
    """One object per field in the order of the configuration, see "field" in rest.md 4.

    ``count`` and ``missing_ratio`` are exact. ``distinct`` (with ``distinct_exact``), quantiles and largest values come
    from all contexts up to 200,000, beyond from a uniform sample; the counts of values are then scaled up.
    """
    facts = dataset.facts
    columns = [facts.column(name) for name in (fields if fields is not None else dataset.columns)]
    names = [column.field for column in columns]
    scan = Scan(facts.relation(names, from_ms=window.from_ms, to_ms=window.to_ms), ())
    counted = measure.measure(facts, scan, [Metric(name, (STATISTICS["count"],)) for name in names])
    size = counted.sizes.get((), 0)
    step = 1
    if size > EXACT_ROWS:
        step = -(-size // SAMPLE_ROWS)
        sampled = facts.relation(["MONA_ID", *names], from_ms=window.from_ms, to_ms=window.to_ms)
        scan = Scan(f"(SELECT * FROM {sampled} WHERE hash(MONA_ID) % {step} = 0)", ())
    details = measure.measure(facts, scan, [_metric(column) for column in columns])
    answers = []
    for i, column in enumerate(columns):
        count = (counted.of((), i) or {"count": 0})["count"]
        found = details.of((), i) or {}
        config = dataset.config.fields.get(column.field) if dataset.config else None
        answers.append(
            {
                "name": column.field,
                "type": str(config.type) if config else column.kind,
                "function": config.function if config else "identity",
                "sources": [name for source in config.sources for name in source.names] if config else [column.field],
                "tags": list(config.tags) if config else [],
                "count": count,
                "missing_ratio": 1 - count / size if size else None,
                "distinct": round(found.get("distinct_count") or 0),
                "distinct_exact": step == 1,
                "quantiles": {at: found.get(name) for at, name in QUANTILES.items()}
                if column.kind == "numeric"
                else {},
                "top_values": [
                    {"value": shown(column, top["value"]), "count": top["count"] * step}
                    for top in found.get("top_values") or []
                ],
                "array": column.lists,
            }
        )
    return answers


def _metric(column: Column) -> Metric:
    wanted = ["distinct_count", "top_values", *(QUANTILES.values() if column.kind == "numeric" else ())]
    return Metric(column.field, tuple(STATISTICS[name] for name in wanted))
