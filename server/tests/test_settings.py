"""Settings come from the file and the environment, and a typing error is found at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from mona_server import settings
from mona_server.errors import BadRequest


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """`mona.toml` is read, and a variable of the same setting replaces it."""
    (tmp_path / "mona.toml").write_text("[server]\nport = 1000\n[auth]\nallow_no_auth = true\n")
    read = settings.load(tmp_path, environ={"MONA_SERVER_SERVER_PORT": "2000"})
    assert (read.server.port, read.auth.allow_no_auth) == (2000, True)


def test_the_command_line_wins_over_all(tmp_path: Path) -> None:
    """A given option replaces both; one that was not given replaces nothing."""
    read = settings.load(tmp_path, environ={"MONA_SERVER_SERVER_PORT": "2000"}, server={"port": 3, "host": None})
    assert (read.server.port, read.server.host) == (3, "127.0.0.1")


@pytest.mark.parametrize(
    ("environ", "hint"),
    [
        ({"MONA_SERVER_ENGINE_KINDD": "duckdb"}, "did you mean kind"),
        ({"MONA_SERVER_ENGIN_KIND": "duckdb"}, "did you mean engine"),
        ({"MONA_SERVER_ENGINE_KIND": "oracle"}, "engine.kind"),
    ],
)
def test_unknown_keys_and_bad_values_are_errors_with_a_hint(environ: dict[str, str], hint: str, tmp_path: Path) -> None:
    """Nothing that somebody set is silently ignored."""
    with pytest.raises(BadRequest, match=hint):
        settings.load(tmp_path, environ=environ)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """The error carries the path and the place in the file."""
    (tmp_path / "mona.toml").write_text("[server\n")
    with pytest.raises(BadRequest, match=r"mona\.toml is not TOML"):
        settings.load(tmp_path, environ={})
