"""``mona up``: the processes of one server, started, watched and stopped together.

The supervisor does no work of its own. Each part is the same program in another process; a part that ends is
started again after a pause that doubles up to 10 s. Parts notice the end of the supervisor, even by SIGKILL, so that
nothing is left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO

from mona_server.errors import BadRequest, Conflict, MonaError, Unavailable, file_errors
from mona_server.settings import Settings

PARTS = {
    "api": "mona_server.api.process",
    "fold": "mona_server.ingest.fold_process",
    "lake": "mona_server.ingest.lake_process",
    "detect": "mona_server.insights.process",
}
"""Name → module whose ``serve(settings, stop)`` is the whole life of the part."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["mona_server.cli.preload"])
_ARENAS = "MALLOC_ARENA_MAX"
"""How many arenas the GNU C library of a part may keep. By itself it makes one for each thread, up to eight a core, and
each keeps the holes of its busiest moment: an api process under load grew by 3 MiB a minute for as long as it was watched
(docs/sizing.md). In one arena the next thread fills the holes. A value that is set already wins."""
_LARGE, _MMAP_THRESHOLD = 2**18, -3
"""What is larger goes back to the system as soon as it is freed; the number by which ``mallopt`` knows that limit."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _CALM_S = 0.2, 10.0, 30.0
_STOP_TIMEOUT_S = 15.0


def lock_data_dir(data_dir: Path) -> IO[str]:
    """Hold the data directory for this server.

    Raises :class:`Conflict` when another one holds it, :class:`Unavailable` where it cannot be written.
    """
    with file_errors(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "server.lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise Conflict(
            f"the data directory {data_dir} is in use" + (f" by process {holder}" if holder else ""),
            hint="stop that server, or choose another --data",
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def check_port(host: str, port: int) -> None:
    """Raise :class:`Conflict` when nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise Conflict(
                f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
                hint="another program uses it? choose another with --port",
            ) from None


class _Part:
    """One supervised process."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.process: ForkServerProcess | None = None
        self.started = 0.0
        self.restarts = 0
        self._settings = settings
        self._pause_s = _FIRST_PAUSE_S
        self._due = 0.0

    def start(self) -> None:
        # Parts are forked from one small server that has the common libraries loaded: they share that memory.
        self.process = _CONTEXT.Process(target=serve_part, args=(self.name, PARTS[self.name], self._settings))
        self.process.start()
        self.started = time.monotonic()

    def watch(self, now: float) -> None:
        """Start the process again if it has ended and its pause is over."""
        if self.process is not None:
            code = self.process.exitcode
            if code is None:
                return
            if now - self.started > _CALM_S:
                self._pause_s = _FIRST_PAUSE_S
            print(f"mona: part {self.name} ended with code {code}; again in {self._pause_s:.1f} s", file=sys.stderr)
            self.process.close()
            self.process, self._due = None, now + self._pause_s
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
            self.restarts += 1
        if now >= self._due:
            self.start()

    def terminate(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def wait(self, deadline: float) -> None:
        if self.process is None:
            return
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.process.close()
        self.process = None


class Supervisor:
    """Start the parts, keep them running until :meth:`stop`."""

    def __init__(self, settings: Settings, parts: Sequence[str] = tuple(PARTS)) -> None:
        unknown = [name for name in parts if name not in PARTS]
        if unknown:
            raise BadRequest(f"no such part: {', '.join(unknown)}", hint=f"known are {', '.join(PARTS)}")
        self.settings = settings
        self.parts = [_Part(name, settings) for name in parts]
        self._stop = threading.Event()

    def run(self) -> None:
        """Watch until :meth:`stop` is called (from a signal or another thread), then stop all parts."""
        os.environ.setdefault(_ARENAS, "1")  # read when a program starts: the server that forks the parts, workers
        try:
            while not self._stop.is_set():
                now = time.monotonic()
                for part in self.parts:
                    part.watch(now)
                self._stop.wait(0.2)
        finally:
            for part in self.parts:
                part.terminate()
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            for part in self.parts:
                part.wait(deadline)

    def stop(self) -> None:
        self._stop.set()


def address(settings: Settings) -> str:
    """Where the server listens, as people type it."""
    scheme = "https" if settings.server.tls_cert else "http"
    host = settings.server.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


def wait_until_healthy(url: str, *, timeout_s: float, stopped: threading.Event | None = None) -> None:
    """Return when ``GET /health`` answers 200. Raises :class:`Unavailable` after ``timeout_s``."""
    import urllib.error  # 1.4 MiB that ``mona up`` never uses
    import urllib.request

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and not (stopped and stopped.is_set()):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:  # noqa: S310 - our own address
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError, ValueError):
            pass
        time.sleep(0.05)
    raise Unavailable(f"the server at {url} did not become ready within {timeout_s:.0f} s", hint="see its log above")


@contextlib.contextmanager
def running(settings: Settings, *, parts: Sequence[str] = tuple(PARTS), timeout_s: float = 60) -> Iterator[Supervisor]:
    """A whole server for the time of the block: the demo and tests use it. Ready when the block begins."""
    lock = lock_data_dir(settings.data_dir)
    try:
        check_port(settings.server.host, settings.server.port)
        supervisor = Supervisor(settings, parts)
        ended = threading.Event()
        failures: list[BaseException] = []

        def watch() -> None:
            try:
                supervisor.run()
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                ended.set()

        thread = threading.Thread(target=watch, name="mona-supervisor")
        thread.start()
        try:
            if "api" in parts:
                try:
                    wait_until_healthy(address(settings), timeout_s=timeout_s, stopped=ended)
                except Unavailable as error:
                    raise (failures[0] if failures else error) from None
            yield supervisor
        finally:
            supervisor.stop()
            thread.join()
    finally:
        lock.close()


def serve(settings: Settings, parts: Sequence[str] = tuple(PARTS)) -> None:
    """Run in the foreground until SIGINT or SIGTERM."""
    lock = lock_data_dir(settings.data_dir)
    try:
        if "api" in parts:
            check_port(settings.server.host, settings.server.port)
        supervisor = Supervisor(settings, parts)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: supervisor.stop())
        supervisor.run()
    finally:
        lock.close()


def serve_part(name: str, module: str, settings: Settings) -> None:
    """The life of one part, in a process of its own."""
    from mona_server import logs  # 6.5 MiB that the supervisor, which writes no log, does not need

    logs.configure(name)
    if name != "detect":  # its large arrays come and go all the time: the search takes 1.4 times as long with it
        _give_back_what_is_large()
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(f"mona-{name}", encoding="ascii")  # what ``ps`` and ``top`` show
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    try:
        importlib.import_module(module).serve(settings, stop)
    except MonaError as error:
        print(f"mona {name}: {error}", file=sys.stderr)
        sys.exit(1)


def _give_back_what_is_large() -> None:
    """Large memory that is freed leaves no hole behind. Other C libraries have no such call."""
    import ctypes

    with contextlib.suppress(AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def _stop_with_parent(stop: threading.Event) -> None:
    """The end of the supervisor, of whatever kind, ends its parts."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        stop.set()
