"""Microsoft Teams: an Adaptive Card in the ``attachments`` form that workflow webhooks take."""

from __future__ import annotations

import json
from typing import Any

from mona_server.notify import texts
from mona_server.notify.channels.channel import Channel, read_url
from mona_server.notify.notice import Destination, Notice, Post


def _text(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": text, "wrap": True, **style}


def pack(notice: Notice, destination: Destination) -> Post:
    body = [
        _text(texts.subject(notice), weight="Bolder", size="Medium", color="Attention" if notice.urgent else "Default")
    ]
    actions = []
    if notice.kind == "test":
        body.append(_text(texts.plain(notice)))
    for insight in notice.insights[: texts.MOST_INSIGHTS]:
        if len(notice.insights) > 1:
            body.append(_text(texts.title(insight), weight="Bolder", separator=True))
        body.append(_text(texts.facts(insight), isSubtle=True, spacing="None"))
        if link := texts.link(notice, insight):
            if len(notice.insights) == 1:
                actions.append({"type": "Action.OpenUrl", "title": "Open", "url": link})
            else:
                body.append(_text(f"[Open]({link})", spacing="None"))
    if more := texts.rest(notice):
        body.append(_text(more))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions,
    }
    content = {
        "type": "message",
        "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        ],
    }
    return Post(destination.target, json.dumps(content).encode(), {"Content-Type": "application/json"})


CHANNEL = Channel("teams", ("teams_webhooks",), pack, read_url)
