"""Reads ``notifications``: who hears of which insights. The rules' values are kept as given, for the notify room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mona_server.config.issues import Issues, Path, did_you_mean
from mona_server.config.model import Stanza, verse_names

DESTINATIONS = (
    "emails",
    "slack_webhooks",
    "teams_webhooks",
    "google_chat",
    "pagerduty_emails",
    "webhook",
    "webhooks",
    "pagerduty_keys",
    "discord_webhooks",
    "telegram",
    "opsgenie",
    "jira",
)
RULES = (
    "stanza_names",
    "verse_name",
    "verse_types",
    "min_segment_size",
    "min_score",
    "min_anomaly_level",
    "metrics",
    "segments",
    "segment_fields",
    "urgency",
    "trend_directions",
    "timestamp_field_name",
    "only_states",
    "schedule",
    "quiet_hours",
    "max_per_day",
)


def read_notifications(
    given: Any, stanzas: Mapping[str, Stanza], known_fields: frozenset[str], path: Path, issues: Issues
) -> dict[str, Mapping[str, Any]]:
    """Rule name → rule. An error where nobody would be told; a warning where a rule can never hold."""
    path = (*path, "notifications")
    if not isinstance(given, Mapping):
        issues.error(path, "bad_notification", "must be an object of name → notification")
        return {}
    notifications = {}
    for name, one in given.items():
        here = (*path, name)
        if not isinstance(one, Mapping):
            issues.error(here, "bad_notification", 'must be an object such as {"emails": ["a@b.c"]}')
            continue
        issues.unknown_keys(here, one, (*DESTINATIONS, *RULES, "description", "disabled"))
        if not any(one.get(key) for key in DESTINATIONS):
            message = f"needs a destination: one of {', '.join(DESTINATIONS)}"
            issues.error(here, "no_destination", message)
        for key in ("min_score", "min_anomaly_level", "min_segment_size", "max_per_day"):
            value = one.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
                issues.error((*here, key), "bad_notification", "must be a number of at least 0")
        _warn(one, stanzas, known_fields, here, issues)
        notifications[name] = one
    return notifications


def _warn(
    given: Mapping[str, Any], stanzas: Mapping[str, Stanza], known_fields: frozenset[str], path: Path, issues: Issues
) -> None:
    verses = [verse for stanza in stanzas.values() for verse in stanza.verses]
    names: dict[str, set[str]] = {
        "stanza_names": set(stanzas),
        "verse_name": {name for verse in verses for name in verse_names(verse)},
        "metrics": set(known_fields),
        "segment_fields": set(known_fields),
    }
    for key, known in names.items():
        values = given.get(key)
        for value in values if isinstance(values, list) else [values] if values is not None else []:
            if not isinstance(value, str) or value not in known:
                message = (
                    f"{value!r} is not known here, so the rule never holds for it{did_you_mean(str(value), known)}"
                )
                issues.warning((*path, key), "unknown_name", message)
