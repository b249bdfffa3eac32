"""Generic webhook: the insights as they are, for programs.

Body ``{"insights": [...]}``, with ``"urgent": true`` in an urgent message. ``X-Mona-Signature`` is the HMAC-SHA256 of the
body under the destination's secret, in hexadecimal after ``sha256=``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from mona_server.notify.channels.channel import Channel, read_url
from mona_server.notify.notice import Destination, Notice, Post


def read(channel: str, value: Any) -> Destination:
    """A URL, or ``{"url", "headers", "secret"}``."""
    if not isinstance(value, dict):
        return read_url(channel, value)
    unknown = set(value) - {"url", "headers", "secret"}
    headers, secret = value.get("headers") or {}, value.get("secret")
    if unknown or "url" not in value:
        raise ValueError('must be a URL or {"url", "headers", "secret"}')
    if not isinstance(headers, dict) or not all(_clean(text) for pair in headers.items() for text in pair):
        raise ValueError("headers must be an object of names and one-line texts")
    if secret is not None and (not isinstance(secret, str) or not secret):
        raise ValueError("secret must be a text")
    return Destination(channel, read_url(channel, value["url"]).target, headers, secret)


def _clean(text: Any) -> bool:
    return isinstance(text, str) and text.isprintable() and text.isascii()


def sign(body: bytes, secret: str) -> str:
    """
    >>> sign(b"{}", "key")[:20]
    'sha256=a777724d943eb'
    """
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def pack(notice: Notice, destination: Destination) -> Post:
    content: dict[str, Any] = {"insights": list(notice.insights)}
    if notice.urgent:
        content["urgent"] = True
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    headers = dict(destination.headers) | {
        "Content-Type": "application/json",
        "X-Mona-Event": notice.kind,
        "X-Mona-Delivery": notice.delivery_id,
    }
    if destination.secret:
        headers["X-Mona-Signature"] = sign(body, destination.secret)
    return Post(destination.target, body, headers)


CHANNEL = Channel("webhook", ("webhook", "webhooks"), pack, read)
