"""What tests of all rooms call: waiting for a condition, and a whole server in processes of its own."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mona_server.cli import up

PATIENCE_S = 180
"""How long a test waits for what must come. Only a failure takes so long; a slow machine that others use too does not fail."""

_PORTS = itertools.count(os.getpid() * 3_779)
"""Two runs of the tests beside each other begin at different ones."""

PUBLISHED_VERSE = {
    "type": "AverageDrift",
    "metrics": ["offered_amount"],
    "segment_by": ["purpose"],
    "baseline_segment": {"stage": [{"value": "inference"}]},
    "min_anomaly_level": 0.1,
    "min_segment_size": 500,
    "benchmark_min_segment_size": 100,
    "target_set_period": "2w",
    "benchmark_set_period": "6w",
    "max_false_discovery_rate": 1,
}
"""The verse that found the published insight of the tutorial."""


def read_gzip_lists(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*.gzip")):
        with gzip.open(file) as stream:
            rows += json.load(stream)
    return rows


def eventually(true: Callable[[], bool], *, timeout_s: float = PATIENCE_S, why: str = "did not happen in time") -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def free_port() -> int:
    """A port of 127.0.0.1 for a server to be started: below those that the system gives to connections."""
    while True:
        port = 20_000 + next(_PORTS) % 10_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class RunningServer:
    """``mona up`` in a process group of its own."""

    data: Path
    port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mona_server.cli", "up", "--data", str(self.data), "--port", str(self.port)],
            env=os.environ | self.environment,
            start_new_session=True,
        )
        up.wait_until_healthy(self.url, timeout_s=PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL to every process at once: what a power cut looks like from the inside."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE_S)

    def token(self, role: str = "Admin") -> dict[str, str]:
        """A new API token, made by the command line: ``client_id``, ``secret``, ``user_id``."""
        done = subprocess.run(
            [sys.executable, "-m", "mona_server.cli", "token", "create", "--data", str(self.data), "--role", role, "--json"],
            capture_output=True, check=True, env=os.environ | self.environment,
        )  # fmt: skip
        answer: dict[str, str] = json.loads(done.stdout)
        return answer
