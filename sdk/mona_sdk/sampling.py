"""Which messages are kept: all messages of a context, or none of them."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Optional

from mona_sdk.log import warn_limited

HASH_SPACE = 10_000_000


def hash_share(context_id: str) -> float:
    """A number in [0, 1) that depends on the context id only.

    >>> hash_share("a"), hash_share("id-1")
    (0.3363797, 0.8641962)
    """
    import hashlib

    digest = hashlib.sha224(context_id.encode("utf-8", "surrogatepass")).hexdigest()
    return int(digest, 16) % HASH_SPACE / HASH_SPACE


def keep(context_id: object, rate: float) -> bool:
    """Whether a message is sent at this rate. Without an id, chance decides."""
    if rate >= 1:
        return True
    if context_id is None:
        import random

        return random.random() < rate
    return hash_share(context_id if isinstance(context_id, str) else str(context_id)) <= rate


class FixedRates:
    """Rates that the program gave: per class, else the default."""

    def __init__(self, default: float, by_class: Optional[dict[str, float]]) -> None:
        self._default = default
        self._by_class = dict(by_class or {})
        self.keeps_all = default >= 1 and all(rate >= 1 for rate in self._by_class.values())

    def rate(self, context_class: object) -> float:
        """The rate of a class."""
        return self._by_class.get(context_class, self._default) if isinstance(context_class, str) else self._default


class NamedRates:
    """Rates of a named configuration on the server, fetched at first use and refreshed in the background.

    `fetch()` gives the list of configurations, or None on failure; it must not hold the client. The last rates are
    kept on failure. A refresh is a short-lived thread, so that a client that is gone leaves nothing behind.
    """

    keeps_all = False

    def __init__(self, name: str, fetch: Callable[[], Any], max_age_s: float) -> None:
        self._name, self._fetch, self._max_age_s = name, fetch, max_age_s
        self._rates = FixedRates(1.0, None)
        self._lock = threading.Lock()
        self._next_fetch: Optional[float] = None

    def rate(self, context_class: object) -> float:
        """The rate of a class; all is kept until the configuration is known."""
        now = time.monotonic()
        due = self._next_fetch
        if due is None:
            with self._lock:
                if self._next_fetch is None:
                    self._refresh()
        elif now >= due and self._lock.acquire(blocking=False):
            try:
                if now >= (self._next_fetch or 0):
                    self._next_fetch = now + self._max_age_s
                    threading.Thread(target=self._refresh, name="mona-sampling", daemon=True).start()
            except RuntimeError:  # the interpreter is ending
                pass
            finally:
                self._lock.release()
        return self._rates.rate(context_class)

    def renew_after_fork(self) -> None:
        """Another thread may have held the lock."""
        self._lock = threading.Lock()

    def _refresh(self) -> None:
        configs = self._fetch()
        self._next_fetch = time.monotonic() + self._max_age_s
        found = next((c for c in configs or () if isinstance(c, dict) and c.get("config_name") == self._name), None)
        if found is None:
            warn_limited("sampling", "the sampling configuration could not be read; the last known rates are kept")
            return
        default, by_class = found.get("default_factor"), found.get("factors_map")
        self._rates = FixedRates(
            float(default) if isinstance(default, (int, float)) else 1.0,
            {name: float(rate) for name, rate in by_class.items()} if isinstance(by_class, dict) else None,
        )
