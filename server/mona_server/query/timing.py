"""Notes the queries that took long, for the doctor."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import structlog
from sqlalchemy.exc import SQLAlchemyError

from mona_server.errors import MonaError
from mona_server.query.reader import Dataset
from mona_server.store import slow

F = TypeVar("F", bound=Callable[..., Any])
log = structlog.get_logger(__name__)


def timed(function: F) -> F:
    """The same function of a dataset; a call that takes long is noted by its name, failed or not."""

    @functools.wraps(function)
    def ask(dataset: Dataset, *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        try:
            return function(dataset, *args, **kwargs)
        finally:
            seconds = time.monotonic() - started
            if seconds >= slow.SLOW_S and dataset.store is not None:
                _note(dataset, function.__name__, seconds)

    return cast("F", ask)


def _note(dataset: Dataset, kind: str, seconds: float) -> None:
    assert dataset.store is not None
    now_ms = time.time_ns() // 1_000_000
    rows = sum(file.rows for file in dataset.facts.files) + dataset.facts.pending_rows
    query = slow.SlowQuery(dataset.tenant, now_ms, dataset.name, kind, rows, round(seconds, 3))
    try:
        slow.note(dataset.store.meta, query)
    except (MonaError, SQLAlchemyError) as error:  # the answer counts more
        log.warning("slow query not noted", error=type(error).__name__)
