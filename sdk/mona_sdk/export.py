"""What became of the messages of one call, collected batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional, cast

from mona_sdk import texts
from mona_sdk.delivery.attempt import Outcome
from mona_sdk.delivery.owner import Owner, message_of
from mona_sdk.message import MonaSingleMessage
from mona_sdk.prepare import Refusal
from mona_sdk.results import BatchResult, FailureReasons, FalseDict


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
            return texts.NOT_AUTHENTICATED
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
