"""The values of this room: what happened to an insight, where word of it goes, and what a receiver is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Literal

EventKind = Literal["new", "ongoing", "recovering", "resolved", "reopened", "urgency_raised"]
NoticeKind = Literal["insights", "resolved", "test", "recreated"]
"""Value of the header ``X-Mona-Event``; ``recreated`` is mailed to people, never to a webhook."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """The time chart of an insight, for the picture in a mail. K frames."""

    values: tuple[float | None, ...]
    """Metric in the segment, per frame."""
    baseline: tuple[float | None, ...] = ()
    target_from: int = 0
    """First frame of the judged window; it lasts to the end."""


@dataclass(frozen=True, slots=True)
class InsightEvent:
    """A change of state of one insight in one run."""

    kind: EventKind
    insight: Json
    """As in the specification, section 2 of insights: the object that a webhook gets."""
    series: Series | None = None

    @property
    def identity(self) -> str:
        """Equal for the same state event, however many runs report it; what is sent once per destination."""
        parts = [self.insight["insight_id"], self.kind, self.insight.get("reopened", 0)]
        if self.kind not in ("new", "reopened"):
            parts.append(self.insight.get("last_discovered"))
        return ":".join(map(str, parts))


@dataclass(frozen=True, slots=True)
class Destination:
    """One address of one channel."""

    channel: str
    """Name in the registry of channels."""
    target: str = field(repr=False)
    """Address or URL. It often is a secret in itself, hence kept sealed and never shown whole."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: str | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """Names this destination in tables and logs without giving it away."""
        return hashlib.sha256(f"{self.channel}\n{self.to_text()}".encode()).hexdigest()[:24]

    @property
    def shown(self) -> str:
        """Shortened for people: the host of a URL, and the last four characters.

        >>> Destination("slack", "https://hooks.example.org/services/T000/B000/abcdefgh").shown
        'https://hooks.example.org/…efgh'
        """
        if "://" not in self.target:
            return self.target if "@" in self.target else f"…{self.target[-4:]}"
        scheme, _, rest = self.target.partition("://")
        if not scheme.startswith("http"):  # addresses of apprise keep keys where others have a host
            return f"{scheme}://…{self.target[-4:]}"
        host, _, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}/{'…' + path[-4:] if len(path) > 4 else ''}"

    def to_text(self) -> str:
        return json.dumps([self.channel, self.target, dict(self.headers), self.secret], sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Destination:
        return cls(*json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message to one destination: all insights of one run, or of one digest."""

    delivery_id: str
    """The same in every attempt, so that a receiver can drop what it has."""
    kind: NoticeKind
    context_class: str
    urgent: bool = False
    digest: bool = False
    insights: tuple[Json, ...] = ()
    series: Mapping[str, Series] = field(default_factory=dict)
    """By insight id, where known."""
    charts: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Insight id → address of its chart as a picture, where others can reach the server."""
    base_url: str = ""
    """Where the pages are; empty when nobody else could reach them."""


@dataclass(frozen=True, slots=True)
class Post:
    """An HTTP request to make."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to hand to the mail server; sender and date are added there."""

    message: EmailMessage


@dataclass(frozen=True, slots=True)
class Apprised:
    """A call of the library ``apprise``, for services whose protocol it knows."""

    url: str = field(repr=False)
    title: str
    body: str = field(repr=False)
    urgent: bool


Parcel = Post | Mail | Apprised
