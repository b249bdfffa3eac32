"""Requests that the server makes by itself: only http, only allowed addresses, bounded, without redirects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mona_server import outbound


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/away" else 200)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(b"x" * (3 * 2**20 if self.path == "/large" else 1))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "[::1]",
        "[fe80::1]",
        "0.0.0.0",
        "2130706433",
        "[::ffff:127.0.0.1]",
    ],
)
def test_private_addresses_are_refused(host: str) -> None:
    """Loopback, private, link-local and cloud metadata, in every spelling that a resolver takes."""
    with pytest.raises(outbound.Refused):
        outbound.get(f"http://{host}:9/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.com/", "gopher://x/", "//example.com", "x", ""])
def test_only_http(url: str) -> None:
    """Other schemes are refused, whatever is allowed."""
    with pytest.raises(outbound.Refused):
        outbound.get(url, allow_private=True)


def test_bounded_and_without_redirects(url: str) -> None:
    """An answer is cut at 1 MiB; a redirect is an answer like any other, nobody follows it."""
    assert len(outbound.get(f"{url}/large", allow_private=True).body) == 2**20
    answer = outbound.get(f"{url}/away", allow_private=True)
    assert (answer.status, answer.headers["location"]) == (302, "http://127.0.0.1:1/elsewhere")


def test_silence_ends(url: str) -> None:
    """An address where nobody listens: an error of ours that does not show the path."""
    with pytest.raises(outbound.Unreachable) as silent:
        outbound.get("http://127.0.0.1:1/s3cr3t-path", allow_private=True, timeout_s=1)
    assert "s3cr3t" not in str(silent.value)
