"""Slack incoming webhook: a fallback text, and one section block per insight."""

from __future__ import annotations

import json
from typing import Any

from mona_server.notify import texts
from mona_server.notify.channels.channel import Channel, read_url
from mona_server.notify.notice import Destination, Json, Notice, Post

_MOST_CHARACTERS = 2600
"""A section's text may hold 3,000."""


def escape(text: str) -> str:
    """Slack's three control characters.

    >>> escape("a < b & c")
    'a &lt; b &amp; c'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(text: str) -> Json:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _insight(notice: Notice, insight: Json) -> Json:
    text = f"*{escape(texts.title(insight))}*\n{escape(texts.facts(insight))}"[:_MOST_CHARACTERS]
    if address := notice.charts.get(insight["insight_id"]):
        # A link, because Slack refuses a message with a picture block that it cannot fetch.
        text += f"\n<{escape(address)}|Time chart>"
    block: dict[str, Any] = _section(text)
    if link := texts.link(notice, insight):
        block["accessory"] = {
            "type": "button",
            "text": {"type": "plain_text", "text": "Open"},
            "url": link,
            "action_id": insight["insight_id"],
        }
    return block


def pack(notice: Notice, destination: Destination) -> Post:
    if notice.kind == "test":
        blocks = [_section(escape(texts.plain(notice)))]
    else:
        blocks = [_insight(notice, insight) for insight in notice.insights[: texts.MOST_INSIGHTS]]
        if more := texts.rest(notice):
            blocks.append(_section(more))
    body = {"text": escape(texts.subject(notice)), "blocks": blocks}
    return Post(destination.target, json.dumps(body).encode(), {"Content-Type": "application/json"})


CHANNEL = Channel("slack", ("slack_webhooks",), pack, read_url)
