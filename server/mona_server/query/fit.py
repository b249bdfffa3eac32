"""How a configuration fits the data of a class: the numbers behind the warnings of a validation.

One scan over the last four weeks of the data. Distinct values are estimated (HyperLogLog), everything else is exact.
"""

from __future__ import annotations

from mona_server.config import ContextClass
from mona_server.config.preview import ClassProfile, FieldProfile
from mona_server.query.facts import Facts

WINDOW_MS = 28 * 86_400_000


def class_profile(facts: Facts, config: ContextClass) -> ClassProfile:
    """Contexts, and per stored field: values, distinct values, range, and values outside of each segmentation."""
    (newest,) = facts.rows(f"SELECT max(MONA_AXIS) FROM {facts.relation()}")[0]
    if newest is None:
        return ClassProfile(contexts=0, fields={})
    names = [name for name in config.saved_fields if name in facts.columns]
    sums = ["CAST(sum(MONA_SIGN) AS BIGINT)"]
    outside: dict[str, list[str]] = {}
    for name in names:
        column = facts.columns[name]
        x = column.sql
        given = f"({x} IS NOT NULL OR {column.list_sql} IS NOT NULL)" if column.lists else f"{x} IS NOT NULL"
        number = column.kind == "numeric"
        sums += [
            f"CAST(sum(CASE WHEN {given} THEN MONA_SIGN ELSE 0 END) AS BIGINT)",
            f"approx_count_distinct({x})",
            f"min({x}) FILTER (isfinite({x}))" if number else "NULL",
            f"max({x}) FILTER (isfinite({x}))" if number else "NULL",
        ]
        outside[name] = []
        for one in config.saved_fields[name].segmentations.values() if number else ():
            bounds = one.in_range
            if bounds is None:
                continue
            out = [f"{x} < {bounds.min_value!r}"] if bounds.min_value is not None else []
            out += [f"{x} >= {bounds.max_value!r}"] if bounds.max_value is not None else []
            sums.append(f"CAST(sum(CASE WHEN {' OR '.join(out)} THEN MONA_SIGN ELSE 0 END) AS BIGINT)")
            outside[name].append(one.name)
    recent = facts.relation(names, from_ms=newest - WINDOW_MS, to_ms=newest + 1)
    contexts, *found = facts.rows(f"SELECT {', '.join(sums)} FROM {recent}")[0]
    fields = {}
    for name in names:
        count, distinct, low, high, *found = found
        there, found = found[: len(outside[name])], found[len(outside[name]) :]
        fields[name] = FieldProfile(
            count=int(count or 0),
            distinct=int(distinct or 0),
            low=low,
            high=high,
            outside={one: int(n or 0) for one, n in zip(outside[name], there, strict=True)},
        )
    return ClassProfile(contexts=int(contexts or 0), fields=fields)
