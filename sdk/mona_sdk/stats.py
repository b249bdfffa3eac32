"""What became of the messages, counted."""

from __future__ import annotations

import threading
import time
from typing import Any, Optional

COUNTERS = (
    "sent",
    "failed",
    "dropped",
    "retried",
    "spooled",
    "skipped",
    "coerced",
    "truncated",
    "requests",
    "bytes_sent",
    "connections",
)


class Stats:
    """Exact counters of one client. `lost` has the messages that will never arrive, by reason."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(COUNTERS, 0)
        self.lost: dict[str, int] = {}
        self.last_error: Optional[str] = None
        self.last_success: Optional[float] = None

    def add(self, **counts: int) -> None:
        """Add to some counters."""
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count

    def lose(self, reason: str, count: int = 1) -> None:
        """Messages that will not arrive, for a reason of few words; they count as `dropped`."""
        with self._lock:
            self._counts["dropped"] += count
            self.lost[reason] = self.lost.get(reason, 0) + count
            self.last_error = reason

    def succeed(self, count: int) -> None:
        """Messages that the server has acknowledged, now."""
        with self._lock:
            self._counts["sent"] += count
            self.last_success = time.time()

    def fail(self, count: int, reason: str) -> None:
        """Messages that were refused or not delivered; the caller was or will be told."""
        with self._lock:
            self._counts["failed"] += count
            self.last_error = reason

    def snapshot(self) -> dict[str, Any]:
        """All counters, `lost` by reason, `last_error` (text) and `last_success` (Unix seconds)."""
        with self._lock:
            return {
                **self._counts,
                "lost": dict(self.lost),
                "last_error": self.last_error,
                "last_success": self.last_success,
            }

    def renew_after_fork(self) -> None:
        """Another thread may have held the lock."""
        self._lock = threading.Lock()
