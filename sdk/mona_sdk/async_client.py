"""The client for asyncio.

An export joins the queue of a worker that sends what comes together in one request, and the coroutine waits for the
verdict; so many concurrent exports need few requests, and no second HTTP stack. Everything else runs in a few threads.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar
from uuid import UUID

from mona_sdk import pace, texts
from mona_sdk.client import Client
from mona_sdk.delivery.registry import registry
from mona_sdk.delivery.work import Item
from mona_sdk.delivery.worker import Worker
from mona_sdk.export import ExportReport
from mona_sdk.message import MonaSingleMessage
from mona_sdk.results import BatchResult

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec, Self

    P = ParamSpec("P")
R = TypeVar("R")

THREADS = 8
# How often a full queue is tried again.
FULL_QUEUE_PAUSE_S = 0.005
# Coroutines that continue in one turn of the loop; in between it does other work.
WOKEN_TOGETHER = 16
# What is serialised on the loop: a fraction of a millisecond. Larger messages are worth a thread.
SMALL_VALUES = 256
SMALL_TEXT = 16_384
_PLAIN = (int, float, type(None), date, time_of_day, timedelta, Decimal, UUID)


def _is_small(message: Any) -> bool:
    """Whether serialising is surely short; what is of an unknown kind is not."""
    values, text = 0, 0
    waiting = [getattr(message, "message", None)]
    while waiting:
        value = waiting.pop()
        values += 1
        if isinstance(value, str):
            text += len(value)
        elif isinstance(value, (dict, list, tuple)):
            if len(value) > SMALL_VALUES:
                return False
            waiting.extend(value.values() if isinstance(value, dict) else value)
        elif not isinstance(value, _PLAIN):
            return False
        if values > SMALL_VALUES or text > SMALL_TEXT:
            return False
    return True


def _in_thread(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]]:
    """The asynchronous twin of a method, for those that are not worth a way of their own."""

    async def twin(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        # By name, so that what a subclass overrides is used.
        call: Callable[[], R] = functools.partial(getattr(self, method.__name__), *args, **kwargs)
        return await self._run(call)

    twin.__name__ = twin.__qualname__ = f"{method.__name__}_async"
    twin.__doc__ = method.__doc__
    return twin


def _considerately(call: Callable[[], R]) -> R:
    with pace.considerate():
        return call()


class _Replies:
    """Verdicts on their way from the lanes into an event loop, which is woken once for all that have come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._arrived: deque[tuple[asyncio.Future[Any], Optional[str]]] = deque()
        self._woken = False

    def put(self, future: asyncio.Future[Any], reason: Optional[str]) -> None:
        """Called by a lane."""
        self._arrived.append((future, reason))
        self._wake(self.loop.call_soon_threadsafe)

    def _wake(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        if not self._woken:
            self._woken = True
            try:
                call_soon(self._hand_out)
            except RuntimeError:  # the loop is closed; nobody waits any more
                self._arrived.clear()

    def _hand_out(self) -> None:
        for _ in range(min(len(self._arrived), WOKEN_TOGETHER)):
            future, reason = self._arrived.popleft()
            if not future.done():
                future.set_result(reason)
        self._woken = False
        if self._arrived:
            self._wake(self.loop.call_soon)


class AsyncClient(Client):
    """A Client with `<name>_async` for every method. Constructing it asks nobody; the first call authenticates.

    Arguments as of Client; `event_loop` and `executor` are accepted for old code and not needed. Close it with
    `aclose()` or `async with`, which waits for pending exports.
    """

    def __init__(self, *args: Any, event_loop: Any = None, executor: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        self._first_lock = threading.Lock()
        self._asked = False
        self._arming: Optional[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = None
        self._pool: Optional[ThreadPoolExecutor] = None
        self._awaited: Optional[Worker] = None
        self._replies: Optional[_Replies] = None
        self._pending = 0
        super().__init__(*args, **kwargs)

    def _start(self) -> None:
        self._user_id = self._settings.user_id

    def _ready(self, limit_s: float) -> bool:
        self._authenticate_once()
        return super()._ready(limit_s)

    def is_active(self) -> bool:
        """Whether the client is authenticated and open; asks for the first token."""
        self._authenticate_once()
        return super().is_active()

    def _authenticate_once(self) -> None:
        if self._asked:
            return
        with self._first_lock:
            if not self._asked:
                try:
                    super()._start()
                finally:
                    self._asked = True

    def _prepared(
        self, events: Iterable[Any], filter_none: Optional[bool], report: ExportReport
    ) -> Iterator[tuple[int, bytes, MonaSingleMessage]]:
        return super()._prepared(pace.in_steps(events), filter_none, report)

    async def export_async(self, message: MonaSingleMessage, filter_none_fields: Optional[bool] = None) -> bool:
        """Send one message; True when the server has it (in background mode: when the queue has it)."""
        self._pending += 1
        try:
            report = await self._export_awaited(message, filter_none_fields)
        finally:
            self._pending -= 1
        self._conclude(report)
        return not report.failed

    async def export_batch_async(
        self,
        events: Iterable[MonaSingleMessage],
        default_action: Optional[str] = None,
        filter_none_fields: Optional[bool] = None,
    ) -> BatchResult:
        """Send messages; the result of `export_batch`."""
        call = functools.partial(self.export_batch, events, default_action, filter_none_fields)
        return await self._run(call)

    async def send_event_async(self, message: MonaSingleMessage, filter_none_fields: Optional[bool] = None) -> bool:
        """The same as `export_async`."""
        return await self.export_async(message, filter_none_fields)

    async def send_events_batch_async(
        self,
        events: Iterable[MonaSingleMessage],
        default_action: Optional[str] = None,
        filter_none_fields: Optional[bool] = None,
    ) -> BatchResult:
        """The same as `export_batch_async`."""
        return await self.export_batch_async(events, default_action, filter_none_fields)

    is_active_async = _in_thread(Client.is_active)
    flush_async = _in_thread(Client.flush)
    stats_async = _in_thread(Client.stats)
    export_table_async = _in_thread(Client.export_table)
    upload_config_async = _in_thread(Client.upload_config)
    get_config_async = _in_thread(Client.get_config)
    upload_config_per_context_class_async = _in_thread(Client.upload_config_per_context_class)
    validate_config_async = _in_thread(Client.validate_config)
    validate_config_per_context_class_async = _in_thread(Client.validate_config_per_context_class)
    get_suggested_config_async = _in_thread(Client.get_suggested_config)
    get_suggested_config_from_user_input_async = _in_thread(Client.get_suggested_config_from_user_input)
    get_config_history_async = _in_thread(Client.get_config_history)
    get_insights_async = _in_thread(Client.get_insights)
    get_ingested_data_for_a_specific_segment_async = _in_thread(Client.get_ingested_data_for_a_specific_segment)
    get_aggregated_data_of_a_specific_segment_async = _in_thread(Client.get_aggregated_data_of_a_specific_segment)
    get_aggregated_stats_of_a_specific_segmentation_async = _in_thread(
        Client.get_aggregated_stats_of_a_specific_segmentation
    )
    create_openai_context_class_async = _in_thread(Client.create_openai_context_class)
    get_sampling_factors_async = _in_thread(Client.get_sampling_factors)
    create_sampling_factor_async = _in_thread(Client.create_sampling_factor)
    initiate_csv_upload_request_async = _in_thread(Client.initiate_csv_upload_request)

    async def aclose(self, timeout: Optional[float] = None) -> bool:
        """Wait for pending exports, `timeout` seconds at most (None: `export_deadline`), and end."""
        limit = self._settings.export_deadline if timeout is None else timeout
        deadline = time.monotonic() + limit
        # Tasks that were made a moment ago have not run yet; this lets them count themselves.
        await asyncio.sleep(0)
        while self._pending and time.monotonic() < deadline:
            await asyncio.sleep(0.002)
        loop = asyncio.get_running_loop()
        left = max(0.0, deadline - time.monotonic())
        return await loop.run_in_executor(None, self.close, min(left, self._settings.shutdown_timeout))

    async def close_async(self, timeout: Optional[float] = None) -> bool:
        """The same as `aclose`."""
        return await self.aclose(timeout)

    def close(self, timeout: Optional[float] = None) -> bool:
        """As of Client; exports that are still pending have `timeout` seconds."""
        awaited, self._awaited = self._awaited, None
        limit = self._settings.shutdown_timeout if timeout is None else timeout
        settled = awaited is None or registry.release(awaited, limit)
        done = super().close(timeout)
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        return settled and done

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def _run(self, call: Callable[[], R]) -> R:
        """A blocking call in one of our threads."""
        if self._closed:
            return call()  # refused at once
        self._pending += 1
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mona-async")
            return await asyncio.get_running_loop().run_in_executor(self._pool, _considerately, call)
        finally:
            self._pending -= 1

    async def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Authenticate, once for all that wait for it in this loop."""
        if self._arming is None or self._arming[0] is not loop or self._arming[1].done():
            self._arming = loop, asyncio.ensure_future(self._run(self._prepare_blocking))
        await asyncio.shield(self._arming[1])

    def _prepare_blocking(self) -> None:
        self._ready(self._settings.export_deadline)
        self._preparer.warm()
        if self._awaited is None and not self._closed:
            with self._first_lock:
                if self._awaited is None:
                    self._awaited = registry.open(self._settings, self._endpoint, self._owner, awaited=True)

    async def _export_awaited(self, message: MonaSingleMessage, filter_none: Optional[bool]) -> ExportReport:
        loop = asyncio.get_running_loop()
        if not self._closed and (self._awaited is None or not self.authenticator.is_authenticated()):
            await self._arm(loop)
        worker = self._awaited
        if self._closed or self._worker is not None or worker is None or not self.authenticator.is_authenticated():
            # Nothing of this waits for the network: the queue takes it, or it is refused.
            if _is_small(message):
                return self._export((message,), None, filter_none)
            return await self._run(functools.partial(self._export, (message,), None, filter_none))
        if self._replies is None or self._replies.loop is not loop:
            self._replies = _Replies(loop)
        ending = self._ending(None)
        report = ExportReport(self._owner)

        def prepare() -> list[tuple[int, bytes, MonaSingleMessage]]:
            return list(self._prepared((message,), filter_none, report))

        for place, raw, event in prepare() if _is_small(message) else await self._run(prepare):
            future: asyncio.Future[Optional[str]] = loop.create_future()
            item = Item(raw, ending, event, self._owner, functools.partial(self._replies.put, future))
            while not worker.submit((item,)):
                if worker.closed or time.monotonic() - item.created > self._settings.export_deadline:
                    report.lose(place, event, texts.CLOSED if worker.closed else texts.QUEUE_FULL)
                    return report
                await asyncio.sleep(FULL_QUEUE_PAUSE_S)
            reason = await future
            report.total += 1
            if reason is not None:
                report.judge(place, raw, reason)
        return report
