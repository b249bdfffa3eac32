"""What people do with insights: archive, snooze, say what they think, assign, comment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, update

from mona_server.errors import BadRequest
from mona_server.insights import listing
from mona_server.insights.repository import new_id
from mona_server.store.store import Store
from mona_server.store.tables_insights import insight_comments, insights

FEEDBACK = ("useful", "expected", "false_alarm")
EXCUSES = ("expected", "false_alarm")
"""Feedback that may leave the window of an insight out of later benchmarks."""
CHANGES = ("archived", "snoozed_until", "feedback", "feedback_note", "exclude_window", "assignee")
JUDGES = ("archived", "feedback", "exclude_window")
MOST_CHARACTERS = 10_000


def change(
    store: Store, tenant: str, insight_id: str, changes: Mapping[str, Any], now: datetime, *, by: str | None = None
) -> dict[str, Any]:
    """Set some of ``archived``, ``snoozed_until`` (Unix seconds or null), ``feedback``, ``feedback_note``,
    ``exclude_window``, ``assignee``; ``by`` whom.

    ``exclude_window`` goes with the feedback ``expected`` or ``false_alarm``: the windows in which the insight was found are left
    out when later windows of the same segment and metric are compared with them. Other feedback takes it back.

    Returns the insight. Raises NotFound, and BadRequest for another key or value.
    """
    values: dict[str, Any] = {}
    for key, value in changes.items():
        match key:
            case "archived" | "exclude_window":
                values[key] = _boolean(key, value)
            case "snoozed_until":
                values["snoozed_until_s"] = None if value is None else _seconds(key, value)
            case "feedback":
                if value is not None and value not in FEEDBACK:
                    raise BadRequest(f"{value!r} is no feedback", hint=f"{', '.join(FEEDBACK)} or null")
                values[key] = value
            case "feedback_note" | "assignee":
                if value is not None and (not isinstance(value, str) or len(value) > MOST_CHARACTERS):
                    raise BadRequest(f"{key} must be a text of at most {MOST_CHARACTERS} characters, or null")
                values[key] = value
            case _:
                raise BadRequest(f"{key!r} of an insight cannot be changed", hint=f"can be: {', '.join(CHANGES)}")
    before, _ = listing.load(store, tenant, insight_id)
    feedback = values.get("feedback", before.feedback)
    if feedback not in EXCUSES:
        if values.get("exclude_window"):
            raise BadRequest(
                "exclude_window needs feedback that the window was not usual", hint=f"feedback {' or '.join(EXCUSES)}"
            )
        if before.exclude_window:
            values["exclude_window"] = False
    if values:
        if by is not None and set(values) & set(JUDGES):
            values["judged_by"] = by
        values["updated_ms"] = int(now.timestamp() * 1000)
        with store.meta.begin() as connection:
            where = (insights.c.id == insight_id, insights.c.tenant == tenant)
            connection.execute(update(insights).where(*where).values(values))
    return listing.get(store, tenant, insight_id)


def comment(store: Store, tenant: str, insight_id: str, author: str, text: str, now: datetime) -> dict[str, Any]:
    """Add a comment. Raises NotFound, BadRequest for an empty or very long text."""
    if not text.strip() or len(text) > MOST_CHARACTERS:
        raise BadRequest(f"a comment has between 1 and {MOST_CHARACTERS} characters")
    listing.load(store, tenant, insight_id)
    now_ms = int(now.timestamp() * 1000)
    row = {
        "id": new_id("com"),
        "insight_id": insight_id,
        "author": author,
        "created_ms": now_ms,
        "text": text.strip(),
    }
    with store.meta.begin() as connection:
        connection.execute(insert(insight_comments).values(row))
    return {"id": row["id"], "author": author, "time": now_ms / 1000, "text": row["text"]}


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{key} must be true or false")
    return value


def _seconds(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{key} must be Unix seconds, or null")
    return int(value)
