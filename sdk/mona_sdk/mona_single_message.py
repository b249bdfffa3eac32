"""The message, under the name of the original."""

from __future__ import annotations

from mona_sdk.message import MonaSingleMessage

__all__ = ["MonaSingleMessage"]
