"""The supervisor: starts, restarts and stops the parts, and leaves nothing behind."""

from __future__ import annotations

import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from mona_server import settings
from mona_server.cli import up
from mona_server.errors import BadRequest, Conflict, Unavailable
from tests.support import PATIENCE_S, eventually

PART = """
import os, pathlib
def serve(settings, stop):
    (settings.data_dir / f"started-{os.getpid()}").touch()
    stop.wait()
    (settings.data_dir / f"stopped-{os.getpid()}").touch()
"""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """One part of the test's own, importable by the child processes."""
    (tmp_path / "some_part.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)
    chosen = {"one": "some_part"}
    monkeypatch.setattr(up, "PARTS", chosen)
    return chosen


def started(data: Path) -> list[int]:
    return [int(file.name.split("-")[1]) for file in data.glob("started-*")]


def test_a_killed_part_is_started_again_and_stopped_at_the_end(tmp_path: Path, parts: dict[str, str]) -> None:
    """A part that dies by SIGKILL is replaced; the replacement ends in peace with the supervisor."""
    data = tmp_path / "data"
    with up.running(settings.load(data, environ={}), parts=tuple(parts)) as supervisor:
        eventually(lambda: len(started(data)) == 1)
        os.kill(started(data)[0], signal.SIGKILL)
        eventually(lambda: len(started(data)) == 2)
        assert supervisor.parts[0].restarts == 1
    assert len(list(data.glob("stopped-*"))) == 1


def test_parts_end_when_the_supervisor_is_killed(tmp_path: Path, parts: dict[str, str]) -> None:
    """SIGKILL of the supervisor leaves no part running."""
    data = tmp_path / "data"
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from mona_server import settings; from mona_server.cli import up; from pathlib import Path; "
        "up.PARTS['one'] = 'some_part'; "
        f"up.serve(settings.load(Path({str(data)!r}), environ={{}}), ('one',))"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code])
    eventually(lambda: len(started(data)) == 1)
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: not psutil.pid_exists(started(data)[0]))


def test_a_data_directory_serves_one_server(tmp_path: Path) -> None:
    """A second server on the same directory is told who holds it."""
    with up.lock_data_dir(tmp_path), pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
        up.lock_data_dir(tmp_path)


def test_a_busy_port_ends_with_one_clear_line(tmp_path: Path) -> None:
    """The command names the port, says what to do, and ends with a code other than 0; no traceback."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", "from mona_server.cli import main; main()", "up",
             "--data", str(tmp_path / "d"), "--port", str(port)],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["up", "--prot", "1"], ["nonsense"], ["up", "--port", "many"], ["up", "--only", "x"]]
)
def test_a_wrong_command_line_ends_with_code_2(arguments: list[str], tmp_path: Path) -> None:
    """Unknown commands, options and values are refused without a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", "from mona_server.cli import main; main()", *arguments],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    """The error lists the parts there are."""
    with pytest.raises(BadRequest, match="fold"):
        up.Supervisor(settings.load(tmp_path, environ={}), ("fald",))


def test_waiting_for_health_ends(tmp_path: Path) -> None:
    """A server that never answers is an error after the timeout, and a stopped wait ends at once."""
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Unavailable):
        up.wait_until_healthy("http://127.0.0.1:9", timeout_s=5, stopped=stopped)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_supervisor_that_cannot_start_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block does not wait for a server that will never come; the reason is the error."""

    def fail(_self: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(up._Part, "start", fail)
    began = time.monotonic()
    with (
        pytest.raises(OSError, match="no more processes"),
        up.running(settings.load(tmp_path, environ={}, server={"port": 0}), timeout_s=2 * PATIENCE_S),
    ):
        pass
    assert time.monotonic() - began < PATIENCE_S


def test_a_part_has_its_name(tmp_path: Path, parts: dict[str, str]) -> None:
    """``ps`` and ``top`` tell the parts apart."""
    with up.running(settings.load(tmp_path / "data", environ={}), parts=tuple(parts)):
        eventually(lambda: len(started(tmp_path / "data")) == 1)
        assert psutil.Process(started(tmp_path / "data")[0]).name() == "mona-one"


ALLOCATES = """
import ctypes, pathlib, threading
def serve(settings, stop):
    together = threading.Barrier(8)
    threads = [threading.Thread(target=lambda: (together.wait(), bytearray(100_000))) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    large = bytearray(16 * 2**20)
    del large
    large = bytearray(2**20)
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(libc.fopen(bytes(settings.data_dir / "malloc.part"), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    (settings.data_dir / "malloc.part").rename(settings.data_dir / "malloc.xml")
    stop.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how the GNU C library keeps memory")
def test_a_part_keeps_no_holes_for_each_of_its_threads(tmp_path: Path, parts: dict[str, str]) -> None:
    """All threads allocate in one arena, and a large array is the system's own again when it is freed."""
    (tmp_path / "some_part.py").write_text(ALLOCATES)
    file = tmp_path / "data" / "malloc.xml"
    with up.running(settings.load(tmp_path / "data", environ={}), parts=tuple(parts)):
        eventually(file.exists)
    told = file.read_text()
    assert told.count("<heap nr=") == 1
    mapped = re.search(r'<total type="mmap" count="\d+" size="(\d+)"/>', told)
    assert mapped is not None
    assert int(mapped[1]) > 2**20


def loaded(code: str) -> set[str]:
    """The modules that a fresh process has after some code."""
    script = f"{code}\nimport sys, threading\nassert threading.active_count() == 1\nprint(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.split()
    )


def test_the_supervisor_loads_little() -> None:
    """It waits all day; what only the parts need would be memory for nothing (benchmarks/at_rest.py)."""
    heavy = {"duckdb", "numpy", "scipy", "sqlalchemy", "structlog", "fastapi", "jinja2", "mona_server.store"}
    assert not heavy & loaded("import mona_server.cli.commands")


def test_the_parts_share_what_they_use() -> None:
    """What two parts import is loaded before they are forked, without threads; what one imports is not."""
    shared = loaded("import mona_server.cli.preload")
    assert not {"scipy", "fastapi", "uvicorn", "apprise"} & shared
    own = [loaded(f"import mona_server.cli.preload, {module}") - shared for module in up.PARTS.values()]
    twice = {name for i, names in enumerate(own) for name in names if any(name in other for other in own[:i])}
    large = {name for name in twice if not name.startswith("_")}
    assert len(large) < 40, sorted(large)
