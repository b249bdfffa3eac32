"""Reading requests: the original key names and their synonyms, every problem reported at once.

Keys may be written as in the original (``timestamp_from``), in camel case or by an alias (:data:`SYNONYMS`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from mona_server.config.issues import Issue
from mona_server.config.timestamps import parse_timestamp
from mona_server.errors import BadRequest
from mona_server.segment import Segment, SegmentError, parse_segments

T = TypeVar("T")

SYNONYMS = {
    "arc_class": "context_class",
    "negative_segments": "excluded_segments",
    "exclude_segments": "excluded_segments",
    "segments": "requested_segments",
    "from": "timestamp_from",
    "to": "timestamp_to",
    "timestamp_field": "timestamp_field_name",
    "time_zone_name": "time_zone",
    "timezone": "time_zone",
    "time_series_resolution": "time_series_resolutions",
    "min_size": "min_segment_size",
}


class InvalidRequest(BadRequest):
    """A request with one or more problems; ``issues`` holds all of them."""

    def __init__(self, issues: list[Issue]) -> None:
        self.issues = tuple(issues)
        text = "; ".join(f"{issue.path}: {issue.message}" if issue.path else issue.message for issue in issues[:5])
        super().__init__(f"{len(issues)} error(s): {text}")


@dataclass(frozen=True, slots=True)
class Window:
    """``from_ms <= t < to_ms``, Unix milliseconds."""

    from_ms: int
    to_ms: int


class Reading:
    """One request body while it is read. ``take`` collects problems, :meth:`done` raises them together."""

    def __init__(self, body: Any, synonyms: Mapping[str, str] | None = None) -> None:
        self.issues: list[Issue] = []
        self._known: set[str] = set()
        self._given: dict[str, Any] = {}
        names = {**SYNONYMS, **(synonyms or {})}
        if not isinstance(body, Mapping):
            self.problem("", "the request must be a JSON object")
            return
        for key, value in body.items():
            plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(key)).lower()
            self._given.setdefault(names.get(plain, plain), value)

    def problem(self, path: str, message: str) -> None:
        self.issues.append(Issue(path, message, code="invalid_request"))

    def has(self, key: str) -> bool:
        return self._given.get(key) is not None

    def take(self, key: str, read: Callable[[Any], T], default: T, *, required: bool = False) -> T:
        """The value of a key as ``read`` gives it; absent and null mean the default."""
        value = self._given.get(key)
        if value is None:
            if required and not self.issues_at(""):
                self.problem(key, "is required")
            return default
        try:
            return read(value)
        except SegmentError as error:
            joint = "" if not error.at or error.at.startswith("[") else "."
            self.problem(f"{key}{joint}{error.at}", error.problem)
        except BadRequest as error:
            self.problem(key, str(error))
        return default

    def check(self, path: str, work: Callable[[], T], default: T) -> T:
        """What ``work`` gives; its :class:`BadRequest` becomes a problem."""
        try:
            return work()
        except BadRequest as error:
            self.problem(path, str(error))
            return default

    def issues_at(self, path: str) -> bool:
        return any(issue.path == path for issue in self.issues)

    def done(self) -> None:
        """Raises :class:`InvalidRequest` when there was a problem."""
        if self.issues:
            raise InvalidRequest(self.issues)


def text(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise BadRequest("must be a text")
    return given


def texts(given: Any) -> tuple[str, ...]:
    """A list of texts; one text counts as a list of one."""
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item for item in items):
        raise BadRequest("must be a list of texts")
    return tuple(items)


def boolean(given: Any) -> bool:
    if isinstance(given, str) and given.lower() in ("true", "false"):
        return given.lower() == "true"
    if not isinstance(given, bool):
        raise BadRequest("must be true or false")
    return given


def number(given: Any) -> float:
    """A number or a text of digits."""
    try:
        found = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise BadRequest("must be a number")
    return found


def whole(least: int, most: int) -> Callable[[Any], int]:
    def read(given: Any) -> int:
        value = number(given)
        if value != int(value) or not least <= value <= most:
            raise BadRequest(f"must be a whole number from {least} to {most}")
        return int(value)

    return read


def moment(given: Any) -> int:
    """Unix ms from Unix seconds (number or digits; 13 digits are milliseconds) or ISO 8601 text."""
    if isinstance(given, str):
        found = parse_timestamp(given)
        if found is not None:
            return found
    try:
        value = number(given)
    except BadRequest:
        raise BadRequest("must be a time: Unix seconds or ISO 8601") from None
    ms = round(value if abs(value) >= 1e11 else value * 1000)
    if not -6e13 < ms < 1e14:
        raise BadRequest("must be a time: Unix seconds or ISO 8601")
    return ms


def window(given: Any) -> Window:
    """``[from, to]`` or ``{"from", "to"}``."""
    if isinstance(given, Mapping):
        given = [given.get("from"), given.get("to")]
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise BadRequest("must be [from, to]")
    found = Window(moment(given[0]), moment(given[1]))
    if found.to_ms <= found.from_ms:
        raise BadRequest("must end after it begins")
    return found


def segment(given: Any) -> Segment:
    return Segment.parse(given)


def segments(given: Any) -> tuple[Segment, ...]:
    return parse_segments(given)


def zone(given: Any) -> ZoneInfo:
    """An IANA time zone."""
    try:
        return ZoneInfo(text(given))
    except (KeyError, OSError, ValueError):
        raise BadRequest(f"{given!r} is not a time zone, for example Europe/Paris") from None
