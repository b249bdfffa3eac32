"""What has to be made anew in the child after a fork: locks that another thread may have held, queues, threads."""

from __future__ import annotations

import os
import sys
import weakref
from typing import Any, Callable

from mona_sdk import log
from mona_sdk.delivery import http

_renewables: weakref.WeakSet[Any] = weakref.WeakSet()


def renew_in_child(thing: Any) -> None:
    """Call `thing.renew_after_fork()` in every forked child, as long as `thing` lives."""
    _renewables.add(thing)


def drain_at_child_exit(drain: Callable[[], Any]) -> None:
    """Call `drain` when a process of `multiprocessing` or a prefork worker of Celery ends.

    Such children leave without running atexit, those of Celery without the finalizers of multiprocessing too.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, drain, exitpriority=100)
    celery = sys.modules.get("celery.signals")
    if celery is not None:
        celery.worker_process_shutdown.connect(lambda **_: drain(), weak=False)


def _renew() -> None:
    log.renew_after_fork()
    for thing in list(_renewables):
        thing.renew_after_fork()


if hasattr(os, "register_at_fork"):
    # No fork in the middle of the import of urllib3: a half-imported module stays locked in the child.
    os.register_at_fork(
        before=http.loading.acquire,
        after_in_parent=http.loading.release,
        after_in_child=http.loading.release,
    )
    os.register_at_fork(after_in_child=_renew)
