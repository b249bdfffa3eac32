"""Everything that can be set, where it comes from, and what it is when nobody says anything.

A constructor argument wins over `MONA_SDK_<NAME>`, that over the older name without prefix, that over the default.
The environment is read when a client is constructed, so no test and no program has to reload a module.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any, Callable, NamedTuple, Optional

from mona_sdk import texts
from mona_sdk.errors import MonaInitializationException

logger = logging.getLogger("mona-logger")

AUTH_MODES = ("MONA", "OIDC", "MANUAL_TOKEN", "NO_AUTH")
CONFIG_SHAPES = ("auto", "bare", "service")
COMPRESSIONS = ("auto", "gzip", "off")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}
_warned: set[tuple[str, str]] = set()


def parse_bool(text: str) -> bool:
    """True for true/1/yes/on, False for false/0/no/off, in any case; ValueError for another word."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(text)


def _sampling_map(text: str) -> dict[str, float]:
    rates = json.loads(text)
    if not isinstance(rates, dict):
        raise ValueError(text)  # noqa: TRY004 - the text is a bad value
    return {str(name): float(rate) for name, rate in rates.items()}


def _logging_level(text: str) -> int:
    word = text.strip().upper()
    if word.isdigit():
        return int(word)
    level = logging.getLevelName(word)
    if not isinstance(level, int):
        raise ValueError(text)  # noqa: TRY004 - an unknown word is a bad value
    return level


# Name of the setting → environment suffix after MONA_SDK_, names also read, how it is read.
Parser = Callable[[str], Any]
ENVIRONMENT: dict[str, tuple[str, tuple[str, ...], Parser]] = {
    "raise_authentication_exceptions": (
        "RAISE_AUTHENTICATION_EXCEPTIONS",
        ("RAISE_AUTHENTICATION_EXCEPTIONS",),
        parse_bool,
    ),
    "raise_export_exceptions": ("RAISE_EXPORT_EXCEPTIONS", ("RAISE_EXPORT_EXCEPTIONS",), parse_bool),
    "raise_service_exceptions": ("RAISE_SERVICE_EXCEPTIONS", ("RAISE_CONFIG_EXCEPTIONS",), parse_bool),
    "num_of_retries_for_authentication": (
        "NUM_OF_RETRIES_FOR_AUTHENTICATION",
        ("NUM_OF_RETRIES_FOR_AUTHENTICATION",),
        int,
    ),
    "wait_time_for_authentication_retries": (
        "WAIT_TIME_FOR_AUTHENTICATION_RETRIES_SEC",
        ("WAIT_TIME_FOR_AUTHENTICATION_RETRIES_SEC",),
        float,
    ),
    "refresh_token_safety_margin": ("REFRESH_TOKEN_SAFETY_MARGIN", ("REFRESH_TOKEN_SAFETY_MARGIN",), float),
    "auth_api_token_url": ("AUTH_API_TOKEN_URL", ("AUTH_API_TOKEN_URL",), str),
    "refresh_token_url": ("REFRESH_TOKEN_URL", ("REFRESH_TOKEN_URL",), str),
    "logging_level": ("LOGGING_LEVEL", ("MONA_LOGGING_LEVEL",), _logging_level),
    "logger_name": ("LOGGER_NAME", ("MONA_LOGGER_NAME",), str),
    "api_key": ("API_KEY", (), str),
    "secret": ("SECRET", (), str),
    "user_id": ("USER_ID", (), str),
    "access_token": ("ACCESS_TOKEN", (), str),
    "oidc_scope": ("OIDC_SCOPE", (), str),
    "auth_mode": ("AUTH_MODE", ("AUTH_MODE",), str),
    "should_use_authentication": ("SHOULD_USE_AUTHENTICATION", (), parse_bool),
    "should_use_refresh_tokens": ("USE_REFRESH_TOKENS", (), parse_bool),
    "should_use_ssl": ("SHOULD_USE_SSL", (), parse_bool),
    "override_rest_api_full_url": ("OVERRIDE_REST_API_URL", (), str),
    "override_rest_api_host": ("OVERRIDE_REST_API_HOST", (), str),
    "override_app_server_full_url": ("OVERRIDE_APP_SERVER_URL", (), str),
    "override_app_server_host": ("OVERRIDE_APP_SERVER_HOST", (), str),
    "use_send_event_endpoint": ("USE_SEND_EVENT_ENDPOINT", (), parse_bool),
    "use_send_timestamp_field": ("USE_SEND_TIMESTAMP_FIELD", (), parse_bool),
    "enable_deprecation_warnings_on_export_timestamp": (
        "ENABLE_DEPRECATION_WARNINGS_ON_EXPORT_TIMESTAMP",
        (),
        parse_bool,
    ),
    "should_log_failed_messages": ("SHOULD_LOG_FAILED_MESSAGES", (), parse_bool),
    "filter_none_fields_on_export": ("FILTER_NONE_FIELDS_ON_EXPORT", (), parse_bool),
    "default_sampling_rate": ("DEFAULT_SAMPLING_FACTOR", (), float),
    "context_class_to_sampling_rate": ("SAMPLING_CONFIG", (), _sampling_map),
    "sampling_config_name": ("SAMPLING_CONFIG_NAME", ("SAMPLING_CONFIG_NAME",), str),
    "sampling_factors_max_age_seconds": (
        "SAMPLING_FACTORS_MAX_AGE_SECONDS",
        ("SAMPLING_FACTORS_MAX_AGE_SECONDS",),
        float,
    ),
    "server_url": ("SERVER_URL", (), str),
    "background": ("BACKGROUND", (), parse_bool),
    "spool_dir": ("SPOOL_DIR", (), str),
    "get_config_shape": ("GET_CONFIG_SHAPE", (), str),
    "compression": ("COMPRESSION", (), str),
}
# A mistake in these would silently send the wrong share of the data.
_STRICT = {"default_sampling_rate", "context_class_to_sampling_rate", "sampling_factors_max_age_seconds"}


def from_environment(name: str) -> Any:
    """The value of setting `name` in the environment, or None. A text that cannot be read warns once."""
    suffix, others, parse = ENVIRONMENT[name]
    for variable in (f"MONA_SDK_{suffix}", *others):
        text = os.environ.get(variable)
        if not text:
            continue
        try:
            return parse(text)
        except ValueError:
            if name in _STRICT:
                raise MonaInitializationException(f"{variable} cannot be read: see the README for its form") from None
            if (variable, text) not in _warned:
                _warned.add((variable, text))
                logger.warning("%s has a value that cannot be read; the default is used", variable)
            return None
    return None


class ClientSettings(NamedTuple):
    """The resolved settings of one client. Times in seconds, sizes in bytes, sampling rates from 0 to 1."""

    api_key: Optional[str] = None
    secret: Optional[str] = None
    raise_authentication_exceptions: bool = False
    raise_export_exceptions: bool = False
    raise_service_exceptions: bool = False
    num_of_retries_for_authentication: int = 3
    wait_time_for_authentication_retries: float = 2
    should_log_failed_messages: bool = False
    should_use_ssl: bool = True
    should_use_authentication: bool = True
    auth_mode: str = "MONA"
    override_rest_api_full_url: Optional[str] = None
    override_rest_api_host: Optional[str] = None
    override_app_server_host: Optional[str] = None
    override_app_server_full_url: Optional[str] = None
    user_id: Optional[str] = None
    filter_none_fields_on_export: bool = False
    default_sampling_rate: float = 1.0
    context_class_to_sampling_rate: Optional[dict[str, float]] = None
    sampling_config_name: Optional[str] = None
    access_token: Optional[str] = None
    oidc_scope: Optional[str] = None
    auth_api_token_url: Optional[str] = None
    refresh_token_url: Optional[str] = None
    should_use_refresh_tokens: bool = True
    refresh_token_safety_margin: float = 0.5
    sampling_factors_max_age_seconds: float = 300
    use_send_event_endpoint: bool = False
    use_send_timestamp_field: bool = False
    enable_deprecation_warnings_on_export_timestamp: bool = False
    logging_level: Optional[int] = None
    logger_name: str = "mona-logger"
    server_url: str = "http://127.0.0.1:8420"
    background: bool = False
    get_config_shape: str = "auto"
    connect_timeout: float = 3
    read_timeout: float = 10
    service_timeout: float = 60
    export_deadline: float = 10
    max_retries: Optional[int] = None
    compression: str = "auto"
    max_queue_messages: int = 10_000
    max_queue_bytes: int = 32 << 20
    batch_max_messages: int = 500
    batch_max_bytes: int = 1 << 20
    flush_interval: float = 1
    max_request_bytes: int = 8 << 20
    max_message_bytes: int = 900 << 10
    spool_dir: Optional[str] = None
    spool_max_bytes: int = 512 << 20
    shutdown_timeout: float = 2
    before_send: Optional[Callable[[dict[str, Any]], Optional[dict[str, Any]]]] = None
    on_error: Optional[Callable[[str, list[Any]], Any]] = None

    @property
    def mode(self) -> str:
        """The authentication mode in force."""
        if not self.should_use_authentication:
            return "NO_AUTH"
        if self.access_token:
            return "MANUAL_TOKEN"
        return self.auth_mode.upper()

    def __repr__(self) -> str:
        # The generated one would show secret and token.
        return f"ClientSettings(mode={self.mode!r}, server_url={self.server_url!r})"


def resolve(arguments: dict[str, Any]) -> ClientSettings:
    """Settings from constructor arguments (None = not given), the environment and the defaults.

    Raises MonaInitializationException where they contradict each other or lack something.
    """
    values: dict[str, Any] = {}
    for name in ClientSettings._fields:
        value = arguments.get(name)
        if value is None and name in ENVIRONMENT:
            value = from_environment(name)
        if value is not None:
            values[name] = value
    settings = ClientSettings(**values)
    _check(settings)
    return settings


def _check(settings: ClientSettings) -> None:
    if settings.mode not in AUTH_MODES:
        raise MonaInitializationException(f"unknown auth_mode {settings.mode!r}; known are {', '.join(AUTH_MODES)}")
    if settings.mode == "MANUAL_TOKEN" and not settings.access_token:
        raise MonaInitializationException("auth_mode MANUAL_TOKEN needs an access_token")
    if settings.mode != "MONA" and not settings.user_id:
        raise MonaInitializationException(texts.NEEDS_USER_ID)
    if settings.sampling_config_name and (
        settings.context_class_to_sampling_rate or settings.default_sampling_rate != 1
    ):
        raise MonaInitializationException(
            "two sampling methods at once: give either sampling_config_name, or rates of your own"
        )
    rates = [settings.default_sampling_rate, *(settings.context_class_to_sampling_rate or {}).values()]
    if not all(isinstance(rate, (int, float)) and 0 <= rate <= 1 for rate in rates):
        raise MonaInitializationException("sampling rates lie between 0 and 1")
    for name, known in (("get_config_shape", CONFIG_SHAPES), ("compression", COMPRESSIONS)):
        if getattr(settings, name) not in known:
            raise MonaInitializationException(f"unknown {name}; known are {', '.join(known)}")


class Addresses(NamedTuple):
    """Where to send: full addresses of sending and tokens, and the base of the services."""

    send: str
    services: str
    token: str
    refresh: str


def addresses(settings: ClientSettings) -> Addresses:
    """Full-URL override, then host override, then `server_url`; a single override of a host serves everything."""
    scheme = "https" if settings.should_use_ssl else "http"
    rest_host = settings.override_rest_api_host or settings.override_app_server_host
    app_host = settings.override_app_server_host or settings.override_rest_api_host
    base = settings.server_url.rstrip("/")
    rest = f"{scheme}://{rest_host}" if rest_host else base
    app = settings.override_app_server_full_url or (f"{scheme}://{app_host}" if app_host else None)
    word = "sendEvent" if settings.use_send_event_endpoint else "export"
    path = f"mona{word[0].upper()}{word[1:]}" if settings.mode == "NO_AUTH" else word
    send = settings.override_rest_api_full_url or f"{rest}/{path}"
    if app is None:
        app = _origin(send) if settings.override_rest_api_full_url else base
    app = app.rstrip("/")
    prefix = f"{app}/identity/resources/auth/v1/api-token"
    token = settings.auth_api_token_url or (f"{app}/oauth/token" if settings.mode == "OIDC" else prefix)
    found = Addresses(send, app, token, settings.refresh_token_url or f"{prefix}/token/refresh")
    for address in (found.send, found.services):
        scheme, separator, rest = address.partition("://")
        if scheme not in ("http", "https") or not separator or not rest.strip("/"):
            # Not an exception: every call on such a client fails with a text, like on an unreachable server.
            logger.warning("an address of the client is unusable; it must look like http://host:port or https://host")
    return found


def _origin(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.partition('/')[0]}"
