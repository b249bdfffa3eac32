"""Success of the original services: the same bodies for both kinds of caller, plus ``"success": true`` for protocol 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from mona_server.api.answers import JSON, is_protocol_2


def data(request: Request, response_data: Any) -> Response:
    """``{"response_data": ...}``. The public SDK crashes on a null there, and on any key ``error_message``."""
    assert response_data is not None
    return top(request, {"response_data": response_data})


def top(request: Request, body: Mapping[str, Any]) -> Response:
    """A body that has its keys at the top level."""
    assert "error_message" not in body
    return JSON({**body, "success": True} if is_protocol_2(request) else body)
