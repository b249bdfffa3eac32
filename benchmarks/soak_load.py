"""The load of the soak, and what must be stored after it: senders that know what each of their contexts has become."""

from __future__ import annotations

import json
import random
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import urllib3

CLASS = "SOAK"
BATCH = 100
DAY_MS = 86_400_000
CITIES = [f"city {i}" for i in range(20)]
LABEL_DAYS, QUIET_DAYS, KEPT_DAYS = 30, 33, 40
"""A context gets its label, or is deleted by a message, up to the first age; from the second on nobody sends for it, so
that single ones can be deleted by the API; beyond the third the range is deleted. Simulated days."""
NEW, LABELLED, DELETED = 1, 2, 3


@dataclass(frozen=True)
class Time:
    """Simulated time: so many days a minute, so that the soak sees months."""

    begun_s: float
    start_ms: int
    days_per_minute: float

    def now_ms(self) -> int:
        return self.start_ms + round((time.monotonic() - self.begun_s) / 60 * self.days_per_minute * DAY_MS)


@dataclass(frozen=True)
class Server:
    """Where the server is and how one gets in."""

    url: str
    bearer: str

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        """One request on the calling thread's connection; waits where it is told to. Raises RuntimeError."""
        headers = {"Authorization": f"Bearer {self.bearer}", "X-Mona-Protocol": "2"}
        if key:
            headers["Idempotency-Key"] = key
        while True:
            answer = _pool().request(method, self.url + path, headers=headers, json=body)
            if answer.status in (429, 503):
                time.sleep(float(answer.headers.get("Retry-After", 1)))
                continue
            if answer.status >= 300:
                raise RuntimeError(
                    f"{method} {path.split('?', maxsplit=1)[0]} was answered {answer.status}: {answer.data[:300]!r}"
                )
            return json.loads(answer.data)


_local = threading.local()


def _pool() -> urllib3.PoolManager:
    if not hasattr(_local, "pool"):
        _local.pool = urllib3.PoolManager(timeout=120, retries=False)
    pool: urllib3.PoolManager = _local.pool
    return pool


class Sender:
    """Sends batches at a steady rate: half new contexts, half labels of old ones, some deletes, some batches twice.

    All is sent with ADD, so that a message that counted twice would show as an array.
    """

    def __init__(self, server: Server, shard: int, clock: Time, rate: float) -> None:
        self.server, self.shard, self.clock, self.rate = server, shard, clock, rate
        self.states, self.times = bytearray(), array("q")
        """Of context n: what has become of it, its time."""
        self.lock = threading.Lock()
        self.sent, self.bytes, self.replayed, self.failure = 0, 0, 0, ""
        self.seconds: list[float] = []
        self._draw = random.Random(shard)

    def context_id(self, n: int) -> str:
        return f"{self.shard}-{n}"

    def run(self, stop: threading.Event) -> None:
        """The life of a thread."""
        begun, batch = time.monotonic(), 0
        try:
            while not stop.is_set():
                with self.lock:
                    messages = self._messages()
                body = {"messages": messages}
                for again in range(2 if batch % 20 == 7 else 1):
                    started = time.monotonic()
                    answer = self.server.call("POST", "/export", body, key=f"{self.shard}-{batch}")
                    self.seconds.append(time.monotonic() - started)
                    if answer["failed"]:
                        raise RuntimeError(f"messages were refused: {answer}")
                    self.replayed += again
                self.sent += len(messages)
                batch += 1
                if batch % 50 == 0:
                    self.bytes += 50 * len(json.dumps(body))
                stop.wait(max(0.0, begun + batch * BATCH / self.rate - time.monotonic()))
        except Exception as error:  # the soak fails with it, when all threads have ended
            self.failure = f"{type(error).__name__}: {error}"
            stop.set()

    def _messages(self) -> list[dict[str, Any]]:
        draw, now_ms = self._draw, self.clock.now_ms()
        oldest = bisect_left(self.times, now_ms - LABEL_DAYS * DAY_MS)
        messages = []
        for _ in range(BATCH // 2):
            messages.append(self._new(len(self.states), now_ms))
            self.states.append(NEW)
            self.times.append(now_ms)
        for _ in range(BATCH - len(messages)):
            n = draw.randrange(oldest, len(self.states))
            if self.states[n] != DELETED and draw.random() < 0.01:
                self.states[n] = DELETED
                messages.append(self._message(n, {}, "DELETE"))
            elif self.states[n] == NEW:
                self.states[n] = LABELLED
                messages.append(self._message(n, {"label": draw.random() < 0.3, "labels": 1}, "ADD"))
        return messages

    def _new(self, n: int, now_ms: int) -> dict[str, Any]:
        draw = self._draw
        values: dict[str, Any] = {f"number{i}": round(draw.gauss(100, 15), 3) for i in range(4)}
        values |= {"city": draw.choice(CITIES), "device": draw.choice(("phone", "web", "desk")), "count": n % 7}
        values |= {"note": f"note {draw.randrange(10_000)}", "flag": draw.random() < 0.5, "created": 1}
        return self._message(n, values, "ADD") | {"exportTimestamp": now_ms}

    def _message(self, n: int, values: dict[str, Any], action: str) -> dict[str, Any]:
        return {"arcClass": CLASS, "contextId": self.context_id(n), "action": action, "message": values}

    def take_quiet(self) -> str | None:
        """The id of a context that no message is under way for; it counts as deleted from now on."""
        with self.lock:
            now_ms = self.clock.now_ms()
            first = bisect_left(self.times, now_ms - (KEPT_DAYS - 1) * DAY_MS)
            last = bisect_left(self.times, now_ms - QUIET_DAYS * DAY_MS)
            for n in range(first, last):
                if self.states[n] != DELETED:
                    self.states[n] = DELETED
                    return self.context_id(n)
        return None

    def take_range(self, before_ms: int) -> None:
        """All contexts before a time count as deleted from now on."""
        with self.lock:
            for n in range(bisect_left(self.times, before_ms)):
                self.states[n] = DELETED

    def expected(self) -> dict[str, bool]:
        """Context id → whether it has its label."""
        with self.lock:
            return {self.context_id(n): state == LABELLED for n, state in enumerate(self.states) if state != DELETED}


class Repeated(threading.Thread):
    """Something done every so many seconds until told to stop; a failure ends the soak."""

    def __init__(self, name: str, every_s: float, work: Callable[[], None], stop: threading.Event) -> None:
        super().__init__(name=name)
        self.every_s, self.work, self.stop = every_s, work, stop
        self.seconds: list[float] = []
        self.failure = ""

    def run(self) -> None:
        while not self.stop.wait(self.every_s):
            started = time.monotonic()
            try:
                self.work()
            except Exception as error:  # told at the end, see Sender.run
                self.failure = f"{self.name}: {type(error).__name__}: {error}"
                self.stop.set()
            self.seconds.append(time.monotonic() - started)
