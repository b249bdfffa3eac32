"""The HTTP layer: TLS, proxies, encoded answers, and what goes over the wire (Q2, Q23)."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.delivery import connections, http
from mona_sdk.tests.certificates import make_certificate
from mona_sdk.tests.conftest import a_message
from mona_sdk.tests.servers import Answer, RecordingServer, accept_all

NO_TOKEN: dict[str, Any] = {"access_token": "token", "user_id": "U", "max_retries": 0}


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read anew, as by a program that starts: proxies and certificates are looked up once."""
    monkeypatch.setattr(http.this_thread, "manager", None)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of 127.0.0.1, which nobody has signed."""
    path = tmp_path / "server.pem"
    path.write_bytes(make_certificate())
    return path


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[RecordingServer]:
    """A server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with RecordingServer(tls=context) as running:
        yield running


def tunnel_to(port: int) -> Callable[[Any], Any]:
    """A handler of CONNECT that joins the asker with 127.0.0.1:port."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def join(asker: socket.socket) -> None:
        asker.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=pump, args=(server, asker), daemon=True)
            back.start()
            pump(asker, server)
            back.join()

    return lambda _: join


@pytest.mark.usefixtures("fresh")
def test_a_certificate_is_checked(
    tls_server: RecordingServer, certificate: Path, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is in no bundle is refused, and nothing is sent; one in `REQUESTS_CA_BUNDLE` is good."""
    client = make_client(server_url=tls_server.url, **NO_TOKEN)
    result = client.export_batch([a_message()])
    assert result["failure_reasons"]["0"].endswith(": SSLCertVerificationError")
    assert tls_server.requests == []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(http.this_thread, "manager", None)
    connections = tls_server.connections
    for number in range(10):
        assert client.export(a_message(number))
    assert tls_server.connections == connections + 1
    assert client.stats()["connections"] == 2


@pytest.mark.usefixtures("fresh")
def test_a_proxy_forwards(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the whole address, over one kept connection; hosts of `NO_PROXY` are asked directly."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.routes["http://mona.invalid/export"] = accept_all
    client = make_client(server_url="http://mona.invalid", **NO_TOKEN)
    assert client.export(a_message(1))
    assert client.export(a_message(2))
    assert server.paths() == ["http://mona.invalid/export"] * 2
    assert server.requests[0].headers["host"] == "mona.invalid"
    assert server.connections == 1
    with RecordingServer() as direct:
        assert make_client(server_url=direct.url, **NO_TOKEN).export(a_message(3))
        assert direct.paths() == ["/export"]


@pytest.mark.usefixtures("fresh")
def test_a_proxy_tunnels_tls(
    server: RecordingServer,
    tls_server: RecordingServer,
    certificate: Path,
    make_client: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It sees CONNECT and nothing else; the token stays between client and server."""
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server.routes[f"127.0.0.1:{tls_server.port}"] = tunnel_to(tls_server.port)
    client = make_client(server_url=tls_server.url, **NO_TOKEN)
    assert client.export(a_message(1))
    assert client.export(a_message(2))
    assert [(request.method, "authorization" in request.headers) for request in server.requests] == [("CONNECT", False)]
    assert [request.headers["authorization"] for request in tls_server.sends] == ["Bearer token"] * 2


@pytest.mark.usefixtures("fresh")
def test_a_proxy_that_is_away_is_a_failed_connection(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For both schemes."""
    server.close()
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    for scheme in ("http", "https"):
        client = make_client(server_url=f"{scheme}://mona.invalid", **NO_TOKEN)
        assert "NewConnectionError" in client.export_batch([a_message()])["failure_reasons"]["0"]


def test_a_compressed_answer_is_read(server: RecordingServer) -> None:
    """Nobody asked for it, but a proxy on the way may do it."""
    body = gzip.compress(b'{"some": "answer"}')
    server.routes["/x"] = lambda _: Answer(200, body, {"Content-Encoding": "gzip"})
    assert http.request("POST", f"{server.url}/x").json() == {"some": "answer"}


@pytest.mark.parametrize("size", [0, 10, connections.HELD_WITH, connections.HELD_WITH + 1, 5_000_000])
def test_bodies_of_any_size_arrive_whole(server: RecordingServer, size: int) -> None:
    """Whether they are sent with the head or after it."""
    server.routes["/x"] = lambda _: Answer(200, {})
    body = bytes(size)
    for _ in range(2):
        assert http.request("POST", f"{server.url}/x", data=body).ok
    assert [request.body for request in server.requests] == [body, body]
    assert server.connections == 1


def test_head_and_body_leave_together(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small request is one packet."""
    sent: list[int] = []
    server.routes["/x"] = lambda _: Answer(200, {})
    http.request("POST", f"{server.url}/x", data=b"first")
    (pool, _) = http.this_thread.manager.find(f"{server.url}/x")
    connection = pool.kept

    class Socket:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def sendall(self, data: bytes) -> None:
            sent.append(len(data))
            real.sendall(data)

    real = connection.sock
    monkeypatch.setattr(connection, "sock", Socket())
    assert http.request("POST", f"{server.url}/x", data=b"second").ok
    assert len(sent) == 1
