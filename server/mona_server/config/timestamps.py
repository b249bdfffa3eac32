"""Timestamps as people and programs write them → Unix milliseconds.

Unix seconds with 10 integer digits or milliseconds with 13 (numbers or digit texts), ISO 8601 text with or without
zone (none = UTC), or a date alone (midnight UTC). Other digit counts are refused: a wrong unit would be silent.

>>> parse_timestamp(1611930299), parse_timestamp("1611930299000"), parse_timestamp("2021-01-29T14:24:59Z")
(1611930299000, 1611930299000, 1611930299000)
>>> parse_timestamp(161193029) is None
True
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = re.compile(r"(\d{10}|\d{13})(\.\d+)?")
_MILLISECOND = timedelta(milliseconds=1)


def parse_timestamp(value: Any) -> int | None:
    """Unix milliseconds, or None when the value is no timestamp."""
    kind = type(value)
    if isinstance(value, int) and kind is not bool:
        if 1_000_000_000 <= value < 10_000_000_000:
            return value * 1000
        return value if 1_000_000_000_000 <= value < 10_000_000_000_000 else None
    if isinstance(value, float):
        if 1e9 <= value < 1e10:
            return round(value * 1000)
        return round(value) if 1e12 <= value < 1e13 else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _DIGITS.fullmatch(text):
        return parse_timestamp(float(text) if "." in text else int(text))
    if text.isdigit() or len(text) > 64:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def to_ms(moment: datetime) -> int:
    """Unix milliseconds of an aware datetime, rounded down."""
    return (moment - EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """The UTC datetime of Unix milliseconds. Raises OverflowError outside of the years 1..9999."""
    return EPOCH + timedelta(milliseconds=ms)
