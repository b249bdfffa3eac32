"""The public clients of the package registry, each in an environment of its own, and a server that they call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support import RunningServer

NEW, OLD = "0.0.58", "0.0.11"
DRIVER = Path(__file__).with_name("driver.py")
CACHE = Path(os.environ.get("MONA_COMPAT_CACHE", Path(sys.prefix) / "public-clients"))
UNREACHABLE = ("from versions: none", "NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "ProxyError")
"""What the installer says when it could not ask the registry at all."""

Call = list[Any]


@cache
def installed(version: str) -> Path | None:
    """The interpreter of an environment that has this public client, made when it is not there.

    None where the registry cannot be reached.
    """
    folder = CACHE / f"{version}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "2"]
        done = subprocess.run([*install, f"mona_sdk=={version}"], capture_output=True, text=True, check=False)
        if done.returncode and any(sign in done.stderr for sign in UNREACHABLE):
            return None
        assert done.returncode == 0, done.stderr[-3000:]
        (folder / "ready").touch()
    return python


def python_of(version: str) -> Path:
    python = installed(version)
    if python is None:
        pytest.skip(f"the package registry, from which mona_sdk {version} is installed, cannot be reached")
    return python


class Site:
    """A running server and one Admin key, called by public clients."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.key = server.token()

    def arguments(self, version: str, **other: Any) -> dict[str, Any]:
        """Constructor arguments that lead a client here. The old one has fixed hosts; the driver leads it."""
        given: dict[str, Any] = {"api_key": self.key["client_id"], "secret": self.key["secret"]}
        if version == NEW:
            auth = self.server.url + "/identity/resources/auth/v1/api-token"
            given |= {
                "auth_api_token_url": auth,
                "refresh_token_url": auth + "/token/refresh",
                "override_rest_api_full_url": self.server.url + "/export",
                "override_app_server_full_url": self.server.url,
            }
        return given | other

    def drive(
        self,
        version: str,
        calls: list[Call],
        *,
        client: dict[str, Any] | None = None,
        threads: int = 1,
        asynchronous: bool = False,
    ) -> list[Any]:
        """What the calls gave: results; an exception of the client fails the test."""
        given = self.arguments(version) if client is None else client
        asked = {"server": self.server.url, "client": given, "calls": calls, "threads": threads, "async": asynchronous}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MONA_", "PYTHON"))}
        done = subprocess.run(
            [str(python_of(version)), str(DRIVER)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            env=clean,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        outcomes = json.loads(done.stdout)
        for call, outcome in zip(calls, outcomes, strict=True):
            assert "error" not in outcome, (call, outcome)
        return [outcome["result"] for outcome in outcomes]
