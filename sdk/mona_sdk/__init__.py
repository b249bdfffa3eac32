"""Mona's Python SDK: export messages about models and processes, and ask the server about them.

>>> from mona_sdk import Client, MonaSingleMessage
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mona_sdk._version import __version__
from mona_sdk.client import Client
from mona_sdk.message import MonaSingleMessage

if TYPE_CHECKING:
    from mona_sdk.async_client import AsyncClient

__all__ = ["AsyncClient", "Client", "MonaSingleMessage", "__version__"]


def __getattr__(name: str) -> Any:
    # asyncio takes half of the import time of all the rest, and few programs need it.
    if name == "AsyncClient":
        from mona_sdk.async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module 'mona_sdk' has no attribute {name!r}")
