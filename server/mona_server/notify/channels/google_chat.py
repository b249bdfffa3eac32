"""Google Chat webhook: plain text, at most 4,096 bytes."""

from __future__ import annotations

import json

from mona_server.notify import texts
from mona_server.notify.channels.channel import Channel, read_url
from mona_server.notify.notice import Destination, Notice, Post

_MOST_BYTES = 4000


def pack(notice: Notice, destination: Destination) -> Post:
    text = f"*{texts.subject(notice)}*\n{texts.plain(notice)}"
    while len(text.encode()) > _MOST_BYTES:
        text = text[: len(text) * 9 // 10].rstrip() + " …"
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    return Post(destination.target, body, {"Content-Type": "application/json; charset=UTF-8"})


CHANNEL = Channel("google_chat", ("google_chat",), pack, read_url)
