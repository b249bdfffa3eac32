"""The queue of a worker: bounded, and cut into batches that keep the order of each context.

Nothing here is locked; the worker holds its lock around every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from mona_sdk.delivery.attempt import Batch, new_key
from mona_sdk.delivery.work import Item, Work


class QueueOptions(NamedTuple):
    """Bounds of the queue and of batches (messages, bytes), and seconds that a message may wait for company."""

    max_messages: int
    max_bytes: int
    batch_messages: int
    batch_bytes: int
    linger_s: float


class MessageQueue:
    """Items in the order of the calls. A context whose messages are under way is `busy` until they are settled."""

    def __init__(self, options: QueueOptions) -> None:
        self._options = options
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._busy: set[Any] = set()
        self.next_seq = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def oldest(self) -> Optional[Item]:
        """The item that has waited longest."""
        return self._items[0] if self._items else None

    def put(self, items: Sequence[Item]) -> int:
        """Take as many of the items as fit, from the first on; how many that were."""
        options, accepted = self._options, 0
        for item in items:
            size = len(item.raw)
            if len(self._items) >= options.max_messages or self._bytes + size > options.max_bytes:
                break
            item.seq = self.next_seq
            self.next_seq += 1
            self._items.append(item)
            self._bytes += size
            accepted += 1
        return accepted

    @property
    def is_full_batch(self) -> bool:
        """Whether there is no reason to wait for more."""
        return len(self._items) >= self._options.batch_messages or self._bytes >= self._options.batch_bytes

    def seconds_to_wait(self, now: float) -> float:
        """How long the head may still wait for company; 0 when it should go. Only for a queue that holds something."""
        return 0.0 if self.is_full_batch else max(0.0, self._items[0].created + self._options.linger_s - now)

    def take(self) -> Optional[Work]:
        """A batch from the head, up to the first message whose context is busy; None when that is the first one."""
        queue, options = self._items, self._options
        items: list[Item] = []
        size = 0
        while queue and len(items) < options.batch_messages:
            item = queue[0]
            if item.context in self._busy or (items and item.tail != items[0].tail):
                break
            if items and size + len(items) + len(item.raw) > options.batch_bytes:
                break
            items.append(queue.popleft())
            size += len(item.raw)
        if not items:
            return None
        self._bytes -= size
        self._busy.update(item.context for item in items if item.context is not None)
        return Work(items, Batch([item.raw for item in items], items[0].tail, new_key()))

    def settle(self, work: Work) -> None:
        """The contexts of a work may go on."""
        self._busy.difference_update(item.context for item in work.items)

    def give_back(self, work: Work) -> None:
        """Put the work of a lane that died back to the head."""
        self.settle(work)
        self._items.extendleft(reversed(work.items))
        self._bytes += sum(len(item.raw) for item in work.items)

    def take_all(self) -> list[Work]:
        """Everything that is left, in batches, whatever is busy."""
        works = []
        while self._items:
            self._busy.clear()
            work = self.take()
            assert work is not None
            works.append(work)
        return works
