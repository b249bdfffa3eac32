"""Sending in the caller's thread, and what became of the messages of a call, collected batch by batch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Optional, cast

from mona_sdk import texts
from mona_sdk.delivery.attempt import Batch, Endpoint, Outcome, Patience, new_key
from mona_sdk.delivery.owner import Owner, message_of
from mona_sdk.delivery.registry import SYNC_RETRIES
from mona_sdk.message import MonaSingleMessage
from mona_sdk.prepare import Refusal
from mona_sdk.results import BatchResult, FailureReasons, FalseDict
from mona_sdk.settings import ClientSettings
from mona_sdk.stats import Stats

# As the server allows in one request.
MAX_REQUEST_MESSAGES = 100_000


class ExportReport:
    """Counts and reasons, by the place of a message in the caller's list. Skipped messages are not part of `total`."""

    def __init__(self, owner: Owner) -> None:
        self.total = self.failed = self.skipped = 0
        self.queued: Optional[int] = None
        self.reasons = FailureReasons()
        self.local_text: Optional[str] = None
        self.bad_input = self.no_connection = self.not_authenticated = False
        self._owner = owner
        self._messages: dict[str, list[dict[str, Any]]] = {}

    @property
    def stats(self) -> Stats:
        """The counters of the client."""
        return self._owner.stats

    def refuse(self, place: int, event: Any, refusal: Refusal) -> None:
        """A message that cannot be sent."""
        self.total += 1
        self.bad_input = True
        self.local_text = self.local_text or refusal.exception_text
        self._fail(place, refusal.reason, event)
        self._owner.stats.fail(1, refusal.reason)

    def lose(self, place: int, event: Any, reason: str) -> None:
        """A message for which there is no room."""
        self.total += 1
        self._fail(place, reason, event)

    def judge(self, place: int, raw: bytes, reason: str) -> None:
        """A message that the worker has counted as failed."""
        self.no_connection = self.no_connection or reason.startswith(f"{texts.BATCH_FAILED}:")
        self._fail(place, reason, raw)

    def add(self, places: list[int], raws: list[bytes], outcome: Outcome) -> None:
        """What became of one batch."""
        self.total += outcome.total
        self.no_connection = self.no_connection or outcome.no_connection
        self.not_authenticated = self.not_authenticated or outcome.not_authenticated
        for place, reason in outcome.reasons.items():
            if 0 <= place < len(places):
                self._fail(places[place], reason, raws[place], count=0)
        self.failed += outcome.failed
        if outcome.failed:
            first = next(iter(outcome.reasons.values()), "refused by the server")
            self._owner.stats.fail(outcome.failed, first)
            if not outcome.reasons:
                self._messages.setdefault(first, [])
        if outcome.total > outcome.failed:
            self._owner.stats.succeed(outcome.total - outcome.failed)

    def fail_all(self, events: Iterable[Any], reason: str) -> None:
        """Nothing was tried, for one reason."""
        for place, event in enumerate(events):
            self.total += 1
            self._fail(place, reason, event)
        self._owner.stats.fail(self.failed, reason)

    def _fail(self, place: int, reason: str, event: Any, count: int = 1) -> None:
        self.failed += count
        self.reasons[str(place)] = reason
        told = self._messages.setdefault(reason, [])
        if not self._owner.wants_messages:
            told.append({})
        elif isinstance(event, bytes):
            told.append(message_of(event))
        else:
            told.append(event.get_dict() if isinstance(event, MonaSingleMessage) else {"message": event})

    def tell(self) -> None:
        """Log the failures and call the error hook, once for each reason."""
        for reason, messages in self._messages.items():
            self._owner.report(reason, messages)

    @property
    def exception_text(self) -> str:
        """What the exception says, if one is wanted."""
        if self.local_text is not None:
            return self.local_text
        if self.not_authenticated:
            return next(iter(self.reasons.values()), texts.NOT_AUTHENTICATED)
        if self.no_connection:
            return texts.NO_REST_API
        return f"{texts.SOME_FAILED}{dict(self.result())}"

    def result(self) -> BatchResult:
        """The dict of `export_batch`; false where the original gave False."""
        values: dict[str, Any] = {
            "total": self.total,
            "failed": self.failed,
            "sent": self.total - self.failed,
            "failure_reasons": self.reasons,
        }
        if self.skipped:
            values["skipped"] = self.skipped
        if self.queued is not None:
            values["queued"] = self.queued
        if self.failed and (self.bad_input or self.no_connection or self.not_authenticated):
            values = FalseDict(values)
        return cast(BatchResult, values)


def send_now(
    endpoint: Endpoint,
    settings: ClientSettings,
    prepared: Iterable[tuple[int, bytes, MonaSingleMessage]],
    ending: bytes,
    report: ExportReport,
) -> None:
    """Send prepared messages (place, bytes, message) in as many requests as their size needs, one after the other.

    Only the messages of one request are in memory. All requests share the deadline of the call; when one finds nobody
    in time, the rest is not tried.
    """
    retries = SYNC_RETRIES if settings.max_retries is None else settings.max_retries
    patience = Patience(retries, time.monotonic() + settings.export_deadline)
    limit = settings.max_request_bytes - len(ending) - 16
    given_up: Optional[Outcome] = None
    places: list[int] = []
    raws: list[bytes] = []
    size = 0

    def deliver() -> Optional[Outcome]:
        if given_up is None:
            outcome = endpoint.deliver(Batch(raws, ending, new_key()), patience, report.stats)
        else:
            reason = next(iter(given_up.reasons.values()))
            outcome = Outcome.all_failed(len(raws), reason, no_connection=given_up.no_connection)
        report.add(places, raws, outcome)
        return outcome if outcome.unavailable else given_up

    for place, raw, _ in prepared:
        if raws and (size + len(raw) > limit or len(raws) >= MAX_REQUEST_MESSAGES):
            given_up = deliver()
            places, raws, size = [], [], 0
        places.append(place)
        raws.append(raw)
        size += len(raw) + 1
    if raws:
        deliver()
