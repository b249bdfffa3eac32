"""How far the clocks of senders are off: a few numbers per tenant in memory, for ``doctor`` alone.

Senders say by ``X-Mona-Sent-At`` what their clock showed at the attempt. The way takes time as well, so that a perfect
clock looks a little late; the median hides retries and single machines.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict, deque
from collections.abc import Iterator

from mona_server.store.doctor import Reading

WINDOW_MS = 10 * 60_000
MAX_SAMPLES = 256
"""Per tenant; the newest count."""
MAX_TENANTS = 1_000
WARN_S = 60.0
"""From here on the times of messages and the days of results are visibly wrong."""


class ClockSkew:
    """Client clock minus server clock, sampled per request. Used from the event loop and read from threads."""

    def __init__(self) -> None:
        self._samples: OrderedDict[str, deque[tuple[int, int]]] = OrderedDict()

    def note(self, tenant: str, sent_at: bytes | None, *, arrival_ms: int) -> None:
        """Take the header of one request (Unix milliseconds as text); anything else is ignored."""
        if sent_at is None or len(sent_at) > 15 or not sent_at.isdigit():
            return
        samples = self._samples.get(tenant)
        if samples is None:
            samples = self._samples[tenant] = deque(maxlen=MAX_SAMPLES)
            if len(self._samples) > MAX_TENANTS:
                self._samples.popitem(last=False)
        samples.append((arrival_ms, int(sent_at) - arrival_ms))

    def median_s(self, tenant: str, *, now_ms: int) -> float | None:
        """Seconds by which the tenant's senders are ahead, over the last ten minutes; None = nobody said."""
        samples = tuple(self._samples.get(tenant, ()))
        recent = [skew_ms for at_ms, skew_ms in samples if at_ms > now_ms - WINDOW_MS]
        return statistics.median(recent) / 1000 if recent else None

    def readings(self, tenant: str, *, now_ms: int) -> Iterator[Reading]:
        """One line of the doctor for the tenant's senders, where they told their time."""
        skew_s = self.median_s(tenant, now_ms=now_ms)
        if skew_s is None:
            return
        off = abs(skew_s) > WARN_S
        way = "ahead of" if skew_s > 0 else "behind"
        advice = f"the senders' clocks are {way} this server's: set both by NTP, or send exportTimestamp" if off else ""
        title = "clocks of the senders, ahead of this one"
        yield Reading("clock_skew_s", title, skew_s, "s", "warning" if off else "ok", advice)
