"""Real programs that fork: gunicorn with a preloaded application, Celery with prefork workers (Q9).

The client is made and used before the forks, and nothing flushes it: what the processes have exported leaves them when
they end.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

import mona_sdk
from mona_sdk.tests.conftest import wait_until
from mona_sdk.tests.servers import RecordingServer

# Celery takes a second of CPU time to start, in each of three processes; a busy machine may give it a tenth.
PATIENCE_S = 180
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.timeout(600),
]

CLIENT = """
    import os
    from mona_sdk import Client, MonaSingleMessage

    client = Client("key", "secret", server_url=os.environ["URL"], background=os.environ["BACKGROUND"] == "yes",
                    flush_interval=60)

    def export(identity):
        return client.export(MonaSingleMessage({"process": os.getpid()}, contextClass="C", contextId=identity))

    assert export("before-the-fork")
"""
GUNICORN = (
    CLIENT
    + """
    def app(environ, start_response):
        start_response("200 OK" if export(environ["PATH_INFO"]) else "500 Not taken", [])
        return [str(os.getpid()).encode()]
"""
)
BROKER = """
    from celery import Celery

    app = Celery("program", broker="filesystem://")
    app.conf.broker_transport_options = {
        "data_folder_in": "broker", "data_folder_out": "broker", "control_folder": "control", "polling_interval": 0.01,
    }
"""
CELERY = (
    CLIENT
    + BROKER
    + """

    @app.task(name="export")
    def export_task(number):
        assert export(f"task-{number}")
"""
)


@contextmanager
def running(folder: Path, server: RecordingServer, background: str, code: str, *command: str) -> Iterator[Path]:
    """A program in a process of its own, which must end well when it is asked to; the path of what it says."""
    (folder / "program.py").write_text(textwrap.dedent(code))
    log = folder / "log"
    environment = {**os.environ, "PYTHONPATH": str(Path(mona_sdk.__file__).parents[1]), "URL": server.url}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**environment, "BACKGROUND": background},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield log
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
    said = log.read_text()
    assert not re.search(r"Traceback|CRITICAL|SIGKILL|was lost|could not be delivered", said), said


def each_once(server: RecordingServer, expected: set[str]) -> set[int]:
    """Fail unless each was stored once; the processes that have exported them."""
    stored = Counter(message["contextId"] for message in server.messages)
    assert stored == Counter({"before-the-fork", *expected})
    return {message["message"]["process"] for message in server.messages}


@pytest.mark.parametrize("background", ["yes", "no"])
def test_gunicorn_with_a_preloaded_application(server: RecordingServer, tmp_path: Path, background: str) -> None:
    """Two workers, each of which exports: every message arrives once, and all end well."""
    options = ("--preload", "--workers", "2", "--bind", "127.0.0.1:0", "--graceful-timeout", "30")
    with running(tmp_path, server, background, GUNICORN, "gunicorn", *options, "program:app") as log:
        wait_until(lambda: re.search(r"Listening at: (\S+)", log.read_text()))
        address = re.findall(r"Listening at: (\S+)", log.read_text())[0]
        sent: set[str] = set()
        workers: set[str] = set()

        def get(path: str) -> str:
            with urlopen(f"{address}{path}", timeout=30) as answer:
                worker: str = answer.read().decode()
            return worker

        def more() -> int:
            paths = [f"/{len(sent) + n}" for n in range(20)]
            sent.update(paths)
            workers.update(visitors.map(get, paths))
            return len(workers)

        with ThreadPoolExecutor(4) as visitors:
            wait_until(lambda: more() == 2 and len(sent) >= 100)
    assert len(each_once(server, sent)) == 3


@pytest.mark.parametrize("background", ["yes", pytest.param("no", marks=pytest.mark.slow)])
def test_celery_with_prefork_workers(server: RecordingServer, tmp_path: Path, background: str) -> None:
    """Tasks come from files; two workers run and export them; every message arrives once, and all end well."""
    (tmp_path / "broker").mkdir()
    options = ("--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
    tasks = {f"task-{number}" for number in range(60)}
    with running(tmp_path, server, background, CELERY, "celery", "-A", "program", "worker", *options) as log:
        wait_until(lambda: " ready." in log.read_text(), PATIENCE_S)
        ask = textwrap.dedent(BROKER) + "for number in range(60): app.send_task('export', [number])"
        subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, check=True, timeout=PATIENCE_S)
        wait_until(lambda: log.read_text().count(" succeeded in ") == len(tasks), PATIENCE_S)
    each_once(server, tasks)
