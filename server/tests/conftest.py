"""Fixtures for tests of all rooms: where the reference data lies, and a whole server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import RunningServer, free_port, read_gzip_lists

# A machine that others use too has no steady clock.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

REFERENCE = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of the specification with its data; tests that need it are skipped where it is absent."""
    if not REFERENCE.is_dir():
        pytest.skip("the folder shared/ with the reference data does not lie beside this checkout")
    return REFERENCE


@pytest.fixture(scope="session")
def inference_rows(reference: Path) -> list[dict[str, Any]]:
    """The 39,032 inference rows of the tutorial."""
    return read_gzip_lists(reference / "data/mona-tutorial/loans_inference_time_data")


@pytest.fixture(scope="session")
def feedback_rows(reference: Path) -> list[dict[str, Any]]:
    """The 26,281 feedback rows: the same ids, later."""
    return read_gzip_lists(reference / "data/mona-tutorial/loans_feedback_status")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """``start_server(**environment)`` starts a server on an empty data directory; all are ended after the test."""
    started: list[RunningServer] = []

    def start(**environment: str) -> RunningServer:
        server = RunningServer(tmp_path / f"data{len(started)}", free_port(), environment)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        if server.process is not None and server.process.poll() is None:
            server.kill()
