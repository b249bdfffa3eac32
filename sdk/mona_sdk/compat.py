"""What old names mean. The modules of the original (`authentication`, `validation`, `messages`, `client_exceptions`,
`mona_single_message`, `client_util`, `logger`) are one import from here each; nothing in this package uses them, so
that reloading one changes nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Callable, Optional

from mona_sdk import settings, texts
from mona_sdk.auth import store
from mona_sdk.auth.authenticators.base_authenticator import JSON_HEADERS
from mona_sdk.auth.globals import ACCESS_TOKEN
from mona_sdk.encode import rename_reserved
from mona_sdk.errors import MonaAuthenticationException, MonaExportException, MonaInitializationException
from mona_sdk.log import get_logger
from mona_sdk.message import MonaSingleMessage

UNPROVIDED_VALUE = texts.UNPROVIDED_VALUE
AUTHENTICATED_ENDPOINT = "export"
UNAUTHENTICATED_ENDPOINT = "monaExport"
CONTEXT_CLASS_FIELD_NAME = "contextClass"
CONTEXT_ID_FIELD_NAME = "contextId"
GET_CONFIG_ERROR_MESSAGE = texts.GET_CONFIG_FAILED
UPLOAD_CONFIG_ERROR_MESSAGE = texts.UPLOAD_CONFIG_FAILED
APP_SERVER_CONNECTION_ERROR_MESSAGE = texts.NO_APP_SERVER

_CONSTANTS = {
    "RAISE_AUTHENTICATION_EXCEPTIONS": "raise_authentication_exceptions",
    "RAISE_EXPORT_EXCEPTIONS": "raise_export_exceptions",
    "RAISE_SERVICE_EXCEPTIONS": "raise_service_exceptions",
    "RAISE_CONFIG_EXCEPTIONS": "raise_service_exceptions",
    "NUM_OF_RETRIES_FOR_AUTHENTICATION": "num_of_retries_for_authentication",
    "WAIT_TIME_FOR_AUTHENTICATION_RETRIES_SEC": "wait_time_for_authentication_retries",
    "SHOULD_USE_AUTHENTICATION": "should_use_authentication",
    "SHOULD_USE_SSL": "should_use_ssl",
    "SHOULD_USE_REFRESH_TOKENS": "should_use_refresh_tokens",
    "SHOULD_LOG_FAILED_MESSAGES": "should_log_failed_messages",
    "FILTER_NONE_FIELDS_ON_EXPORT": "filter_none_fields_on_export",
    "OVERRIDE_REST_API_URL": "override_rest_api_full_url",
    "OVERRIDE_REST_API_HOST": "override_rest_api_host",
    "OVERRIDE_APP_SERVER_URL": "override_app_server_full_url",
    "OVERRIDE_APP_SERVER_HOST": "override_app_server_host",
    "API_KEY": "api_key",
    "SECRET": "secret",
    "USER_ID": "user_id",
    "ACCESS_TOKEN": "access_token",
    "AUTH_MODE": "auth_mode",
    "OIDC_SCOPE": "oidc_scope",
    "AUTH_API_TOKEN_URL": "auth_api_token_url",
    "REFRESH_TOKEN_URL": "refresh_token_url",
    "DEFAULT_SAMPLING_FACTOR": "default_sampling_rate",
    "SAMPLING_CONFIG": "context_class_to_sampling_rate",
    "SAMPLING_CONFIG_NAME": "sampling_config_name",
}


def environment_constants() -> dict[str, Any]:
    """The module constants of the original's client: what the environment says now, else the default."""
    values = {}
    for constant, name in _CONSTANTS.items():
        try:
            value = settings.from_environment(name)
        except MonaInitializationException:
            value = None  # said again, as an error, when a client is made
        values[constant] = settings.ClientSettings._field_defaults[name] if value is None else value
    return values


def get_boolean_value_for_env_var(env_var: str, default_value: bool) -> bool:
    """An environment variable as a boolean; another word than those of the README is the default."""
    import os

    try:
        return settings.parse_bool(os.environ.get(env_var, "") or str(default_value))
    except ValueError:
        return default_value


# authentication (0.0.11)


def first_authentication(mona_client: Any) -> bool:
    """Authenticate a client."""
    return bool(mona_client.authenticator.initial_auth())


def is_authenticated(api_key: Optional[str]) -> bool:
    """Whether the most recent token of an api key was accepted."""
    return store.is_authenticated(store.API_KEYS_TO_TOKEN_DATA.get(api_key))


def get_basic_auth_header(api_key: Optional[str], *_: Any) -> dict[str, str]:
    """The headers of a call with the most recent token of an api key."""
    token = store.API_KEYS_TO_TOKEN_DATA.get(api_key, {}).get(ACCESS_TOKEN)
    return {**JSON_HEADERS, "Authorization": f"Bearer {token}"}


class Decorators:
    """The original's check before every method; ours is inside the methods."""

    @staticmethod
    def refresh_token_if_needed(decorated: Callable[..., Any]) -> Callable[..., Any]:
        """Renew the token of the client (the first argument) if needed; False when it is not authenticated."""

        @functools.wraps(decorated)
        def inner(client: Any, *args: Any, **kwargs: Any) -> Any:
            if client.authenticator.ensure():
                return decorated(client, *args, **kwargs)
            if client.authenticator.raise_auth_exceptions:
                raise MonaAuthenticationException(texts.NOT_AUTHENTICATED)
            get_logger().error(texts.NOT_AUTHENTICATED)
            return False

        return inner


# validation


def handle_export_error(error_message: str, should_raise_exception: bool = False, *_: Any) -> bool:
    """Log the error, raise it if asked, else return False."""
    get_logger().error(error_message)
    if should_raise_exception:
        raise MonaExportException(error_message)
    return False


def validate_mona_single_message(message_event: Any) -> bool:
    """Whether this is a message at all."""
    return isinstance(message_event, MonaSingleMessage)


def validate_inner_message_type(message: Any) -> bool:
    """Whether the content of a message is a dict."""
    return isinstance(message, dict)


def update_mona_fields_names(message: dict[str, Any]) -> dict[str, Any]:
    """The content of a message with reserved names renamed."""
    return rename_reserved(message)[0]


def mona_messages_to_dicts_validation(events: Any, raise_export_exceptions: bool = False, *_: Any, **__: Any) -> Any:
    """The messages as dicts; False (or the exception) when something among them is no message."""
    if not isinstance(events, Iterable):
        return handle_export_error(texts.NOT_ITERABLE, raise_export_exceptions)
    listed = list(events)
    if not all(validate_mona_single_message(event) for event in listed):
        return handle_export_error(texts.WRONG_ITEM, raise_export_exceptions)
    return [event.get_dict() for event in listed]
