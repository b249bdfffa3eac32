"""What surrounds every request: its id, the headers of every answer, its log line, and the answer to a crash."""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mona_server import __version__
from mona_server.api.answers import UNREAD_PATHS, error_answer, family
from mona_server.api.body import Gone, read_body
from mona_server.api.guard import find_caller
from mona_server.api.work import ByteBudget
from mona_server.errors import MonaError
from mona_server.settings import Limits

log = structlog.get_logger("mona.http")

Observe = Callable[[str, str, int, float], None]
"""(method, path, status, seconds): called once for each request."""

CSP = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
SMALL_BODY = 64 * 1024
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
_SLOW_S = 5.0


class BoundedBodies:
    """Gives the application whole bodies, decompressed, within the same limits and budget as batches.

    Those of :data:`UNREAD_PATHS` are left to their routes.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, budget: ByteBudget) -> None:
        self._app = app
        self._limits = limits
        self._small = limits.model_copy(update={"max_body_bytes": SMALL_BODY, "max_compressed_bytes": SMALL_BODY})
        self._budget = budget

    async def _limits_for(self, scope: Scope, headers: dict[bytes, bytes]) -> Limits:
        """Strangers may send little: a larger body is not even read before its sender is known.

        Raises ``NotAuthenticated``.
        """
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) <= SMALL_BODY and b"content-encoding" not in headers:
            return self._limits
        path = scope["path"]
        if path.startswith("/api/v1/session") or family(scope["method"], path) in ("identity", "page"):
            return self._small
        await find_caller(Request(scope), {})
        return self._limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _BODILESS or scope["path"] in UNREAD_PATHS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            limits = await self._limits_for(scope, headers)
            async with read_body(receive, headers, limits, self._budget) as body:
                told = False

                async def whole() -> Message:
                    nonlocal told
                    if told:
                        return await receive()
                    told = True
                    return {"type": "http.request", "body": body, "more_body": False}

                plain = [pair for pair in scope["headers"] if pair[0] not in (b"content-encoding", b"content-length")]
                length = (b"content-length", str(len(body)).encode())
                await self._app({**scope, "headers": [*plain, length]}, whole, send)
        except Gone:
            return
        except MonaError as error:
            await error_answer(Request(scope), error, method=scope["method"])(scope, receive, send)


class Surround:
    """Pure ASGI, because the sending path pays for every layer."""

    def __init__(self, app: ASGIApp, *, tls: bool, observe: Observe) -> None:
        self._app = app
        self._observe = observe
        self._fixed = [
            (b"x-mona-server", __version__.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"x-frame-options", b"DENY"),
            (b"content-security-policy", CSP.encode()),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
        if tls:
            self._fixed.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *self._fixed]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - the edge of the program
            # Places only: the text of a foreign exception may hold a value of a message.
            places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-8:]]
            crash = {"error": type(error).__name__, "places": places}
            log.error("request crashed", path=scope["path"], request_id=request_id, **crash)  # noqa: TRY400
            if status:
                raise ConnectionAbortedError from None  # half an answer is out; the connection must end
            answer = error_answer(Request(scope), MonaError("Internal error"), method=scope["method"])
            await answer(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            self._observe(scope["method"], scope["path"], status, seconds)
            # The path only: a query string may hold values, a body always does.
            if status >= 500 or seconds > _SLOW_S:
                log.warning("request answered", method=scope["method"], path=scope["path"], status=status,
                            seconds=round(seconds, 3), request_id=request_id)  # fmt: skip
