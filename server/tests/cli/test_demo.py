"""``mona demo``: the command as people and checks call it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mona_server.cli import demo_run
from mona_server.errors import BadRequest
from tests.support import PATIENCE_S, free_port


def mona(*arguments: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mona_server.cli", *arguments],
        capture_output=True, text=True, timeout=timeout_s, env=os.environ | {"NO_COLOR": "1"},
    )  # fmt: skip


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    """The demo starts from nothing, and never writes into what somebody has: one line, code 2."""
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    ended = mona("demo", "--exit", "--data", str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.strip().startswith(f"mona: {tmp_path} is not empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_a_busy_port_is_said(tmp_path: Path) -> None:
    """A port that was asked for and is taken ends the demo with one line; none asked for: another one is taken."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        ended = mona("demo", "--exit", "--data", str(tmp_path / "data"), "--port", str(holder.getsockname()[1]))
    assert ended.returncode == 1
    assert "cannot listen" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert demo_run.free_port() > 0


def test_a_temporary_directory_is_gone_afterwards() -> None:
    """Without --data nothing is left behind, also when it fails in between."""
    kept: list[Path] = []

    def fail_in_between() -> None:
        with demo_run.data_directory(None) as made:
            kept.append(made)
            assert (made / "mona.toml").exists()
            raise BadRequest("stop here")

    with pytest.raises(BadRequest):
        fail_in_between()
    assert not kept[0].exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_demo(tmp_path: Path) -> None:
    """Exit code 0 and one JSON object: every message arrived, and the fog of 5 December is the first insight, to the digit."""
    ended = mona(
        "demo", "--exit", "--json", "--data", str(tmp_path / "data"), "--port", str(free_port()), timeout_s=590
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    told: dict[str, Any] = json.loads(ended.stdout)
    assert (told["messages"], told["contexts"], told["failed"]) == (166_901, 84_292, 0)
    fog = told["insights"][0]
    assert fog["day_2013"] == "2013-12-05"
    assert fog["segment"] == {"carrier": [{"value": "EV"}]}
    assert fog["metric"] == "arrival_delay"
    assert fog["level"] == pytest.approx(4.216177209898609, rel=1e-9)
    assert [one["day_2013"] for one in told["insights"] if one["urgency"] == "high"] == ["2013-12-05"]
    newark = {"carrier": [{"value": "EV"}], "origin": [{"value": "EWR"}]}
    assert {one["day_2013"] for one in told["insights"] if one["segment"] == newark} == {"2013-11-03", "2013-12-29"}
    assert len(told["insights"]) == 10
    assert told["seconds"]["total"] < 300
