"""The api part of a server: HTTP until it is told to stop."""

from __future__ import annotations

import contextlib
import importlib
import socket
import sys
import threading
import time
from collections.abc import Iterator

import structlog
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from mona_server.api import background, uploads
from mona_server.api.app import create_app
from mona_server.api.edge import Edge
from mona_server.api.identity import audit, sessions, users
from mona_server.errors import Conflict, MonaError
from mona_server.settings import Settings
from mona_server.store import Store

log = structlog.get_logger("mona.api")

_KEEP_ALIVE_S = 75
_DRAIN_S = 10


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the caller decides when to stop; signals are the supervisor's


def serve(settings: Settings, stop: threading.Event) -> None:
    """Serve until ``stop`` is set; requests in work are finished first.

    Raises :class:`Conflict` when nothing can listen at the address of the settings.
    """
    listener = bind(settings.server.host, settings.server.port)
    store = Store.open(settings.data_dir, settings)
    try:
        app = create_app(settings, store)
        # By name: the pages lie above this room and use it; a server without them still answers programs.
        app.include_router(importlib.import_module("mona_server.web").router)
        _print_first_link(app.state.edge)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
            ssl_certfile=settings.server.tls_cert,
            ssl_keyfile=settings.server.tls_key,
        )
        server = _Server(config)
        watcher = threading.Thread(target=_exit_when, args=(stop, server), name="api-stop", daemon=True)
        watcher.start()
        worker = threading.Thread(target=background.watch, args=(settings, store.meta, stop), name="api-background")
        worker.start()
        keeper = threading.Thread(target=_keep_house, args=(app.state.edge, stop), name="api-housekeeping")
        keeper.start()
        try:
            server.run(sockets=[listener])
        finally:
            stop.set()
            worker.join()
            keeper.join()
            app.state.edge.close()
    finally:
        store.close()
        listener.close()


def bind(host: str, port: int) -> socket.socket:
    """A bound socket. Raises :class:`Conflict` with one clear line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise Conflict(f"cannot listen on {host}:{port}: {reason}", hint="choose another --port") from None
    return listener


def _keep_house(edge: Edge, stop: threading.Event) -> None:
    """Once a day what is kept for a time only is forgotten; once a minute the clocks of senders are written down, and
    decoded rows that are in files now are dropped."""
    next_day = 0.0
    while True:
        try:
            if time.monotonic() >= next_day:
                next_day = time.monotonic() + 86_400
                uploads.forget_old(edge.settings.data_dir, now_ms=edge.clock())
                audit.forget_old(edge.meta, now_ms=edge.clock())
                sessions.forget_ended(edge.meta, now_ms=edge.clock())
            edge.skew.save(edge.meta, now_ms=edge.clock())
            edge.store.forget_flushed()
        except (MonaError, SQLAlchemyError, OSError) as error:  # a busy database; the next time is early enough
            log.warning("house not kept", error=type(error).__name__)
        if stop.wait(60):
            return


def _exit_when(stop: threading.Event, server: uvicorn.Server) -> None:
    stop.wait()
    server.should_exit = True


def _print_first_link(edge: Edge) -> None:
    """While nobody can sign in, say how the first Admin does it."""
    secret = users.first_admin_link(edge.meta, now_ms=edge.clock())
    if secret is not None:
        print(f"mona: set the first password at {edge.link('activate', secret)}", file=sys.stderr, flush=True)  # noqa: T201
