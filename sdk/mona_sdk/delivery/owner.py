"""Whose messages they are: the counters and the error hook of one client, without the client itself."""

from __future__ import annotations

import json
from typing import Any, Callable, Optional

from mona_sdk.delivery import fork
from mona_sdk.log import get_logger, warn_limited
from mona_sdk.stats import Stats


class Owner:
    """Travels with every message through a shared worker, so that a client can be collected while they travel."""

    def __init__(self, on_error: Optional[Callable[[str, list[Any]], Any]], *, log_failed: bool = False) -> None:
        self.stats = Stats()
        self._on_error = on_error
        self._log_failed = log_failed
        fork.renew_in_child(self)

    def report(self, reason: str, messages: list[dict[str, Any]]) -> None:
        """Tell the log (without content, unless `should_log_failed_messages`) and the hook; never raises."""
        if self._log_failed:
            get_logger().error("messages failed (%s): %s", reason, messages)
        else:
            warn_limited(f"{id(self)}:{reason}", "%d message(s) failed: %s", len(messages), reason)
        if self._on_error is None:
            return
        try:
            self._on_error(reason, messages)
        except Exception as problem:  # noqa: BLE001 - the hook is the user's
            warn_limited(f"{id(self)}:on_error", "on_error raised %s", type(problem).__name__)

    @property
    def wants_messages(self) -> bool:
        """Whether anybody reads the messages of a report."""
        return self._log_failed or self._on_error is not None

    def renew_after_fork(self) -> None:
        """Another thread may have held the lock of the counters."""
        self.stats.renew_after_fork()


def message_of(raw: bytes) -> dict[str, Any]:
    """A message as its user knows it, from its wire form."""
    wire: dict[str, Any] = json.loads(raw.decode("utf-8"))
    return {"contextClass": wire.pop("arcClass", None), **wire}
