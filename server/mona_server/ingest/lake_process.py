"""The lake process: pending rows → files, small files → large ones, erasures, retention, the disk budget."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import duckdb
import structlog

from mona_server.errors import DataDamaged, MonaError
from mona_server.ingest.fold_process import clock, only_one
from mona_server.ingest.retention import enforce
from mona_server.settings import Settings
from mona_server.store import compact, erase, lake
from mona_server.store.flush import flush, waiting
from mona_server.store.state import keep_house
from mona_server.store.store import Store

log = structlog.get_logger(__name__)

DAY_MS = 86_400_000
_TICK_S = 1.0
_RETRY_S = 5.0
_ERASE_S, _ERASE_SHARE = 30.0, 0.05
"""Erasures are looked for so often, and take at most this share of the time."""
_ENGINE_IDLE_S = 90.0
"""After so long without work the engine is closed: it keeps some 40 MiB."""


@dataclass(slots=True)
class _Due:
    """When each duty is due next, monotonic seconds."""

    compact: float = 0.0
    erase: float = 0.0
    retention: float = 0.0
    sweep: float = 0.0


class Keeper:
    """Does the duties of the lake when they are due. Not safe for threads."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self._due = _Due()
        self._spill = store.data_dir / "tmp" / "lake"
        self._duck: duckdb.DuckDBPyConnection | None = None
        self._used_at = 0.0

    @property
    def duck(self) -> duckdb.DuckDBPyConnection:
        if self._duck is None:
            self._duck = lake.engine(memory="512MB", spill=self._spill)
        self._used_at = time.monotonic()
        return self._duck

    def close(self) -> None:
        if self._duck is not None:
            self._duck.close()
            self._duck = None

    def start(self) -> None:
        """Remove what a crash left behind."""
        shutil.rmtree(self._spill, ignore_errors=True)
        with self.store.state.reading() as connection:
            left = lake.unlisted(connection, self.store.lake)
        for path in left:
            path.unlink(missing_ok=True)
        if left:
            log.info("removed files that a crash left", files=len(left))

    def tick(self, now_ms: int) -> bool:
        """Do what is due; True when there may be more to do at once."""
        ingest = self.settings.ingest
        now = time.monotonic()
        found = waiting(self.store)
        more = False
        full = found.rows >= ingest.flush_rows
        if found.rows and (
            full or found.oldest_ms is None or now_ms - found.oldest_ms >= ingest.flush_interval_s * 1000
        ):
            done = flush(self.store, self.duck, now_ms, max_rows=ingest.flush_rows)
            more = done is not None and found.rows > done.rows
        if now >= self._due.erase:
            for class_id in erase.outstanding(self.store):
                self._unless_damaged(partial(erase.erase, self.store, self.duck, class_id, now_ms))
            # Files are rewritten for a single context too: a stream of deletes must not keep the lake at nothing else.
            took_s = time.monotonic() - now
            self._due.erase = now + max(_ERASE_S, took_s / _ERASE_SHARE)
        if now >= self._due.compact:
            plans = compact.plans(self.store, now_ms, round(ingest.asof_days * DAY_MS))
            merged = [
                self._unless_damaged(partial(compact.compact, self.store, self.duck, plan, now_ms)) for plan in plans
            ]
            self._due.compact = now if any(merged) else now + 60
            more = more or any(merged)
        if now >= self._due.sweep:
            self._due.sweep = now + 60
            lake.sweep(self.store.state.connection, self.store.lake, now_ms)
            keep_house(self.store.state, now_ms)
        if now >= self._due.retention:
            self._due.retention = now + 600
            enforce(self.store, self.settings, now_ms)
        if now - self._used_at > _ENGINE_IDLE_S:
            self.close()
        return more

    def _unless_damaged(self, work: Callable[[], object]) -> bool:
        """Do it; False where a file is not as it was written. It is left alone, and the other classes go on."""
        try:
            work()
        except DataDamaged as error:
            log.error("a damaged file is in the way", problem=error.message, hint=error.hint)  # noqa: TRY400
            return False
        return True


def serve(settings: Settings, stop: threading.Event) -> None:
    """Keep the lake until ``stop`` is set. Raises Conflict where another process keeps it."""
    with only_one(settings.data_dir, "lake"), Store.open(settings.data_dir, settings) as store:
        keeper = Keeper(store, settings)
        keeper.start()
        while not stop.is_set():
            try:
                more = keeper.tick(clock())
            except MonaError as error:
                log.warning("the lake waits", problem=error.message, hint=error.hint)
                stop.wait(_RETRY_S)
                continue
            except (duckdb.Error, sqlite3.Error, OSError):
                # A full disk shows as an error of DuckDB or of the file system; nothing is lost, it is tried again.
                log.exception("the lake waits")
                keeper.close()
                stop.wait(_RETRY_S)
                continue
            if not more:
                stop.wait(_TICK_S)
        keeper.close()
