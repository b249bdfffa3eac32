"""Old names of the service requests end here: camelCase, ``arcClass``, ``negativeSegments``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends

from mona_server.api.guard import Body, plain_name
from mona_server.errors import BadRequest


def today(body: Mapping[str, Any]) -> dict[str, Any]:
    """The request with today's key names, top level only; a key of today wins over its old spelling.

    >>> today({"arcClass": "LOAN", "timestampFrom": 1, "negativeSegments": {}})
    {'context_class': 'LOAN', 'timestamp_from': 1, 'excluded_segments': {}}
    """
    renamed: dict[str, Any] = {}
    for key, value in body.items():
        name = plain_name(key)
        if name == key or name not in body:
            renamed[name] = value
    return renamed


def _ask(body: Body) -> dict[str, Any]:
    return today(body)


Ask = Annotated[dict[str, Any], Depends(_ask)]
"""The request body with today's names."""


def text(ask: Mapping[str, Any], key: str, *, default: str | None = None) -> str:
    """A text of the request. Raises :class:`BadRequest` when it is missing (and has no default) or no text."""
    value = ask.get(key)
    if value in (None, "") and default is not None:
        return default
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{key} must be a text that is not empty")
    return value


def whole_number(ask: Mapping[str, Any], key: str, *, default: int, most: int) -> int:
    """A whole number from 1 to ``most``. Raises :class:`BadRequest`."""
    value = ask.get(key)
    if value is None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequest(f"{key} must be a whole number above 0")
    return min(value, most)
