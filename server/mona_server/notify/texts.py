"""The words of a message: subject, one line per insight, links. The same in every channel."""

from __future__ import annotations

from mona_server import words
from mona_server.notify.notice import Json, Notice
from mona_server.segment import Segment

MOST_INSIGHTS = 20
"""As many are spelled out in a message for people; the rest is counted."""

_CLOSED = {
    "verse_removed": "its verse is no longer in the configuration",
    "config_changed": "not found with the changed configuration",
    "not_found": "no longer found",
}
"""Why an insight is closed."""


def subject(notice: Notice) -> str:
    """One line: the insight's title, or how many there are; begins with ``URGENT: `` when it is."""
    prefix = "URGENT: " if notice.urgent else ""
    if notice.kind == "test":
        return f"Mona: test message for {notice.context_class}"
    if notice.kind == "recreated":
        return f"Configuration of {notice.context_class} changed: {recreated(notice)}"
    if len(notice.insights) == 1:
        text = title(notice.insights[0])
        return f"{prefix}{'Resolved: ' if notice.kind == 'resolved' else ''}{text}"
    what = words.plural(len(notice.insights), "insight")
    return f"{prefix}{what} {'resolved ' if notice.kind == 'resolved' else ''}in {notice.context_class}"


def title(insight: Json) -> str:
    """The insight's sentence; made from its numbers where an older one has none."""
    if insight.get("title"):
        return str(insight["title"])
    signal = insight["main_signal"]
    metric = signal.get("kapi") or "size"
    return f"{metric} {words.number(signal.get('benchmark'))} → {words.number(signal.get('value'))} where {segment(insight)}"


def segment(insight: Json) -> str:
    return str(Segment.parse(insight["main_signal"]["segment"]))


def facts(insight: Json) -> str:
    """Verse, level, size and state in one line."""
    signal = insight["main_signal"]
    level = "infinite" if signal.get("is_score_inf") else words.number(signal["anomaly_level"])
    size = f"{words.count(signal['segment_size'])} contexts ({words.share(signal['segment_ratio'])})"
    state = insight.get("state", "new")
    why = _CLOSED.get(str(insight.get("resolved_reason"))) if state == "resolved" else None
    return f"{insight['verse_name']}: level {level}, {size}, {state}{f', {why}' if why else ''}"


def link(notice: Notice, insight: Json) -> str:
    """Address of the insight's page; empty when the server has no address that others could open."""
    if "://" in str(insight.get("url")):
        return str(insight["url"])
    return f"{notice.base_url}/insights/{insight['insight_id']}" if notice.base_url else ""


def rest(notice: Notice) -> str:
    """``and 3 more``, or nothing."""
    more = len(notice.insights) - MOST_INSIGHTS
    return f"and {words.count(more)} more" if more > 0 else ""


def plain(notice: Notice) -> str:
    """The whole message as plain text."""
    if notice.kind == "test":
        return "This is a test message. What you read here is where insights will arrive."
    first = [lead(notice)] if notice.kind == "recreated" else []
    blocks = [
        "\n".join(filter(None, (title(insight), facts(insight), link(notice, insight))))
        for insight in notice.insights[:MOST_INSIGHTS]
    ]
    return "\n\n".join([*first, *blocks, *filter(None, [rest(notice)])])


def recreated(notice: Notice) -> str:
    """``3 insights, 2 closed``."""
    closed = sum(insight.get("state") == "resolved" for insight in notice.insights)
    found = words.plural(len(notice.insights), "insight") if notice.insights else "no insight"
    return f"{found}, {words.count(closed)} closed" if closed else found


def lead(notice: Notice) -> str:
    """What happened to the insights of a mail about a changed configuration."""
    return (
        f"The configuration of {notice.context_class} was changed, so the runs of the last 30 days were repeated for the "
        f"verses that changed. This is what became of their insights: {recreated(notice)}."
    )
