"""The logger of the package, and warnings that cannot flood it. Contents, tokens and secrets never come here."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Optional

from mona_sdk.settings import from_environment

LIMIT_S = 60.0
_last: dict[str, float] = {}
_lock = threading.Lock()


def get_logger() -> logging.Logger:
    """`mona-logger`, or the name in the environment. A level is set only where the environment names one."""
    logger = logging.getLogger(from_environment("logger_name") or "mona-logger")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
    level: Optional[int] = from_environment("logging_level")
    if level is not None:
        logger.setLevel(level)
    return logger


logger = get_logger()


def warn_limited(kind: str, text: str, *args: Any, level: int = logging.WARNING) -> None:
    """Log at most once a minute for each `kind`."""
    now = time.monotonic()
    with _lock:
        if now - _last.get(kind, -LIMIT_S) < LIMIT_S:
            return
        _last[kind] = now
    logger.log(level, text, *args)


def renew_after_fork() -> None:
    """A lock held by another thread at the time of a fork would stay locked in the child."""
    global _lock
    _lock = threading.Lock()
