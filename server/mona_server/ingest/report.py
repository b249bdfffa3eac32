"""The ingestion report: what arrived, what was refused and why, per class and hour."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from mona_server.store.inbox import HOUR_MS
from mona_server.store.store import Store

_EXAMPLES = 3
_UNKNOWN_VARIABLES = 200
"""Distinct unknown variables that are counted by name per transaction: names can be made up without end."""

Row = tuple[str, str, int, str, str, int, str]


class Counts:
    """Counts of one fold transaction: (class, hour, what, item) → number, with up to three example ids."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int, str, str], int] = defaultdict(int)
        self._examples: dict[tuple[str, int, str, str], list[str]] = {}

    def add(self, context_class: str, hour_ms: int, what: str, item: str, count: int = 1) -> None:
        self._counts[context_class, hour_ms, what, item] += count

    def build_error(self, context_class: str, hour_ms: int, field: str, reason: str, context_id: str) -> None:
        """A field that could not be built; ``reason`` holds no value."""
        key = (context_class, hour_ms, "build_errors", json.dumps([field, reason], ensure_ascii=False))
        self._counts[key] += 1
        examples = self._examples.setdefault(key, [])
        if len(examples) < _EXAMPLES:
            examples.append(context_id)

    def unknown_variables(self, context_class: str, hour_ms: int, names: Iterable[str]) -> None:
        for name in names:
            key = (context_class, hour_ms, "unknown_variables", name)
            if key not in self._counts and len(self._counts) > _UNKNOWN_VARIABLES:
                key = (context_class, hour_ms, "unknown_variables", "")
            self._counts[key] += 1

    def late(self, context_class: str, hour_ms: int, age_ms: int) -> None:
        """An update of a known context, ``age_ms`` after the context time."""
        self._counts[context_class, hour_ms, "late", str(_age_bin(age_ms))] += 1

    def rows(self, tenant: str) -> list[Row]:
        """As :func:`mona_server.store.state.add_report` takes them."""
        return [
            (tenant, name, hour, what, item, count, json.dumps(self._examples.get((name, hour, what, item), [])))
            for (name, hour, what, item), count in self._counts.items()
        ]


def _age_bin(age_ms: int) -> int:
    # Four bins per doubling: a quantile read from them is at most 9 % off.
    return math.floor(4 * math.log2(1 + max(age_ms, 0) / 1000))


def _age_s(age_bin: int) -> float:
    """Geometric middle of a bin, seconds."""
    return float(2 ** ((age_bin + 0.5) / 4) - 1)


def ingestion(store: Store, tenant: str, context_class: str, from_ms: int, to_ms: int) -> dict[str, Any]:
    """The report of a class for the hours of arrival in ``[from_ms, to_ms)``, newest first.

    ``{"hours": [{"hour_ms", "messages": {"OVERWRITE new": n, ...}, "contexts": {"new": n, "updated": n}, "refused":
    {reason: n}, "build_errors": [{"field", "reason", "count", "examples"}], "unknown_variables": {name: n},
    "cut_texts": n, "late_updates": {"count", "p50_s", "p95_s"}}], "late_updates": of all hours, "replays": [{"hour_ms",
    "requests", "messages"}]}``.
    The replayed requests are those of the whole tenant: they are answered without being read.
    """
    rows = store.state.connection.execute(
        "SELECT hour_ms, what, item, count, example FROM report"
        " WHERE tenant = ? AND class = ? AND hour_ms >= ? AND hour_ms < ? ORDER BY hour_ms DESC, what, item",
        (tenant, context_class, from_ms // HOUR_MS * HOUR_MS, to_ms),
    ).fetchall()
    hours: dict[int, dict[str, Any]] = {}
    late: dict[int, dict[int, int]] = defaultdict(dict)
    for hour_ms, what, item, count, example in rows:
        hour = hours.setdefault(hour_ms, _empty(hour_ms))
        if what == "build_errors":
            field, reason = json.loads(item)
            hour[what].append({"field": field, "reason": reason, "count": count, "examples": json.loads(example)})
        elif what == "late":
            late[hour_ms][int(item)] = count
        elif what == "cut_texts":
            hour[what] = count
        else:
            hour[what][item] = count
    together: Counter[int] = Counter()
    for hour_ms, bins in late.items():
        hours[hour_ms]["late_updates"] = _late_updates(bins)
        together.update(bins)
    replays = store.inbox.replays(tenant, from_ms // HOUR_MS * HOUR_MS, to_ms)
    return {
        "hours": list(hours.values()),
        "late_updates": _late_updates(together),
        "replays": [{"hour_ms": h, "requests": r, "messages": m} for h, r, m in replays],
    }


def _empty(hour_ms: int) -> dict[str, Any]:
    return {
        "hour_ms": hour_ms,
        "messages": {},
        "contexts": {},
        "refused": {},
        "build_errors": [],
        "unknown_variables": {},
        "cut_texts": 0,
        "late_updates": _late_updates({}),
    }


def _late_updates(bins: Mapping[int, int]) -> dict[str, Any]:
    quantiles = (_quantile(bins, 0.5), _quantile(bins, 0.95)) if bins else (None, None)
    return {"count": sum(bins.values()), "p50_s": quantiles[0], "p95_s": quantiles[1]}


def _quantile(bins: Mapping[int, int], share: float) -> float:
    wanted = share * sum(bins.values())
    seen = 0
    for age_bin in sorted(bins):
        seen += bins[age_bin]
        if seen >= wanted:
            return round(_age_s(age_bin), 3)
    raise AssertionError("no bins")
