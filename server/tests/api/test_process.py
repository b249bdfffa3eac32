"""The api part as a process runs it: it binds, serves pages and programs, and stops when told."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mona_server import settings as settings_module
from mona_server.api import process
from mona_server.errors import Conflict
from tests.support import eventually, free_port


def status(url: str, method: str = "GET") -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def test_serves_until_told_to_stop(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It answers health, says how the first Admin signs in, gives pages beside services, and ends cleanly."""
    port = free_port()
    settings = settings_module.load(tmp_path, environ={}, server={"port": port})
    stop = threading.Event()
    thread = threading.Thread(target=process.serve, args=(settings, stop))
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: status(f"{url}/health") == 200)
        assert status(f"{url}/ready") == 200
        assert status(f"{url}/sign-in") == 200
        assert status(f"{url}/configs", "POST") == 401
        assert status(f"{url}/export", "GET") == 405
        assert f"{url}/activate?link=" in capfd.readouterr().err
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def test_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    """Another program on the port: an error that names address and reason, before anything else is opened."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = settings_module.load(tmp_path / "data", environ={}, server={"port": port})
        with pytest.raises(Conflict, match=f"cannot listen on 127.0.0.1:{port}"):
            process.serve(settings, threading.Event())
    assert not (tmp_path / "data").exists()
