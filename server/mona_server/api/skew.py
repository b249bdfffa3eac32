"""How far the clocks of senders are off: a few numbers per tenant in memory, of which the median is written down for the
doctor.

Senders say by ``X-Mona-Sent-At`` what their clock showed at the attempt. The way takes time as well, so that a perfect
clock looks a little late; the median hides retries and single machines.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict, deque

from sqlalchemy import Engine

from mona_server.store.doctor import CLOCKS_MS
from mona_server.store.tables_care import sender_clocks

MAX_SAMPLES = 256
"""Per tenant; the newest count."""
MAX_TENANTS = 1_000


class ClockSkew:
    """Client clock minus server clock, sampled per request. Used from the event loop and read from threads."""

    def __init__(self) -> None:
        self._samples: OrderedDict[str, deque[tuple[int, int]]] = OrderedDict()
        self._saved: dict[str, int] = {}

    def note(self, tenant: str, sent_at: bytes | None, *, arrival_ms: int) -> None:
        """Take the header of one request (Unix milliseconds as text); anything else is ignored."""
        if sent_at is None or len(sent_at) > 15 or not sent_at.isdigit():
            return
        samples = self._samples.get(tenant)
        if samples is None:
            samples = self._samples[tenant] = deque(maxlen=MAX_SAMPLES)
            if len(self._samples) > MAX_TENANTS:
                self._saved.pop(self._samples.popitem(last=False)[0], None)
        samples.append((arrival_ms, int(sent_at) - arrival_ms))

    def median_s(self, tenant: str, *, now_ms: int) -> float | None:
        """Seconds by which the tenant's senders are ahead, over the last ten minutes; None = nobody said."""
        samples = tuple(self._samples.get(tenant, ()))
        recent = [skew_ms for at_ms, skew_ms in samples if at_ms > now_ms - CLOCKS_MS]
        return statistics.median(recent) / 1000 if recent else None

    def save(self, meta: Engine, *, now_ms: int) -> None:
        """Write down what is new, for the doctor of any process. Nothing new: nothing is written."""
        c = sender_clocks.c
        for tenant in list(self._samples):
            newest_ms = self._samples[tenant][-1][0]
            skew_s = self.median_s(tenant, now_ms=now_ms)
            if skew_s is None or self._saved.get(tenant) == newest_ms:
                continue
            values = {"at_ms": newest_ms, "skew_s": skew_s}
            with meta.begin() as db:
                if db.execute(sender_clocks.update().where(c.tenant == tenant).values(values)).rowcount == 0:
                    db.execute(sender_clocks.insert().values(tenant=tenant, **values))
            self._saved[tenant] = newest_ms
