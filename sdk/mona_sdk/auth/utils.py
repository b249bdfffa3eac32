"""Asking a token endpoint, with retries, and reading what it says."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

from mona_sdk import texts
from mona_sdk.auth.globals import (
    ACCESS_TOKEN,
    ERRORS,
    NUM_OF_RETRIES_FOR_AUTHENTICATION,
    WAIT_TIME_FOR_AUTHENTICATION_RETRIES_SEC,
)
from mona_sdk.auth.store import API_KEYS_TO_TOKEN_DATA
from mona_sdk.delivery.policy import may_retry
from mona_sdk.errors import MonaAuthenticationException
from mona_sdk.log import get_logger
from mona_sdk.patch_points import request

__all__ = [
    "API_KEYS_TO_TOKEN_DATA",
    "authentication_lock",
    "get_auth_response_with_retries",
    "get_current_token_by_api_key",
    "get_error_string_from_token_info",
    "get_token_info_by_api_key",
    "handle_authentications_error",
    "request",
]


class _NoLock:
    """The original's one lock for everything. Tokens have locks of their own; this one is free and for old code."""

    def __enter__(self) -> _NoLock:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def acquire(self, *_: Any, **__: Any) -> bool:
        """Always free."""
        return True

    def release(self) -> None:
        """Nothing to release."""


authentication_lock = _NoLock()


class NoAnswer:
    """Stands for the answer of an authentication server that gave none; `unreachable` tells it from a refusal."""

    ok = False
    unreachable = True

    def __init__(self, errors: list[str]) -> None:
        self._errors = errors

    def json(self) -> dict[str, Any]:
        """The answer that a refusing server would give."""
        return {ERRORS: list(self._errors)}


def get_auth_response_with_retries(
    response_generator: Callable[[], Any],
    num_of_retries: int = NUM_OF_RETRIES_FOR_AUTHENTICATION,
    auth_wait_time_sec: float = WAIT_TIME_FOR_AUTHENTICATION_RETRIES_SEC,
) -> Any:
    """The first answer of `response_generator()` that is JSON and no plea to come later.

    After `num_of_retries` repetitions an object whose `json()["errors"][1]` is `Number of retries: N`. Waits grow up to
    `auth_wait_time_sec`, with jitter, so that many clients do not come back at the same moment.
    """
    retries = max(0, int(num_of_retries))
    for attempt in range(retries + 1):
        if attempt:
            import random

            time.sleep(auth_wait_time_sec * (attempt / retries) * random.uniform(0.5, 1.0))
        try:
            response = response_generator()
            answer = response.json()
        except Exception as problem:  # noqa: BLE001 - the generator is the caller's, and any failure means no answer
            get_logger().debug("no answer from the authentication server: %s", type(problem).__name__)
            continue
        if isinstance(answer, str) or may_retry(getattr(response, "status_code", None)):
            continue
        return response
    return NoAnswer([texts.NO_AUTH_SERVER, texts.NO_AUTH_SERVER_RETRIES.format(retries)])


def handle_authentications_error(error_message: str, should_raise_exception: bool, message_to_log: Any = None) -> bool:
    """Log the error, raise it if asked, else return False."""
    get_logger().error(message_to_log or error_message)
    if should_raise_exception:
        raise MonaAuthenticationException(error_message)
    return False


def get_token_info_by_api_key(api_key: Optional[str], token_data_arg: str) -> Any:
    """One value of the most recent record of an api key, or None."""
    return API_KEYS_TO_TOKEN_DATA.get(api_key, {}).get(token_data_arg)


def get_current_token_by_api_key(api_key: Optional[str]) -> Any:
    """The most recent access token of an api key, or None."""
    return get_token_info_by_api_key(api_key, ACCESS_TOKEN)


def get_error_string_from_token_info(api_key: Optional[str]) -> str:
    """The errors of the last token answer, joined by a comma."""
    return error_text(API_KEYS_TO_TOKEN_DATA.get(api_key, {}))


def error_text(answer: Any) -> str:
    """The errors in a token answer, joined by a comma; empty when there are none."""
    errors = answer.get(ERRORS) if isinstance(answer, dict) else None
    if isinstance(errors, (list, tuple)):
        return ", ".join(str(error) for error in errors)
    return str(errors) if errors else ""
