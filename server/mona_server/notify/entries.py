"""Entries of ``notifications`` in a context class: destinations and rules, read once and checked in full."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal

from mona_server.errors import BadRequest
from mona_server.notify.channels import DESTINATION_KEYS
from mona_server.notify.notice import Destination, InsightEvent
from mona_server.notify.rules import NUMERIC_RULES, RULES
from mona_server.notify.timing import IMMEDIATELY, QuietHours, Schedule
from mona_server.segment import SegmentError, parse_segments

STATES = ("new", "reopened", "urgency_raised", "resolved", "ongoing", "recovering")
DEFAULT_STATES = ("new", "reopened", "urgency_raised")
OPTIONS = ("only_states", "schedule", "quiet_hours", "max_per_day")
_NOTES = ("description", "disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: where to, about what, when."""

    name: str
    destinations: tuple[Destination, ...]
    rules: Mapping[str, Any] = field(default_factory=dict)
    only_states: tuple[str, ...] = DEFAULT_STATES
    schedule: Schedule = IMMEDIATELY
    quiet_hours: QuietHours | None = None
    max_per_day: int | None = None

    def wants(self, event: InsightEvent) -> bool:
        """Is the event of a wanted kind, and does every rule hold for its insight?"""
        return event.kind in self.only_states and all(
            RULES[name](value, event.insight) for name, value in self.rules.items()
        )

    def due(self, now: datetime, *, urgent: bool) -> datetime:
        """When word of it goes out, before ``max_per_day`` is considered."""
        due = self.schedule.due(now)
        return due if urgent or self.quiet_hours is None else self.quiet_hours.end_of(due)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in an entry. ``path`` is relative to ``notifications``."""

    path: str
    message: str
    severity: Literal["error", "warning"] = "error"


def read(notifications: Mapping[str, Any]) -> tuple[Entry, ...]:
    """The entries that can be used and are not disabled; what is wrong in one never silences the others. See :func:`check`."""
    found = (_entry(name, given, []) for name, given in notifications.items() if not _disabled(given))
    return tuple(entry for entry in found if entry is not None)


def _disabled(given: Any) -> bool:
    return isinstance(given, Mapping) and given.get("disabled") is True


def check(notifications: Mapping[str, Any]) -> list[Problem]:
    """All problems of all entries, for the validation of a configuration."""
    problems: list[Problem] = []
    for name, given in notifications.items():
        _entry(name, given, problems)
    return problems


def _entry(name: str, given: Any, problems: list[Problem]) -> Entry | None:
    before = len([p for p in problems if p.severity == "error"])

    def wrong(key: str, message: str, severity: Literal["error", "warning"] = "error") -> None:
        problems.append(Problem(f"{name}.{key}" if key else name, message, severity))

    if not isinstance(given, Mapping):
        wrong("", "must be an object with a destination such as emails")
        return None
    destinations: list[Destination] = []
    rules: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for key, value in given.items():
        try:
            if value is None or (key in DESTINATION_KEYS and value in ("", [])):
                continue
            if key in DESTINATION_KEYS:
                destinations += DESTINATION_KEYS[key].destinations(value)
            elif key in RULES:
                rules[key] = _rule_value(key, value)
            elif key in OPTIONS:
                options[key] = _option(key, value)
            elif key not in _NOTES:
                close = get_close_matches(key, [*DESTINATION_KEYS, *RULES, *OPTIONS], n=1)
                wrong(key, f"unknown key{f', did you mean {close[0]}?' if close else ''}", "warning")
        except (ValueError, SegmentError, BadRequest) as error:
            wrong(key, str(error))
    if not destinations and len([p for p in problems if p.severity == "error"]) == before:
        wrong("", f"needs a destination: one of {', '.join(DESTINATION_KEYS)}")
    if not destinations or len([p for p in problems if p.severity == "error"]) > before:
        return None
    unique = {destination.key: destination for destination in destinations}
    return Entry(name=name, destinations=tuple(unique.values()), rules=rules, **options)


def _rule_value(key: str, value: Any) -> Any:
    if key in NUMERIC_RULES:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise ValueError("must be a number of 0 or more")
        return value
    if key == "segments":
        parse_segments(value)
        return value
    names = list(value) if isinstance(value, list | tuple) else [value]
    if not names or not all(isinstance(item, str) for item in names):
        raise ValueError("must be a text or a list of texts")
    allowed = {"urgency": ("normal", "high"), "trend_directions": ("asc", "desc")}.get(key)
    for item in names:
        if allowed and item not in allowed:
            raise ValueError(f"{item!r} is not one of {', '.join(allowed)}")
    return names


def _option(key: str, value: Any) -> Any:
    if key == "schedule":
        return Schedule.parse(value)
    if key == "quiet_hours":
        return QuietHours.parse(value)
    if key == "max_per_day":
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError("must be a whole number of 1 or more")
        return value
    states = list(value) if isinstance(value, list | tuple) else [value]
    for state in states:
        if state not in STATES:
            raise ValueError(f"{state!r} is not one of {', '.join(STATES)}")
    return tuple(states)


def matches(entries: tuple[Entry, ...], event: InsightEvent) -> Iterator[tuple[Entry, Destination]]:
    """Every entry that wants the event, once per destination of its own."""
    for entry in entries:
        if entry.wants(event):
            for destination in entry.destinations:
                yield entry, destination
