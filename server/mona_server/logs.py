"""Logging of the server: one line per event on standard error, JSON when nobody watches.

Events are named in the past tense, with ids and counts as keys. Secrets and message values are never logged;
keys that look like one are masked here all the same.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_KEYS = ("secret", "password", "token", "authorization", "cookie", "signature")


def configure(process: str, *, level: str = "INFO") -> None:
    """Set up logging of this process; ``process`` (api, fold ...) stands in every line."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            mask_secrets,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)


def mask_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the values of keys that look like secrets.

    >>> mask_secrets(None, "info", {"event": "token made", "client_secret": "abc"})
    {'event': 'token made', 'client_secret': '***'}
    """
    for key in event:
        if key != "event" and any(word in key.lower() for word in _SECRET_KEYS):
            event[key] = "***"
    return event
