"""One HTTP call on a kept connection, on top of urllib3.

The module stands where the original has the library `requests` (as `mona_sdk.client.requests`), because programs
patch `mona_sdk.client.requests.request` in their tests. It offers that one function and the exceptions of it.
Connections are kept per thread and host, and dropped after 30 idle seconds, when the process has forked, or when the
server has closed them.
"""

from __future__ import annotations

import json as json_module
import os
import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Optional, Union

IDLE_SECONDS = 30.0
MAX_REDIRECTS = 5


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


this_thread = _ThreadState()
_connections: Any = None
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
    if this_thread.manager is not None and this_thread.pid == os.getpid():
        this_thread.manager.clear()


def connections_opened() -> int:
    """How many connections the calling thread has opened so far."""
    return this_thread.connected


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
    connections = _load()
    now = time.monotonic()
    if now >= limits.deadline:
        raise RequestTimeout("the time for this call is over")
    manager = _manager(connections, now)
    this_thread.deadline = limits.deadline
    before = this_thread.connected
    for repeat in (False, True):
        opened = this_thread.connected
        try:
            pool, target = manager.find(url)
            status, answered, content = pool.exchange(method, target, body, headers, limits)
        except connections.TIMEOUTS as problem:
            raise RequestTimeout(_describe(problem)) from None
        except connections.BAD_ADDRESS as problem:
            raise BadRequest(f"unusable address or header: {type(problem).__name__}") from None
        except connections.FAILURES as problem:
            # A kept connection that the server has closed meanwhile says nothing about the server: once more, fresh.
            if not repeat and this_thread.connected == opened and time.monotonic() < limits.deadline:
                manager.clear()
                continue
            raise RequestFailed(_describe(problem)) from None
        except ValueError as problem:
            raise BadRequest(f"unusable address or header: {type(problem).__name__}") from None
        return Response(status, answered, content, this_thread.connected - before)
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


def _manager(connections: Any, now: float) -> Any:
    if this_thread.manager is None or this_thread.pid != os.getpid():
        this_thread.manager, this_thread.pid = connections.Manager(), os.getpid()
    elif now - this_thread.last_call > IDLE_SECONDS:
        this_thread.manager.clear()
    this_thread.last_call = now
    return this_thread.manager


def _load() -> Any:
    """The module that builds on urllib3, at the first call."""
    global _connections
    if _connections is None:
        with loading:
            from mona_sdk.delivery import connections

            _connections = connections
    return _connections
