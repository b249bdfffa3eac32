"""The logger, under the name of the original."""

from __future__ import annotations

from mona_sdk.log import get_logger

__all__ = ["get_logger"]
