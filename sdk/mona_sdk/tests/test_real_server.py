"""The client against the real server of this repository, in a process of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mona_sdk import AsyncClient, Client, MonaSingleMessage
from mona_sdk.tests import seed_snippets
from mona_sdk.tests.conftest import wait_until
from mona_sdk.tests.test_readme import CONFIG, DATA

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mona_server") is None, reason="the server is not installed beside the SDK"
)


class Mona:
    """A server in a process group of its own, on a data directory of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: Any = None
        self.start()
        self.credentials = json.loads(self._mona("token", "create", "--data", str(data), "--role", "Admin", "--json"))

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "mona_server.cli", *arguments]

    def _mona(self, *arguments: str) -> str:
        run = subprocess.run(self._command(*arguments), capture_output=True, text=True, check=True, timeout=60)
        return run.stdout

    def start(self) -> None:
        """Start, and wait until it accepts."""
        log = (self.data.parent / "mona.log").open("ab")
        self._process = subprocess.Popen(
            self._command("up", "--data", str(self.data), "--port", str(self.port)), stdout=log, stderr=log
        )
        log.close()
        wait_until(self._healthy, 60)

    def _healthy(self) -> bool:
        assert self._process.poll() is None, (self.data.parent / "mona.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it, politely or not."""
        import psutil

        children = psutil.Process(self._process.pid).children(recursive=True)
        if how == signal.SIGKILL:
            for child in children:
                child.kill()
        self._process.send_signal(how)
        self._process.wait(30)
        psutil.wait_procs(children, 20)

    def client(self, **arguments: Any) -> Client:
        """A client with the credentials of this server."""
        return Client(self.credentials["client_id"], self.credentials["secret"], server_url=self.url, **arguments)


@pytest.fixture(scope="module")
def mona(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mona]:
    """One server for the tests of this file."""
    running = Mona(tmp_path_factory.mktemp("mona") / "data")
    yield running
    running.stop()


def test_seed_snippets(mona: Mona, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed README's code, unchanged."""
    monkeypatch.setenv("MONA_SDK_SERVER_URL", mona.url)
    client, exported, result = seed_snippets.quick_start(
        mona.credentials["client_id"], mona.credentials["secret"], DATA
    )
    assert client.is_active()
    assert exported
    assert result == {"total": 3, "failed": 0, "sent": 3, "failure_reasons": {}}
    upload_result, config = seed_snippets.configuration(client, CONFIG)
    assert upload_result["success"] is True, upload_result
    assert upload_result["new_config_id"]
    assert set(config) == {mona.credentials["user_id"]}
    assert "MY_CONTEXT_CLASS_NAME" in config[mona.credentials["user_id"]]


def test_what_is_sent_comes_back(mona: Mona) -> None:
    """Messages of one id are merged, values are those that were given."""
    client = mona.client()
    now = int(time.time())
    for message in ({"amount": 12, "city": "Haifa"}, {"label": True}):
        assert client.export(
            MonaSingleMessage(message=message, contextClass="ROUND", contextId="r-1", exportTimestamp=now)
        )

    def stored() -> Any:
        return client.get_ingested_data_for_a_specific_segment("ROUND", now - 10, now + 10, {})["data"]

    wait_until(lambda: stored() and "label" in stored()[0]["message"], 30)
    assert stored()[0]["message"] == {"amount": 12, "city": "Haifa", "label": True}
    assert stored()[0]["contextId"] == "r-1"


def test_a_refused_message_has_the_servers_reason(mona: Mona) -> None:
    """Under its place; the others are stored."""
    bad = MonaSingleMessage(message={"a": 1}, contextClass="ROUND", contextId=5)  # type: ignore[arg-type]
    good = MonaSingleMessage(message={"a": 1}, contextClass="ROUND", contextId="g")
    result = mona.client().export_batch([good, bad, good])
    assert (result["sent"], result["failed"]) == (2, 1)
    assert result["failure_reasons"] == {"1": "contextId must be a string"}


def test_all_modes_send(mona: Mona) -> None:
    """Background, asynchronous, compressed, OIDC form and a given token."""
    message = MonaSingleMessage(message={"text": "x" * 3000}, contextClass="MODES", contextId="m")
    with mona.client(background=True, compression="gzip") as background:
        assert background.export(message)
    assert background.stats()["sent"] == 1

    async def concurrent() -> list[bool]:
        key, secret = mona.credentials["client_id"], mona.credentials["secret"]
        async with AsyncClient(key, secret, server_url=mona.url) as client:
            return await asyncio.gather(*[client.export_async(message) for _ in range(100)])

    assert asyncio.run(concurrent()) == [True] * 100
    user_id = mona.credentials["user_id"]
    assert mona.client(auth_mode="OIDC", user_id=user_id).export(message)
    token = mona.client().authenticator.get_current_token()
    assert mona.client(access_token=token, user_id=user_id).export(message)
    assert mona.client(access_token="nonsense", user_id=user_id).export(message) is False
    assert not Client(mona.credentials["client_id"], "wrong", server_url=mona.url).is_active()


@pytest.mark.slow
def test_a_server_killed_20_times_stores_each_message_once(tmp_path: Path) -> None:
    """100,000 messages with ADD, which would double a value if one were taken twice."""
    mona = Mona(tmp_path / "data")
    client = mona.client(background=True, flush_interval=0.05, max_retries=1000, read_timeout=5)
    kills, stop, chance = 0, threading.Event(), random.Random(1)

    def killer() -> None:
        nonlocal kills
        while kills < 20 and not stop.is_set():
            stop.wait(chance.uniform(0.2, 1.0))
            mona.stop(signal.SIGKILL)
            mona.start()
            kills += 1

    thread = threading.Thread(target=killer)
    thread.start()
    now = int(time.time())
    for number in range(100_000):
        message = MonaSingleMessage(
            message={"n": 1}, contextClass="KILLED", contextId=f"k-{number % 20_000}", action="ADD", exportTimestamp=now
        )
        while not client.export(message):
            time.sleep(0.01)
        if number % 5_000 == 0:
            time.sleep(1.0)  # so that the messages last as long as the kills
    thread.join()
    assert client.flush(120)
    reader = mona.client()

    def rows() -> Any:
        return reader.get_ingested_data_for_a_specific_segment("KILLED", now - 10, now + 10, {}, 100_000)["data"]

    wait_until(lambda: len(rows() or ()) == 20_000 and all(row["message"]["n"] == [1] * 5 for row in rows()), 120)
    assert client.stats()["sent"] == 100_000
    assert kills == 20
    client.close()
    mona.stop()
