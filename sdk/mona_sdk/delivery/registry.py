"""The workers of this process: one per address, credentials and options, shared by the clients that agree in these."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from typing import Any, Optional

from mona_sdk.delivery import fork
from mona_sdk.delivery.attempt import Endpoint
from mona_sdk.delivery.owner import Owner
from mona_sdk.delivery.queue import QueueOptions
from mona_sdk.delivery.spool import Spool
from mona_sdk.delivery.worker import Worker, WorkerOptions
from mona_sdk.log import warn_limited
from mona_sdk.settings import ClientSettings

BACKGROUND_RETRIES = 5
SYNC_RETRIES = 2
# An asynchronous call waits this long for others that can share its request.
COALESCE_S = 0.001


class _Registry:
    """Workers by key, held weakly; `clients` counts who uses one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: weakref.WeakValueDictionary[Any, Worker] = weakref.WeakValueDictionary()
        self._clients: weakref.WeakKeyDictionary[Worker, int] = weakref.WeakKeyDictionary()
        self._exit_limits: weakref.WeakKeyDictionary[Worker, float] = weakref.WeakKeyDictionary()
        fork.renew_in_child(self)

    def open(self, settings: ClientSettings, endpoint: Endpoint, owner: Owner, *, awaited: bool) -> Worker:
        """The worker for these settings; `awaited` for calls that wait for the verdict of the server."""
        options = _options(settings, awaited=awaited)
        identity = _identity(settings, endpoint.url)
        key = (identity, options, settings.spool_dir, settings.spool_max_bytes)
        with self._lock:
            worker = self._by_key.get(key)
            if worker is None or worker.closed:
                spool = None
                if settings.spool_dir and not awaited:
                    stats = owner.stats
                    spool = Spool(
                        settings.spool_dir,
                        identity,
                        settings.spool_max_bytes,
                        on_drop=lambda count: stats.lose("spool_full", count),
                    )
                worker = self._by_key[key] = Worker(endpoint, options, spool, owner, self.close_all)
            self._clients[worker] = self._clients.get(worker, 0) + 1
            self._exit_limits[worker] = settings.shutdown_timeout
            return worker

    def release(self, worker: Worker, timeout: float) -> bool:
        """A client is done; the last one closes the worker. True when nothing of the queue was left behind."""
        with self._lock:
            self._clients[worker] = left = self._clients.get(worker, 1) - 1
        if left <= 0:
            return worker.close(timeout) == 0
        return worker.flush(timeout)

    def close_all(self) -> None:
        """Drain what is left at exit, all workers within the longest of their limits."""
        started = time.monotonic()
        for worker in list(self._clients):
            limit = self._exit_limits.get(worker, 2.0) - (time.monotonic() - started)
            try:
                worker.close(max(0.0, limit))
            except Exception as problem:  # noqa: BLE001 - the program ends, and must not end with our traceback
                warn_limited("exit", "the queue could not be drained: %s", type(problem).__name__)

    def renew_after_fork(self) -> None:
        """Another thread may have held the lock."""
        self._lock = threading.Lock()


def _options(settings: ClientSettings, *, awaited: bool) -> WorkerOptions:
    retries = settings.max_retries
    queue = QueueOptions(
        max_messages=settings.max_queue_messages,
        max_bytes=settings.max_queue_bytes,
        batch_messages=settings.batch_max_messages,
        batch_bytes=min(settings.batch_max_bytes, settings.max_request_bytes),
        linger_s=COALESCE_S if awaited else settings.flush_interval,
    )
    return WorkerOptions(
        queue,
        max_retries=(SYNC_RETRIES if awaited else BACKGROUND_RETRIES) if retries is None else retries,
        deadline_s=settings.export_deadline if awaited else None,
    )


def _identity(settings: ClientSettings, url: str) -> str:
    """A digest of the address and of whom the client speaks for; it tells nothing about the secrets in it."""
    import hashlib

    parts: tuple[Optional[object], ...] = (
        url,
        settings.mode,
        settings.api_key,
        settings.secret,
        settings.access_token,
        settings.user_id,
        settings.compression,
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


registry = _Registry()
atexit.register(registry.close_all)
