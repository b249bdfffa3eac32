"""The README does what it says: its code runs as it stands against a server, its commands exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from mona_server.cli.commands import app
from tests.support import RunningServer, eventually

README = Path(__file__).resolve().parents[3] / "README.md"


def test_the_code_of_the_readme_runs(
    start_server: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent, labelled later, configured: the context is there with its built field."""
    server = start_server()
    token = server.token()
    monkeypatch.setenv("MONA_SDK_SERVER_URL", server.url)
    names: dict[str, Any] = {"api_key": token["client_id"], "secret": token["secret"]}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)

    def built() -> dict[str, Any]:
        now = names["time"].time()
        answer = names["client"].get_ingested_data_for_a_specific_segment("LOAN", now - 3600, now + 3600, {})
        contexts = answer["data"] or []
        return dict(contexts[0]["fields"]) if contexts else {}

    eventually(lambda: built().get("score") == 0.71, why="the field was not built")
    assert built()["paid_back"] is True


def test_the_commands_of_the_readme_exist() -> None:
    """Every `mona …` in the README is a command of the program."""
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:`|^|\s)mona ([a-z]+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert named
    assert named <= known, named - known
