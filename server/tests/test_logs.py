"""What reaches the log: one line of JSON, no secret, no local variable of a traceback."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import structlog
from mona_server import logs
logs.configure("test")
log = structlog.get_logger()
def work(message_value):
    raise ValueError("no number")
try:
    work("a-customer's-word")
except ValueError:
    log.exception("work failed", api_token="abc123")
"""


def test_a_crash_is_logged_without_values_and_secrets() -> None:
    """The traceback names places, never the variables in them; keys that look like secrets are masked."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    (line,) = done.stderr.strip().splitlines()
    event = json.loads(line)
    assert event["event"] == "work failed"
    assert event["process"] == "test"
    assert "no number" in event["exception"]
    assert "customer" not in line
    assert "abc123" not in line
