"""Authentication under the names of 0.0.11."""

from __future__ import annotations

from mona_sdk.auth.utils import (
    API_KEYS_TO_TOKEN_DATA,
    get_auth_response_with_retries,
    get_current_token_by_api_key,
)
from mona_sdk.compat import Decorators, first_authentication, get_basic_auth_header, is_authenticated

_get_auth_response_with_retries = get_auth_response_with_retries

__all__ = [
    "API_KEYS_TO_TOKEN_DATA",
    "Decorators",
    "_get_auth_response_with_retries",
    "first_authentication",
    "get_basic_auth_header",
    "get_current_token_by_api_key",
    "is_authenticated",
]
