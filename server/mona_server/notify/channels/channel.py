"""What a channel is: keys of an entry, how to read them, and how a notice looks there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mona_server.notify.notice import Destination, Notice, Parcel

Pack = Callable[[Notice, Destination], Parcel]
_ADDRESS = re.compile(r"[^@\s<>,;\"]+@[^@\s<>,;\"]+")


@dataclass(frozen=True, slots=True)
class Channel:
    """``pack`` is pure: the same notice gives the same bytes."""

    name: str
    keys: tuple[str, ...]
    pack: Pack
    read: Callable[[str, Any], Destination]
    """One value of an entry → a destination. Raises ValueError that says what is wrong."""

    def destinations(self, value: Any) -> list[Destination]:
        """All destinations that an entry names under a key of this channel: one value or a list."""
        return [self.read(self.name, item) for item in (value if isinstance(value, list | tuple) else [value])]


def read_address(channel: str, value: Any) -> Destination:
    """A mail address."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value.strip()):
        raise ValueError("must be a mail address such as anna@example.org")
    return Destination(channel, value.strip())


def read_url(channel: str, value: Any) -> Destination:
    """An http or https URL."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or any(ord(letter) <= 32 for letter in text):
        raise ValueError("must be a URL that begins with https:// or http://")
    return Destination(channel, text)
