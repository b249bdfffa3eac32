"""The queue of a process and the lanes that empty it.

queue → batch → attempt (attempt.py) → outcome. One lane (a thread) runs as long as there is work; more are added, up to
MAX_LANES, while full batches wait and the server answers, because far servers are reached faster by several
requests at once. Where calls wait for verdicts one lane is always free, so that none waits for the answer to another.
Two batches under way never hold messages of the same context, so each context gets its messages
in the order of the calls. A lane with nothing to do ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

from mona_sdk.delivery import fork, http
from mona_sdk.delivery.attempt import Endpoint, Patience
from mona_sdk.delivery.owner import Owner, message_of
from mona_sdk.delivery.queue import MessageQueue, QueueOptions
from mona_sdk.delivery.spool import Spool
from mona_sdk.delivery.work import Item, Work
from mona_sdk.log import get_logger

MAX_LANES = 16
IDLE_S = 10.0
EXTRA_IDLE_S = 0.5
LONGEST_FLUSH_S = 60.0
# How long the end waits for lanes that have an outcome and are about to count it.
CONCLUDING_S = 0.5


class WorkerOptions(NamedTuple):
    """The queue, and patience: `deadline_s` limits the time of each message from its call (asynchronous calls); None in
    background mode."""

    queue: QueueOptions
    max_retries: int
    deadline_s: Optional[float] = None


class Worker:
    """A bounded queue and its lanes, shared by the clients of one key."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: WorkerOptions,
        spool: Optional[Spool],
        owner: Owner,
        at_child_exit: Callable[[], Any] = lambda: None,
    ) -> None:
        self._endpoint, self._options, self._spool, self._owner = endpoint, options, spool, owner
        self._at_child_exit = at_child_exit
        self._is_awaited = options.deadline_s is not None
        self._start_empty()
        fork.renew_in_child(self)
        if spool is not None and spool.pending:
            with self._changed:
                self._ensure_lane()

    def _start_empty(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._queue = MessageQueue(self._options.queue)
        self._lanes: dict[threading.Thread, Optional[Work]] = {}
        self._waiting = self._flushing = self._retrying = self._lost = 0
        self._closed = False
        self._interrupted = threading.Event()
        self._give_up_at: Optional[float] = None
        self._draining = False
        self._drain_at = 0.0
        self._drain_failures = 0
        self._exit_registered = False

    def renew_after_fork(self) -> None:
        """The child starts empty; what was queued is the parent's to send."""
        closed = self._closed
        self._start_empty()
        self._closed = closed
        if self._spool is not None:
            self._spool.renew_after_fork()

    # Called by clients

    def submit(self, items: Sequence[Item]) -> int:
        """Queue as many of the items as fit, from the first on; how many that were."""
        with self._changed:
            if self._closed:
                return 0
            was_empty = not self._queue
            accepted = self._queue.put(items)
            if accepted and (was_empty or self._queue.is_full_batch):
                self._ensure_lane()
                self._changed.notify()
        return accepted

    def flush(self, timeout: Optional[float]) -> bool:
        """Wait until all that is queued now is delivered or on disk; False when time ends, something was lost, or the
        worker is closed."""
        deadline = time.monotonic() + (LONGEST_FLUSH_S if timeout is None else max(0.0, timeout))
        with self._changed:
            if self._closed:
                return False
            target, lost = self._queue.next_seq, self._lost
            self._flushing += 1
            self._changed.notify_all()
            try:
                while self._oldest() < target:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    if self._ensure_lane():
                        self._changed.wait(min(left, 0.5))
                    else:
                        self._work_here(deadline)
                return self._lost == lost
            finally:
                self._flushing -= 1

    def close(self, timeout: float) -> int:
        """Deliver for at most `timeout` seconds; put the rest on disk, or count it as lost. How many were lost."""
        with self._changed:
            if self._closed:
                return 0
            self._give_up_at = time.monotonic() + timeout
            lost_before = self._lost
        self.flush(timeout)
        with self._changed:
            self._closed = True
            under_way = [work for work in self._lanes.values() if work is not None and not work.from_spool]
            works = [work for work in under_way if self._claim(work)]
            concluding = [work for work in under_way if work not in works]
            works += self._queue.take_all()
            self._interrupted.set()
            self._changed.notify_all()
        for work in works:
            if not self._to_disk(work):
                self._give_up(work, "not delivered before the end")
        with self._changed:
            self._changed.wait_for(lambda: not set(concluding) & set(self._lanes.values()), CONCLUDING_S)
            lost = self._lost - lost_before
        if self._spool is not None:
            self._spool.close()
        if lost:
            get_logger().warning("%d message(s) could not be delivered before the end", lost)
        return lost

    @property
    def closed(self) -> bool:
        """Whether nothing is accepted any more."""
        return self._closed

    @property
    def queued(self) -> int:
        """Messages that wait or are under way."""
        with self._changed:
            return len(self._queue) + sum(len(work.items) for work in self._lanes.values() if work is not None)

    @property
    def oldest_age(self) -> float:
        """Seconds that the oldest queued message has waited."""
        with self._changed:
            oldest = self._queue.oldest
            return 0.0 if oldest is None else time.monotonic() - oldest.created

    @property
    def spool_bytes(self) -> int:
        """Bytes that wait on disk."""
        return self._spool.bytes_waiting if self._spool is not None else 0

    # Lanes

    def _run(self) -> None:
        lane = threading.current_thread()
        try:
            while True:
                work = self._take(lane)
                if work is None:
                    return
                try:
                    self._perform(work)
                except Exception as problem:  # noqa: BLE001 - the edge of a thread; it goes on with other work
                    get_logger().exception("a batch failed with %s", type(problem).__name__)
                    with self._changed:
                        mine = self._claim(work)
                    if mine:
                        self._give_up(work, "internal error")
                    self._drain_at = time.monotonic() + IDLE_S
                    self._settle(work)
        finally:
            # A lane that ends in the middle of its work gives it back.
            with self._changed:
                work = self._lanes.pop(lane, None)
                if work is not None:
                    self._return(work)
                self._changed.notify_all()
            http.close_idle()

    def _take(self, lane: threading.Thread) -> Optional[Work]:
        """The next work for a lane; None when it should end."""
        idle_since = time.monotonic()
        with self._changed:
            self._lanes[lane] = None
            while True:
                now = time.monotonic()
                if self._closed:
                    return None
                work = self._next_work(now)
                if work is not None:
                    self._lanes[lane] = work
                    all_busy = None not in self._lanes.values()
                    if all_busy and not self._retrying and (self._is_awaited or self._is_ready(now)):
                        self._add_lane()
                    return work
                idle = EXTRA_IDLE_S if len(self._lanes) > 1 else IDLE_S
                left = idle_since + idle - now
                if left <= 0 and (len(self._lanes) > 1 or not (self._queue or self._pending_on_disk())):
                    del self._lanes[lane]
                    return None
                self._waiting += 1
                self._changed.wait(min(max(left, 0.01), self._seconds_to_work(now)))
                self._waiting -= 1

    def _next_work(self, now: float) -> Optional[Work]:
        if self._pending_on_disk() and not self._draining and now >= self._drain_at:
            assert self._spool is not None
            batch = self._spool.first()
            if batch is not None:
                self._draining = True
                return Work([], batch, from_spool=True)
        return self._queue.take() if self._is_ready(now) else None

    def _seconds_to_work(self, now: float) -> float:
        waits = [IDLE_S]
        if self._queue and not self._is_ready(now):
            waits.append(self._queue.seconds_to_wait(now))
        if self._pending_on_disk() and not self._draining:
            waits.append(self._drain_at - now)
        return max(0.001, min(waits))

    def _is_ready(self, now: float) -> bool:
        return bool(self._queue) and (self._flushing > 0 or self._queue.seconds_to_wait(now) <= 0)

    def _return(self, work: Work) -> None:
        """Take back the work of a lane that died."""
        if work.from_spool:
            self._draining = False
        else:
            self._queue.give_back(work)

    def _oldest(self) -> int:
        firsts = [work.items[0].seq for work in self._lanes.values() if work is not None and work.items]
        if self._queue.oldest is not None:
            firsts.append(self._queue.oldest.seq)
        return min(firsts, default=self._queue.next_seq)

    def _ensure_lane(self) -> bool:
        """Start a lane if none is alive, with the work of dead ones back in the queue; False when none can start."""
        for lane in [lane for lane in self._lanes if not lane.is_alive() and lane.ident is not None]:
            work = self._lanes.pop(lane)
            if work is not None:
                self._return(work)
        return bool(self._lanes) or self._add_lane()

    def _add_lane(self) -> bool:
        if len(self._lanes) >= MAX_LANES:
            return True
        lane = threading.Thread(target=self._run, name="mona-sender", daemon=True)
        self._lanes[lane] = None
        try:
            lane.start()
        except RuntimeError:  # no thread can be started while the interpreter ends
            del self._lanes[lane]
            return False
        if not self._exit_registered:
            self._exit_registered = True
            fork.drain_at_child_exit(self._at_child_exit)
        return True

    def _work_here(self, deadline: float) -> None:
        """Do one work in the calling thread, which holds the lock."""
        work = self._next_work(time.monotonic())
        if work is None:
            self._changed.wait(min(0.05, max(0.0, deadline - time.monotonic())))
            return
        here = threading.current_thread()
        self._lanes[here] = work
        self._changed.release()
        try:
            self._perform(work)
        finally:
            self._changed.acquire()
            self._lanes.pop(here, None)

    # Outcomes

    def _perform(self, work: Work) -> None:
        if work.from_spool:
            self._drain(work)
            return
        if self._pending_on_disk() and self._to_disk(work):
            self._settle(work)
            return
        outcome = self._endpoint.deliver(work.batch, self._patience(work), work.items[0].owner.stats)
        undelivered = outcome.unavailable or outcome.not_authenticated
        with self._changed:
            mine = self._claim(work)
        if not mine or (undelivered and self._to_disk(work)):
            self._settle(work)
            return
        if undelivered:
            self._give_up(work, next(iter(outcome.reasons.values()), "not delivered"))
        else:
            work.account(outcome, awaited=self._is_awaited)
        self._settle(work)

    @staticmethod
    def _claim(work: Work) -> bool:
        """Whether the calling thread, which holds the lock, decides what became of a work; the first to ask does."""
        if work.claimed_by is None:
            work.claimed_by = threading.current_thread()
        return work.claimed_by is threading.current_thread()

    def _patience(self, work: Work) -> Patience:
        options = self._options
        deadline = self._give_up_at
        if options.deadline_s is not None:
            ends = work.items[0].created + options.deadline_s
            deadline = ends if deadline is None else min(deadline, ends)
        outlast = options.deadline_s is None and self._spool is None
        return Patience(options.max_retries, deadline, self._sleep, outlast_outage=outlast)

    def _sleep(self, seconds: float) -> bool:
        with self._changed:
            self._retrying += 1
        try:
            return not self._interrupted.wait(seconds)
        finally:
            with self._changed:
                self._retrying -= 1

    def _settle(self, work: Work) -> None:
        with self._changed:
            self._queue.settle(work)
            if work.from_spool:
                self._draining = False
            lane = threading.current_thread()
            if lane in self._lanes:
                self._lanes[lane] = None
            self._changed.notify_all()

    def _give_up(self, work: Work, reason: str) -> None:
        """Nobody took these messages and nothing keeps them."""
        with self._changed:
            self._lost += len(work.items)
        work.lose(reason, awaited=self._is_awaited)

    # Disk

    def _pending_on_disk(self) -> bool:
        return self._spool is not None and self._spool.pending

    def _to_disk(self, work: Work) -> bool:
        if self._spool is None or not self._spool.append(work.batch):
            return False
        for item in work.items:
            item.owner.stats.add(spooled=1)
        return True

    def _drain(self, work: Work) -> None:
        """Send the oldest batch on disk. One at a time and not too fast, so that a server that comes back is not
        buried."""
        assert self._spool is not None
        outcome = self._endpoint.deliver(work.batch, Patience(0, None, self._sleep), self._owner.stats)
        if outcome.unavailable or outcome.not_authenticated:
            self._drain_failures += 1
            pause = min(30.0, 0.1 * 2.0 ** min(self._drain_failures, 10))
        else:
            self._drain_failures, pause = 0, self._spool.pause_s
            self._spool.remove_first()
            self._owner.stats.succeed(outcome.total - outcome.failed)
            if outcome.failed:
                self._owner.stats.fail(outcome.failed, next(iter(outcome.reasons.values()), "refused"))
                for place, reason in outcome.reasons.items():
                    wanted = self._owner.wants_messages
                    self._owner.report(reason, [message_of(work.batch.raws[place]) if wanted else {}])
        self._drain_at = time.monotonic() + pause
        self._settle(work)
