"""The two things that programs replace in their tests, looked up at every call where they replace them.

`mona_sdk.client.requests.request` carries all traffic, `mona_sdk.client.jwt.decode` reads the tenant out of a token.
"""

from __future__ import annotations

import base64
import json
import sys
from types import SimpleNamespace
from typing import Any

from mona_sdk.delivery import http


def request(method: str, url: str, **kwargs: Any) -> Any:
    """Send through `mona_sdk.client.requests`, whatever stands there now."""
    client = sys.modules.get("mona_sdk.client")
    carrier = getattr(client, "requests", http)
    return carrier.request(method, url, **kwargs)


def decode_token(token: str) -> dict[str, Any]:
    """The claims of a token by `mona_sdk.client.jwt`; empty when it is no JWT."""
    client = sys.modules.get("mona_sdk.client")
    try:
        claims = getattr(client, "jwt", jwt).decode(token, options={"verify_signature": False})
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _decode(token: str, *_: Any, **__: Any) -> dict[str, Any]:
    """The claims of a JWT, without a look at its signature: the server that gets the token checks it.

    Raises ValueError for anything that is no JWT.
    """
    try:
        payload = token.split(".")[1]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (AttributeError, IndexError, ValueError) as problem:
        raise ValueError("not a JWT") from problem
    return claims


jwt = SimpleNamespace(decode=_decode)
