"""What one more message makes of a context. Pure.

>>> first = merge(None, "OVERWRITE", {"a": 1, "b": 2}, export_ms=None, arrival_ms=50)
>>> second = merge(first, "OVERWRITE", {"a": 3, "b": None}, export_ms=20, arrival_ms=60)
>>> second.values, second.time_ms, second.explicit
({'a': 3}, 20, True)
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_ADDED = 10_000
"""Elements that ADD makes an array grow to; more are dropped, or a context could grow without end."""


class Context(msgspec.Struct, frozen=True, gc=False):
    """What is known of a context after some messages."""

    values: dict[str, Any]
    """Merged variables; none is null."""
    time_ms: int
    """Context time: the earliest explicit timestamp since creation, NEW or DELETE; else the earliest arrival."""
    explicit: bool
    """The time was named by a message."""
    arrival_ms: int
    """First arrival."""
    updated_ms: int
    """Last arrival."""


def merge(
    context: Context | None, action: str, values: dict[str, Any], *, export_ms: int | None, arrival_ms: int
) -> Context | None:
    """The context after a message; None when it is deleted. Messages come in the order of their arrival.

    ``values`` is the message object, ``export_ms`` the time it names. Neither argument is changed.
    """
    if action == "DELETE":
        return None
    if action == "NEW" or context is None:
        return Context(
            {key: value for key, value in values.items() if value is not None} if None in values.values() else values,
            arrival_ms if export_ms is None else export_ms,
            export_ms is not None,
            arrival_ms,
            arrival_ms,
        )
    merged = _add(context.values, values) if action == "ADD" else _overwrite(context.values, values)
    time_ms, explicit = context.time_ms, context.explicit
    if export_ms is not None:
        time_ms = min(time_ms, export_ms) if explicit else export_ms
        explicit = True
    elif not explicit:
        time_ms = min(time_ms, arrival_ms)
    return Context(merged, time_ms, explicit, min(context.arrival_ms, arrival_ms), max(context.updated_ms, arrival_ms))


def _overwrite(stored: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = {**stored, **values}
    if None in values.values():
        return {key: value for key, value in merged.items() if value is not None}
    return merged


def _add(stored: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = dict(stored)
    for key, value in values.items():
        if value is None:
            continue
        if key not in merged:
            merged[key] = value
            continue
        before = merged[key]
        array = before if isinstance(before, list) else [before]
        added = value if isinstance(value, list) else [value]
        merged[key] = [*array, *added][: max(MAX_ADDED, len(array))]
    return merged
