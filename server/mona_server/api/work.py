"""How much work is let in at once: bytes over all bodies, requests per tenant, attempts per key and address."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mona_server.errors import Overloaded

SMALL = 2**20
"""Bodies up to this size have a share of their own, so that they never wait behind large ones."""


class ByteBudget:
    """Bounds the bytes of all bodies being read or parsed at once; the rest waits unread, first come first served."""

    def __init__(self, max_bytes: int) -> None:
        self._small = _Lane(max(max_bytes // 4, SMALL))
        self._large = _Lane(max(max_bytes - max_bytes // 4, SMALL))

    @asynccontextmanager
    async def reserve(self, size: int, *, timeout_s: float) -> AsyncIterator[Reservation]:
        """Room for ``size`` bytes (never more than the whole budget). Raises :class:`Overloaded` after the wait."""
        lane = self._small if size <= SMALL else self._large
        reservation = Reservation(lane, min(size, lane.capacity))
        try:
            async with asyncio.timeout(timeout_s):
                await lane.take(reservation.size)
        except TimeoutError:
            raise Overloaded("The server is reading as much as it can", retry_after_s=1) from None
        try:
            yield reservation
        finally:
            lane.give(reservation.size)


class Reservation:
    """Part of the budget that one request holds."""

    def __init__(self, lane: _Lane, size: int) -> None:
        self._lane = lane
        self.size = size

    def shrink(self, size: int) -> None:
        """Give back what turned out not to be needed."""
        if size < self.size:
            self._lane.give(self.size - size)
            self.size = size


class _Lane:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)  # the room came together with the cancellation
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
                self._serve()
            raise

    def give(self, size: int) -> None:
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


class TenantGate:
    """At most ``limit`` requests of one tenant in work; further ones wait, then are told to come back."""

    def __init__(self, limit: int, wait_s: float) -> None:
        self._limit = limit
        self._wait_s = wait_s
        self._gates: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def enter(self, tenant: str) -> AsyncIterator[None]:
        """Raises :class:`Overloaded` when no place became free in time."""
        gate, inside = self._gates.get(tenant) or (asyncio.Semaphore(self._limit), 0)
        self._gates[tenant] = (gate, inside + 1)
        try:
            try:
                async with asyncio.timeout(self._wait_s):
                    await gate.acquire()
            except TimeoutError:
                raise Overloaded("Too many requests of this tenant are in work", retry_after_s=1) from None
            try:
                yield
            finally:
                gate.release()
        finally:
            gate, inside = self._gates[tenant]
            if inside == 1:
                del self._gates[tenant]  # tenants that are quiet cost nothing
            else:
                self._gates[tenant] = (gate, inside - 1)


class FailureLimit:
    """At most ``limit`` failures a minute per key; used for wrong credentials per client id and per address."""

    def __init__(self, limit: int, *, period_ms: int = 60_000, max_keys: int = 50_000) -> None:
        self._limit = limit
        self._period_ms = period_ms
        self._max_keys = max_keys
        self._failures: OrderedDict[str, deque[int]] = OrderedDict()

    def check(self, *keys: str, now_ms: int) -> None:
        """Raises :class:`Overloaded` with the seconds until the oldest failure is a minute old."""
        for key in keys:
            recent = self._recent(key, now_ms)
            if recent is not None and len(recent) >= self._limit:
                wait_s = max(1, -(-(recent[0] + self._period_ms - now_ms) // 1000))
                raise Overloaded("Too many failed attempts", retry_after_s=wait_s)

    def failed(self, *keys: str, now_ms: int) -> None:
        """Count one failure for each key. Old keys are forgotten first when there are too many."""
        for key in keys:
            recent = self._failures.setdefault(key, deque(maxlen=self._limit))
            recent.append(now_ms)
            self._failures.move_to_end(key)
        while len(self._failures) > self._max_keys:
            self._failures.popitem(last=False)

    def _recent(self, key: str, now_ms: int) -> deque[int] | None:
        recent = self._failures.get(key)
        while recent and recent[0] <= now_ms - self._period_ms:
            recent.popleft()
        if recent is not None and not recent:
            del self._failures[key]
            return None
        return recent
