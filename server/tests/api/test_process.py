"""The api part as a process runs it: it binds, serves pages and programs, and stops when told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mona_server import settings as settings_module
from mona_server.api import process
from mona_server.errors import Conflict
from tests.api.conftest import Api
from tests.support import PATIENCE_S, eventually, free_port


def status(url: str, method: str = "GET") -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


@contextlib.contextmanager
def serving(data_dir: Path, **server: str) -> Iterator[str]:
    """The process over this data directory, in a thread; the ``host:port`` that it binds. It must end when told to."""
    port = free_port()
    settings = settings_module.load(data_dir, environ={}, server={"port": port, **server})
    stop = threading.Event()
    thread = threading.Thread(target=process.serve, args=(settings, stop))
    thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_serves_until_told_to_stop(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It answers health, says how the first Admin signs in, gives pages beside services, and ends cleanly."""
    with serving(tmp_path) as address:
        url = f"http://{address}"
        eventually(lambda: status(f"{url}/health") == 200)
        assert status(f"{url}/ready") == 200
        assert status(f"{url}/sign-in") == 200
        assert status(f"{url}/configs", "POST") == 401
        assert status(f"{url}/export", "GET") == 405
        assert f"{url}/activate?link=" in capfd.readouterr().err


def test_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    """Another program on the port: an error that names address and reason, before anything else is opened."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = settings_module.load(tmp_path / "data", environ={}, server={"port": port})
        with pytest.raises(Conflict, match=f"cannot listen on 127.0.0.1:{port}"):
            process.serve(settings, threading.Event())
    assert not (tmp_path / "data").exists()


def test_own_tls(tmp_path: Path) -> None:
    """With a certificate and its key in the settings the server speaks TLS by itself, and says so for a year."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    with serving(tmp_path / "data", tls_cert=str(pem), tls_key=str(secret)) as address:
        trusted = httpx.Client(verify=ssl.create_default_context(cafile=str(pem)), timeout=PATIENCE_S)
        answers: list[httpx.Response] = []

        def answered() -> bool:
            with contextlib.suppress(httpx.TransportError):
                answers.append(trusted.get(f"https://{address}/health"))
            return bool(answers)

        eventually(answered)
        assert answers[0].status_code == 200
        assert "strict-transport-security" in answers[0].headers
        trusted.close()


def test_behind_a_proxy_each_visitor_is_limited_alone(tmp_path: Path) -> None:
    """A proxy on this machine tells whose request it brings: one visitor who guesses does not lock the others out."""
    with serving(tmp_path) as address:
        url = f"http://{address}"
        eventually(lambda: status(f"{url}/health") == 200)
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as proxy:

            def guess(address: str, number: int) -> int:
                body = {"clientId": f"mona_{number}", "secret": "guess"}
                headers = {"X-Forwarded-For": address}
                return proxy.post("/identity/resources/auth/v1/api-token", json=body, headers=headers).status_code

            assert [guess("203.0.113.1", number) for number in range(11)] == [401] * 10 + [429]
            assert guess("203.0.113.2", 11) == 401


def test_health_fails_when_a_part_fails(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load balancer sends nobody to a server that cannot accept or cannot query; what fails is named, not why."""
    assert api.get("/health", token={}).json()["failures"] == []

    def broken(*_: object) -> None:
        raise RuntimeError("a path and other secrets")

    monkeypatch.setattr(api.edge.reader.engine, "rows", broken)
    monkeypatch.setattr(api.store.inbox, "check", broken)
    answer = api.get("/health", token={})
    assert answer.status_code == 503
    assert answer.json()["failures"] == ["accept: RuntimeError", "query: RuntimeError"]
    assert api.get("/ready", token={}).status_code == 503
