"""Long work in small steps: what a job's generator yields, and who drives it.

A worker does one step of one job at a time, so that folding goes on in between. After each step the job's row
gets its progress and checkpoint; a job whose process died is taken up again from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Engine

from mona_server.errors import MonaError
from mona_server.store import jobs
from mona_server.store.jobs import Job, LostJob

log = structlog.get_logger(__name__)

Clock = Callable[[], int]
"""Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a job has done so far."""

    progress: float
    checkpoint: Any = None
    result: Any = None
    """Of the last step only."""


Work = Callable[[Job, Clock], Iterator[Step]]


class Worker:
    """Claims jobs of some kinds and does them one step at a time."""

    def __init__(self, meta: Engine, kinds: Mapping[str, Work], name: str, clock: Clock) -> None:
        self._meta = meta
        self._kinds = dict(kinds)
        self._name = name
        self._clock = clock
        self._job: Job | None = None
        self._steps: Iterator[Step] = iter(())

    def step(self) -> bool:
        """Do one step; False when there was nothing to do."""
        if self._job is None:
            self._job = jobs.claim(self._meta, tuple(self._kinds), self._name, self._clock())
            if self._job is None:
                return False
            self._steps = self._kinds[self._job.kind](self._job, self._clock)
        job = self._job
        try:
            done = next(self._steps)
            if done.result is not None:
                self._job = None
                jobs.finish(self._meta, job, done.result, now_ms=self._clock())
            else:
                jobs.progress(self._meta, job, done.progress, checkpoint=done.checkpoint, now_ms=self._clock())
        except LostJob:
            self._job = None
        except MonaError as error:
            self._job = None
            self._fail(job, str(error))
        except Exception:  # the edge of the loop: one bad job must not stop the fold
            self._job = None
            log.exception("job failed", job=job.id, kind=job.kind, tenant=job.tenant)
            self._fail(job, "internal error, see the server's log")
        return True

    def _fail(self, job: Job, text: str) -> None:
        try:
            jobs.fail(self._meta, job, text, now_ms=self._clock())
        except LostJob:
            log.warning("a cancelled job failed", job=job.id, kind=job.kind)
