"""One HTTP call on a kept connection, on top of urllib3.

The module stands where the original has the library `requests` (as `mona_sdk.client.requests`), because programs
patch `mona_sdk.client.requests.request` in their tests. It offers that one function and the exceptions of it.
Connections are kept per thread and host, and dropped after 30 idle seconds, when the process has forked, or when the
server has closed them.
"""

from __future__ import annotations

import contextlib
import io
import json as json_module
import os
import threading
import time
import weakref
import zlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Optional, Union

IDLE_SECONDS = 30.0
MAX_REDIRECTS = 5
# Bodies above this are not worth a copy to send them together with the head.
HELD_WITH = 65_536


class RequestFailed(OSError):
    """No answer: the connection was refused, broke, or spoke no HTTP."""


class RequestTimeout(RequestFailed):
    """No answer within the limits of the call."""


class BadRequest(ValueError):
    """The call cannot be made at all: a bad address or header. Repeating it is useless."""


exceptions = SimpleNamespace(
    RequestException=RequestFailed, ConnectionError=RequestFailed, Timeout=RequestTimeout, JSONDecodeError=ValueError
)


class Limits(tuple):  # type: ignore[type-arg]
    """`(connect, read)` in seconds, as `requests` takes it, plus the moment (monotonic) when the whole call ends."""

    deadline: float

    def __new__(cls, connect: float, read: float, deadline: Optional[float] = None) -> Limits:
        """`deadline` defaults to connect + read from now."""
        self = super().__new__(cls, (connect, read))
        self.deadline = time.monotonic() + connect + read if deadline is None else deadline
        return self


class Response:
    """An answer: `status_code`, `headers` (any case), `content`, `text`, `json()`, `ok` (2xx)."""

    __slots__ = ("connected", "content", "headers", "ok", "status_code")

    def __init__(self, status_code: int, headers: Mapping[str, str], content: bytes, connected: int = 0) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content
        self.ok = 200 <= status_code < 300
        self.connected = connected

    @property
    def text(self) -> str:
        """The body as text; bytes that are no UTF-8 are replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON; ValueError when it is none."""
        return json_module.loads(self.content.decode("utf-8"))


class _ThreadState(threading.local):
    """What belongs to one thread: its connections, and the call it is in."""

    def __init__(self) -> None:
        self.manager: Any = None
        self.pid = 0
        self.last_call = 0.0
        self.deadline = 0.0
        self.connected = 0


_state = _ThreadState()
_stack: Any = None
loading = threading.Lock()


def request(method: str, url: str, **kwargs: Any) -> Response:
    """Send one request and read the whole answer.

    `data` is a body (bytes, text, or a dict of form fields), `json` an object, `timeout` seconds, `(connect, read)` or
    Limits. Redirects are followed only for 307 and 308 to the same host. Raises RequestFailed or BadRequest.
    """
    headers = dict(kwargs.get("headers") or {})
    body = _body(kwargs.get("data"), kwargs.get("json"), headers)
    limits = _limits(kwargs.get("timeout"))
    for _ in range(MAX_REDIRECTS):
        response = _call(method, url, body, headers, limits)
        if response.status_code not in (307, 308):
            return response
        target = _same_host_redirect(url, response.headers.get("location", ""))
        if target is None:
            return response
        url = target
    raise BadRequest("too many redirects")


def close_idle() -> None:
    """Close the kept connections of the calling thread."""
    if _state.manager is not None and _state.pid == os.getpid():
        _state.manager.clear()


def connections_opened() -> int:
    """How many connections the calling thread has opened so far."""
    return _state.connected


def _body(data: Any, json: Any, headers: dict[str, str]) -> bytes:
    if json is not None:
        headers.setdefault("Content-Type", "application/json")
        return json_module.dumps(json).encode()
    if isinstance(data, Mapping):
        from urllib.parse import urlencode

        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        return urlencode(data).encode()
    if isinstance(data, str):
        return data.encode()
    return data or b""


def _limits(timeout: Union[Limits, tuple[float, float], float, None]) -> Limits:
    if isinstance(timeout, Limits):
        return timeout
    if timeout is None:
        return Limits(3, 10)
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return Limits(connect, read)


def _same_host_redirect(url: str, location: str) -> Optional[str]:
    from urllib.parse import urljoin, urlsplit

    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    try:
        same = (old.scheme, old.hostname, old.port) == (new.scheme, new.hostname, new.port)
    except ValueError:
        return None
    return target if same and location else None


def _call(method: str, url: str, body: bytes, headers: dict[str, str], limits: Limits) -> Response:
    stack = _load()
    now = time.monotonic()
    if now >= limits.deadline:
        raise RequestTimeout("the time for this call is over")
    manager = _manager(stack, now)
    _state.deadline = limits.deadline
    before = _state.connected
    for repeat in (False, True):
        opened = _state.connected
        try:
            pool, target = manager(url)
            status, answered, content = pool.exchange(method, target, body, headers, limits)
        except stack.TIMEOUTS as problem:
            raise RequestTimeout(_describe(problem)) from None
        except stack.BAD_ADDRESS as problem:
            raise BadRequest(f"unusable address or header: {type(problem).__name__}") from None
        except stack.FAILURES as problem:
            # A kept connection that the server has closed meanwhile says nothing about the server: once more, fresh.
            if not repeat and _state.connected == opened and time.monotonic() < limits.deadline:
                manager.clear()
                continue
            raise RequestFailed(_describe(problem)) from None
        except ValueError as problem:
            raise BadRequest(f"unusable address or header: {type(problem).__name__}") from None
        return Response(status, answered, content, _state.connected - before)
    raise AssertionError("unreachable")


def _describe(problem: BaseException) -> str:
    """The kind of a failure and its innermost reason, without addresses that could carry credentials."""
    reason: Any = problem
    while getattr(reason, "reason", None) is not None and isinstance(reason.reason, BaseException):
        reason = reason.reason
    cause = reason.__cause__ or reason.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return f"{type(problem).__name__}: {cause.strerror}"
    return type(reason).__name__


def _manager(stack: Any, now: float) -> Any:
    if _state.manager is None or _state.pid != os.getpid():
        _state.manager, _state.pid = stack.Manager(), os.getpid()
    elif now - _state.last_call > IDLE_SECONDS:
        _state.manager.clear()
    _state.last_call = now
    return _state.manager


def _load() -> Any:
    """urllib3 and what is built on it, at the first call: it takes longer to import than all of this package."""
    global _stack
    if _stack is None:
        with loading:
            if _stack is None:
                _stack = _build()
    return _stack


def _build() -> Any:
    import http.client
    import socket
    from urllib import request as proxy_settings
    from urllib.parse import urlsplit

    import urllib3
    from urllib3 import connection, connectionpool, response, util
    from urllib3 import exceptions as errors

    class DeadlineReader(io.RawIOBase):
        """The socket as a file whose every read is limited by the end of the whole call, so that a server which
        sends one byte now and then cannot hold the caller."""

        def __init__(self, sock: Any, raw: Any, read_timeout: float) -> None:
            self._sock, self._raw, self._read_timeout = sock, raw, read_timeout
            self.ended = False

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> Optional[int]:
            left = _state.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the time for this call is over")
            self._sock.settimeout(min(left, self._read_timeout))
            count: Optional[int] = self._raw.readinto(buffer)
            self.ended = self.ended or count == 0
            return count

        def close(self) -> None:
            if not self.closed:
                self._raw.close()
            super().close()

    class DeadlineResponse(http.client.HTTPResponse):
        def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            timeout = sock.gettimeout()
            self._reader = DeadlineReader(sock, self.fp.detach(), timeout if timeout is not None else 1e9)
            self.fp = io.BufferedReader(self._reader)

        def begin(self) -> None:
            super().begin()
            if self._reader.ended:
                # http.client takes the end of the connection for the end of the headers: half an answer for a whole.
                raise http.client.RemoteDisconnected("the connection ended in the headers")

    class Counted:
        response_class: Any = DeadlineResponse
        sock: Any
        timeout: Any
        # urllib3's own looks for headers to skip, of which there are none here.
        putheader = http.client.HTTPConnection.putheader
        _holds = False
        _held = b""

        def connect(self) -> None:
            _state.connected += 1
            super().connect()  # type: ignore[misc]

        def exchange(self, method: str, target: str, body: bytes, headers: dict[str, str], read_s: float) -> Any:
            """One request and the head of its answer, by http.client's own means."""
            self.sock.settimeout(max(0.001, _state.deadline - time.monotonic()))
            self._holds, self._held = True, b""
            http.client.HTTPConnection.request(self, method, target, body, headers)  # type: ignore[arg-type]
            if self._held:
                self.send(b"")
            self.sock.settimeout(read_s)
            return http.client.HTTPConnection.getresponse(self)  # type: ignore[arg-type]

        def send(self, data: Any) -> None:
            """Head and body go out together: http.client writes one after the other, which wakes the reader twice."""
            if self._holds:
                self._holds, self._held = False, data
                return
            held, self._held = self._held, b""
            if held and len(data) > HELD_WITH:
                super().send(held)  # type: ignore[misc]
                held = b""
            super().send(held + data if held else data)  # type: ignore[misc]

    class PlainConnection(Counted, connection.HTTPConnection):
        pass

    class TlsConnection(Counted, connection.HTTPSConnection):
        pass

    class OneConnection:
        """A pool of urllib3 as the maker of one connection. `urlopen` of it would do the same and more, which is not
        used here (retries, redirects, streams), at twice the CPU time of the whole call."""

        is_tls = False
        proxy: Any
        proxy_headers: Any
        _kept: Any = None

        def exchange(
            self, method: str, target: str, body: bytes, headers: dict[str, str], limits: Limits
        ) -> tuple[int, Mapping[str, str], bytes]:
            connection = self._kept
            if connection is None:
                connection = self._kept = self._new_conn()  # type: ignore[attr-defined]
                weakref.finalize(self, connection.close)
            try:
                if connection.sock is not None and util.is_connection_dropped(connection):
                    connection.close()
                if connection.sock is None:
                    connection.timeout = min(limits[0], max(0.001, _state.deadline - time.monotonic()))
                    if self.proxy is not None and self.is_tls:
                        self._prepare_proxy(connection)  # type: ignore[attr-defined]
                    else:
                        connection.connect()
                if self.proxy_headers and not self.is_tls:
                    headers = {**headers, **self.proxy_headers}
                answer = connection.exchange(method, target, body, headers, limits[1])
                content = answer.read()
                answered = response.HTTPHeaderDict(answer.headers.items())  # type: ignore[attr-defined]
                if "gzip" in answered.get("content-encoding", ""):
                    content = zlib.decompress(content, 31)
            except BaseException:
                connection.close()
                raise
            return answer.status, answered, content

        def close(self) -> None:
            if self._kept is not None:
                self._kept.close()
            super().close()  # type: ignore[misc]

    class PlainPool(OneConnection, connectionpool.HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(OneConnection, connectionpool.HTTPSConnectionPool):
        ConnectionCls = TlsConnection
        is_tls = True

    proxies = proxy_settings.getproxies_environment()
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    tls: dict[str, Any] = {}
    if bundle:
        tls["ca_cert_dir" if os.path.isdir(bundle) else "ca_certs"] = bundle

    class Manager:
        """The pools of one thread; `manager(url)` is the one for an address, through a proxy where one is set, and
        what to ask it for."""

        def __init__(self) -> None:
            self._direct = self._prepared(urllib3.PoolManager(num_pools=16, **tls))
            self._proxied: dict[str, Any] = {}
            self._known: dict[str, tuple[Any, str]] = {}

        def __call__(self, url: str) -> tuple[Any, str]:
            known = self._known.get(url)
            if known is None:
                manager = self._through(url)
                target = util.parse_url(url)
                whole = manager is not self._direct and target.scheme == "http"
                known = manager.connection_from_url(url), url if whole else target.request_uri
                if len(self._known) < 256:
                    self._known[url] = known
            return known

        def _through(self, url: str) -> Any:
            parts = urlsplit(url)
            proxy = proxies.get(parts.scheme) or proxies.get("all")
            if not proxy or proxy_settings.proxy_bypass_environment(parts.hostname or "", proxies):  # type: ignore[attr-defined]
                return self._direct
            if proxy not in self._proxied:
                self._proxied[proxy] = self._prepared(urllib3.ProxyManager(proxy, num_pools=16, **tls))
            return self._proxied[proxy]

        @staticmethod
        def _prepared(manager: Any) -> Any:
            manager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
            return manager

        def clear(self) -> None:
            self._known.clear()
            for manager in (self._direct, *self._proxied.values()):
                with contextlib.suppress(OSError):
                    manager.clear()

    return SimpleNamespace(
        Manager=Manager,
        # With OSError come those of TLS; a refused certificate is a ValueError too.
        FAILURES=(errors.HTTPError, http.client.HTTPException, OSError, zlib.error),
        # In Python 3.9 a socket's time limit is an error of its own.
        TIMEOUTS=(errors.TimeoutError, TimeoutError, socket.timeout),
        BAD_ADDRESS=errors.LocationValueError,
    )
