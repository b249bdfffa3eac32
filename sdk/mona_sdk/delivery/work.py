"""A message in the queue, a batch under way, and who is told what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Optional

from mona_sdk.delivery.attempt import Batch, Outcome
from mona_sdk.delivery.owner import Owner, message_of
from mona_sdk.message import MonaSingleMessage

REFUSED = "refused by the server"


class Item:
    """One prepared message. `context` keeps the order of a context, `done(reason or None)` tells who waits."""

    __slots__ = ("context", "created", "done", "owner", "raw", "seq", "tail")

    def __init__(
        self,
        raw: bytes,
        tail: bytes,
        message: MonaSingleMessage,
        owner: Owner,
        done: Optional[Callable[[Optional[str]], None]] = None,
    ) -> None:
        self.raw, self.tail, self.owner, self.done = raw, tail, owner, done
        identity = message.contextId
        self.context = (message.contextClass, identity) if isinstance(identity, str) else None
        self.created = time.monotonic()
        self.seq = 0


class Work:
    """A batch under way, with the items it was made of; `from_spool` when it was read from disk."""

    __slots__ = ("batch", "claimed_by", "from_spool", "items")

    def __init__(self, items: list[Item], batch: Batch, *, from_spool: bool = False) -> None:
        self.items, self.batch, self.from_spool = items, batch, from_spool
        # The thread that decides what became of it: the lane that sends it, or the one that closes the worker.
        self.claimed_by: Optional[threading.Thread] = None

    def account(self, outcome: Outcome, *, awaited: bool) -> None:
        """Count what the server said, owner by owner, and tell the hooks, or who awaits it."""
        unexplained = outcome.failed - len(outcome.reasons)
        for owner, pairs in self._by_owner(outcome).items():
            refused = [(item, reason) for item, reason in pairs if reason is not None]
            failed = min(len(pairs), len(refused) + max(0, unexplained))
            unexplained -= failed - len(refused)
            if failed < len(pairs):
                owner.stats.succeed(len(pairs) - failed)
            if failed:
                owner.stats.fail(failed, refused[0][1] if refused else REFUSED)
            if not awaited:
                _tell(owner, refused)
            for item, reason in pairs:
                if item.done is not None:
                    item.done(reason or (REFUSED if failed == len(pairs) else None))

    def lose(self, reason: str, *, awaited: bool) -> None:
        """Count messages that nobody took; who awaits them hears of it."""
        for owner, pairs in self._by_owner(Outcome.all_failed(len(self.items), reason)).items():
            if awaited:
                owner.stats.fail(len(pairs), reason)
            else:
                owner.stats.lose(reason, len(pairs))
                _tell(owner, [(item, reason) for item, _ in pairs])
            for item, _ in pairs:
                if item.done is not None:
                    item.done(reason)

    def _by_owner(self, outcome: Outcome) -> dict[Owner, list[tuple[Item, Optional[str]]]]:
        found: dict[Owner, list[tuple[Item, Optional[str]]]] = {}
        for place, item in enumerate(self.items):
            found.setdefault(item.owner, []).append((item, outcome.reasons.get(place)))
        return found


def _tell(owner: Owner, pairs: Sequence[tuple[Item, str]]) -> None:
    by_reason: dict[str, list[Item]] = {}
    for item, reason in pairs:
        by_reason.setdefault(reason, []).append(item)
    for reason, items in by_reason.items():
        messages = [message_of(item.raw) for item in items] if owner.wants_messages else [{}] * len(items)
        owner.report(reason, messages)
