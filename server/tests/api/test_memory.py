"""Memory of the api process under many large bodies."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from mona_server import settings as settings_module
from mona_server.api.identity import tokens
from mona_server.cli import up
from mona_server.store import Store
from tests.support import PATIENCE_S, free_port

MIB = 2**20
SERVE = """
import sys, threading
from pathlib import Path
from mona_server import settings
from mona_server.api import process
process.serve(settings.load(Path(sys.argv[1]), server={"port": int(sys.argv[2])}), threading.Event())
"""


@pytest.mark.slow
def test_many_large_bodies_at_once(tmp_path: Path) -> None:
    """64 requests of 64 MiB at once: each is answered, and the process stays below 1 GiB."""
    port = free_port()
    (tmp_path / "mona.toml").write_text("[limits]\nmax_inbox_bytes = 100_000_000_000\nmax_wait_s = 600\n")
    settings = settings_module.load(tmp_path, environ={})
    with Store.open(tmp_path, settings) as store:
        key = tokens.create_token(store.meta, now_ms=1_700_000_000_000)
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path), str(port)])
    try:
        up.wait_until_healthy(f"http://127.0.0.1:{port}", timeout_s=PATIENCE_S)
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            credentials = json.dumps({"clientId": key.client_id, "secret": key.secret})
            connection.request("POST", "/identity/resources/auth/v1/api-token", credentials)
            headers = {"Authorization": f"Bearer {json.loads(connection.getresponse().read())['accessToken']}"}
        one = json.dumps({"arcClass": "A", "message": {"text": "x" * 900}}).encode()
        count = (64 * MIB - 100) // (len(one) + 1)
        body = b'{"messages": [' + b",".join([one] * count) + b"]}"
        assert 63 * MIB < len(body) <= 64 * MIB
        statuses: list[int] = []
        peak = 0
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            process = psutil.Process(server.pid)
            while not done.wait(0.05):
                peak = max(peak, process.memory_info().rss)

        def send() -> None:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=900)) as sender:
                sender.request("POST", "/export", body, headers)
                answer = sender.getresponse()
                answer.read()
                statuses.append(answer.status)

        watcher = threading.Thread(target=watch)
        watcher.start()
        senders = [threading.Thread(target=send) for _ in range(64)]
        for thread in senders:
            thread.start()
        for thread in senders:
            thread.join()
        done.set()
        watcher.join()
        print(f"peak {peak / MIB:.0f} MiB")  # noqa: T201 - the figure is what one runs this for
        assert statuses == [200] * 64
        assert peak < 1024 * MIB
    finally:
        server.kill()
        server.wait()
