"""A small real HTTP server on a real socket, which the tests and benchmarks of the SDK talk to.

It speaks enough HTTP/1.1 (keep-alive, Content-Length, gzip) to be a Mona server, records what arrived, and can be
told to misbehave: an answer may be a callable that gets the naked socket.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import random
import socket
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union
from urllib.parse import parse_qsl

TOKEN_PATH = "/identity/resources/auth/v1/api-token"
REFRESH_PATH = TOKEN_PATH + "/token/refresh"
OIDC_PATH = "/oauth/token"


def make_token(tenant: str = "tenant-1", **claims: Any) -> str:
    """An unsigned JWT; the client never checks signatures."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'tenantId': tenant, **claims})}.c2ln"


@dataclass
class Request:
    """One request as it arrived; `json` is the decoded body (or None), `form` an OIDC form."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        """The body as JSON, whatever its encoding; None when it is none."""
        raw, encoding = self.body, self.headers.get("content-encoding")
        if encoding == "gzip":
            raw = gzip.decompress(raw)
        elif encoding == "zstd":
            import zstandard

            raw = zstandard.ZstdDecompressor().decompress(raw)
        try:
            return json.loads(raw)
        except ValueError:
            return None

    @property
    def form(self) -> dict[str, str]:
        """The body as form fields."""
        return dict(parse_qsl(self.body.decode()))


@dataclass
class Answer:
    """An HTTP answer: `body` is JSON unless it is bytes."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Raw = Callable[[socket.socket], None]
Handler = Callable[[Request], Union[Answer, Raw, None]]


def always(status: int, body: Any = None, headers: Optional[dict[str, str]] = None) -> Handler:
    """A handler that gives the same answer to everything."""
    return lambda _: Answer(status, body, headers or {})


def hang(until: threading.Event) -> Handler:
    """A handler that is silent until the event (a minute at most), and then drops the connection."""

    def handler(_: Request) -> None:
        until.wait(60)

    return handler


def accept_all(request: Request) -> Answer:
    """What a server says that takes every message."""
    body = request.json
    total = len(body["messages"])
    return Answer(200, {"total": total, "failed": 0, "sent": total, "failure_reasons": {}})


class Keeper:
    """The handler of a server that keeps idempotency keys over restarts, as ours does, and loses some of its answers."""

    def __init__(self, *, lost_answers: float, seed: int) -> None:
        """`lost_answers` is the share of requests whose messages are stored and whose connection then breaks."""
        self.stored: Counter[str] = Counter()
        """Context id → how often it was stored."""
        self._keys: set[str] = set()
        self._lost_answers, self._chance = lost_answers, random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Optional[Answer]:
        with self._lock:
            if request.headers["idempotency-key"] not in self._keys:
                self._keys.add(request.headers["idempotency-key"])
                self.stored.update(message["contextId"] for message in request.json["messages"])
            lost = self._chance.random() < self._lost_answers
        return None if lost else accept_all(request)


class RecordingServer:
    """Listens on 127.0.0.1; routes by path; keeps every request and every accepted message.

    `routes[path]` is a handler; unknown paths answer 404. `connections` counts accepted sockets, `bytes_received`
    what came over the wire. Use as a context manager.
    """

    def __init__(
        self,
        *,
        announce: bool = False,
        tls: Optional[ssl.SSLContext] = None,
        keep_requests: bool = True,
        delay_s: float = 0.0,
        port: int = 0,
        routes: Optional[dict[str, Handler]] = None,
    ) -> None:
        self.announce, self.tls, self.keep_requests, self.delay_s = announce, tls, keep_requests, delay_s
        self.requests: list[Request] = []
        self.connections = 0
        self.bytes_received = 0
        self.tokens_issued = 0
        self.expires_in: Optional[float] = 86400
        self.routes: dict[str, Handler] = {
            TOKEN_PATH: self.issue_token,
            REFRESH_PATH: self.issue_token,
            OIDC_PATH: self.issue_oidc_token,
            **dict.fromkeys(("/export", "/sendEvent", "/monaExport", "/monaSendEvent"), accept_all),
            **(routes or {}),
        }
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512, reuse_port=False)
        self.port: int = self._listener.getsockname()[1]
        self._closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Base address."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def sends(self) -> list[Request]:
        """Requests to the sending paths, in order of arrival."""
        return [r for r in list(self.requests) if "xport" in r.path or "endEvent" in r.path]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every message that arrived, in order."""
        return [message for request in self.sends for message in request.json["messages"]]

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [request.path for request in list(self.requests)]

    def issue_token(self, request: Request) -> Answer:
        """A token answer of the right form, for any credentials but the secret `wrong`."""
        body = request.json or {}
        if body.get("secret", "x") in ("wrong", "", None) or body.get("clientId", "x") in ("", None):
            return Answer(401, {"errors": ["Invalid credentials"]})
        self.tokens_issued += 1
        answer: dict[str, Any] = {
            "accessToken": make_token(n=self.tokens_issued),
            "refreshToken": f"refresh-{self.tokens_issued}",
        }
        if self.expires_in is not None:
            answer["expiresIn"] = self.expires_in
        return Answer(200, answer)

    def issue_oidc_token(self, request: Request) -> Answer:
        """The answer of an OIDC provider."""
        if request.form.get("client_secret") == "wrong":
            return Answer(401, {"errors": ["invalid_client"]})
        self.tokens_issued += 1
        return Answer(200, {"access_token": f"oidc-{self.tokens_issued}", "expires_in": 86400, "token_type": "Bearer"})

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._closing = True
        # A thread blocked in accept() holds the listener open until it is shut down.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut every open connection, as a restart does."""
        with self._lock:
            sockets = list(self._open)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> RecordingServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                number = self.connections
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            with self._lock:
                self._open.add(sock)
            buffer = b""
            while True:
                request, buffer = self._read(sock, buffer, number)
                if request is None or not self._answer(sock, request):
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _read(self, sock: socket.socket, buffer: bytes, number: int) -> tuple[Optional[Request], bytes]:
        while b"\r\n\r\n" not in buffer:
            chunk = sock.recv(65536)
            if not chunk:
                return None, b""
            buffer += chunk
        head, _, rest = buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        parts, have = [rest], len(rest)
        while have < length:
            chunk = sock.recv(min(1 << 20, length - have))
            if not chunk:
                return None, b""
            parts.append(chunk)
            have += len(chunk)
        body = b"".join(parts) if len(parts) > 1 else rest
        method, path, _ = first.split(" ")
        request = Request(method, path, headers, body[:length], number)
        with self._lock:
            self.bytes_received += len(head) + 4 + length
            if self.keep_requests:
                self.requests.append(request)
        return request, body[length:]

    def _answer(self, sock: socket.socket, request: Request) -> bool:
        if self.delay_s:
            threading.Event().wait(self.delay_s)
        handler = self.routes.get(request.path)
        answer = handler(request) if handler is not None else Answer(404, {"error_message": "no such path"})
        if answer is None:
            return False
        if not isinstance(answer, Answer):
            answer(sock)
            return False
        send(sock, answer, announce=self.announce)
        return True


def send(sock: socket.socket, answer: Answer, *, announce: bool = False) -> None:
    """Write one answer."""
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    headers = {"Content-Length": str(len(body)), "Content-Type": "application/json", **answer.headers}
    if announce:
        headers = {"X-Mona-Server": "1.0.0", "Accept-Encoding": "gzip, zstd", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sock.sendall(f"HTTP/1.1 {answer.status} Status\r\n{lines}\r\n".encode("latin-1") + body)
