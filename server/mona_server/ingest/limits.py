"""The bounds of the sending path that an envelope is read with. They are kept with each accepted body, so that the
fold refuses and cuts exactly what the answer said, whatever the settings are by then."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from mona_server.settings import Settings

DAY_MS = 86_400_000


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """Bounds per request and message; bytes unless the name says otherwise."""

    max_messages: int = 100_000
    max_message_bytes: int = 2**20
    max_keys: int = 5_000
    """Keys of one message, nested ones included."""
    max_depth: int = 32
    """Nesting of one message; ``{"a": 1}`` has depth 1."""
    max_array_length: int = 10_000
    max_text_bytes: int = 256 * 2**10
    """A longer text is cut, not refused."""
    max_class_characters: int = 128
    max_id_characters: int = 512
    max_future_ms: int = 7 * DAY_MS

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits of a server's settings."""
        given = settings.limits
        return cls(
            max_messages=given.max_messages,
            max_message_bytes=given.max_message_bytes,
            max_keys=given.max_keys,
            max_depth=given.max_depth,
            max_array_length=given.max_array_length,
            max_text_bytes=given.max_text_bytes,
            max_class_characters=given.max_class_characters,
            max_id_characters=given.max_id_characters,
            max_future_ms=round(settings.ingest.max_future_days * DAY_MS),
        )

    @property
    def text(self) -> str:
        """To be stored with a body; :func:`parse_limits` reads it."""
        return msgspec.json.encode(self).decode()


@lru_cache(maxsize=64)
def parse_limits(text: str) -> Limits:
    """Limits from their text; the defaults from an empty one."""
    return msgspec.json.decode(text, type=Limits) if text else Limits()
