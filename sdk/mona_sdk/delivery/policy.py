"""What may be repeated, after how long, and until when. Pure: time and chance are arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

RETRY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0


def may_retry(status: object) -> bool:
    """Whether the same request may succeed later. A status that is no number (a mock) is final."""
    return type(status) is int and status in RETRY_STATUSES


def backoff(attempt: int, chance: Optional[Callable[[], float]] = None) -> float:
    """Seconds before attempt number `attempt` + 1 (from 0): full jitter under 0.2 s, doubling up to 30 s.

    >>> [backoff(n, lambda: 1.0) for n in (0, 1, 2, 20)]
    [0.2, 0.4, 0.8, 30.0]
    """
    return (chance or _chance())() * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 20))


def _chance() -> Callable[[], float]:
    import random

    return random.random


def retry_after(headers: object, now: float) -> Optional[float]:
    """Seconds that the server asks to wait, from `Retry-After` as a number or an HTTP date; None when it does not say.

    `now` is Unix seconds. Capped at five minutes, so that a wrong header cannot stop a program for a day.

    >>> retry_after({"Retry-After": "7"}, 0.0)
    7.0
    """
    value: Any = headers.get("Retry-After") if isinstance(headers, Mapping) else None
    if not isinstance(value, str):
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds != seconds:  # noqa: PLR0124 - NaN
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)
