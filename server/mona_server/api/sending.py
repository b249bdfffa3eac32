"""The sending paths: bytes in, fsynced, answered. A lean ASGI endpoint, because everything else waits for it.

token → place among the tenant's requests → body within the byte budget → envelope (which messages are good)
→ inbox, together with the idempotency key → answer. A 2xx means that the messages are on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from mona_server.api.answers import JSON
from mona_server.api.body import first_character, read_body
from mona_server.api.caller import Caller, check_tenant
from mona_server.api.edge import Edge
from mona_server.api.guard import refuse_foreign_page
from mona_server.api.identity.roles import Permission
from mona_server.errors import BadRequest, NotAuthenticated, Overloaded, TooLarge
from mona_server.ingest import envelope
from mona_server.ingest.limits import Limits
from mona_server.store.idempotency import Key
from mona_server.store.inbox import Accepted

WITH_TOKEN = ("/export", "/sendEvent")
WITHOUT_TOKEN = ("/monaExport", "/monaSendEvent")
MAX_REASONS = 1_000
_INLINE_BYTES = 32 * 1024
"""Larger bodies are parsed on a thread, so that reads are answered meanwhile."""
_LARGE_BYTES = 8 * 2**20
"""Parsed bodies are several times their bytes; those above this size are parsed one at a time."""


class Sending:
    """One ASGI endpoint for all four paths."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._limits = edge.settings.limits
        self._envelope_limits = Limits.of(edge.settings)
        self._limits_text = self._envelope_limits.text
        self._large = asyncio.Semaphore(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except Overloaded as error:
            answer = self._overloaded(error, agent=await self._from_agent(request))
        except TooLarge as error:
            answer = self._too_large(error)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        headers = dict(request.scope["headers"])
        begin_ms = self._edge.clock()
        caller = await self._caller(request)
        request.scope["mona.admitted"] = True
        place = caller.tenant if caller is not None else ""
        async with (
            self._edge.gate.enter(place),
            read_body(request.receive, headers, self._limits, self._edge.budget) as body,
        ):
            request.scope["mona.array"] = body.lstrip()[:1] == b"["
            arrival_ms = self._edge.clock()
            read = await self._read(body, arrival_ms)
            caller = await self._check_tenants(request, caller, read)
            self._edge.skew.note(caller.tenant, headers.get(b"x-mona-sent-at"), arrival_ms=begin_ms)
            key = _key(headers.get(b"idempotency-key"), caller.tenant, body)
            if not read.total:
                return _accepted(0)
            answer = None if not read.refused else _partial(read.total, read.refused)
            receipt = await asyncio.wrap_future(
                self._edge.store.inbox.submit(
                    Accepted(caller.tenant, body, arrival_ms, read.total, self._limits_text, key, answer)
                )
            )
        if receipt.replayed is not None:
            first = receipt.replayed
            replayed = _accepted(first.messages) if first.answer is None else _refused(first.answer)
            replayed.headers["Idempotency-Replayed"] = "true"
            return replayed
        return _accepted(read.total) if answer is None else _refused(answer)

    async def _caller(self, request: Request) -> Caller | None:
        """The caller of the token; None where none is needed and the body will name the tenant."""
        authorization = request.headers.get("authorization")
        now_ms = self._edge.clock()
        if authorization is None:
            if not self._edge.settings.auth.allow_no_auth:
                raise NotAuthenticated("A token is needed", hint="send Authorization: Bearer <token> to /export")
            refuse_foreign_page(request, self._edge)
            return None
        caller = self._edge.access.known(authorization, now_ms=now_ms)
        if caller is None:
            ip = request.client.host if request.client else None
            caller = await run_in_threadpool(self._edge.access.bearer, authorization, now_ms=now_ms, ip=ip)
        caller.require(Permission.SEND)
        return caller

    async def _check_tenants(self, request: Request, caller: Caller | None, read: envelope.Envelope) -> Caller:
        if caller is None:
            named: set[str | None] = set(read.user_ids) or {None}
            if len(named) > 1:
                raise BadRequest("all parts of the body must have the same userId")
            ip = request.client.host if request.client else None
            return await run_in_threadpool(self._edge.access.nobody, named.pop(), now_ms=self._edge.clock(), ip=ip)
        for user_id in read.user_ids:
            check_tenant(caller, user_id)
        return caller

    async def _read(self, body: bytes, arrival_ms: int) -> envelope.Envelope:
        if len(body) <= _INLINE_BYTES:
            return envelope.read(body, arrival_ms, self._envelope_limits)
        async with self._large if len(body) > _LARGE_BYTES else contextlib.nullcontext():
            return await run_in_threadpool(envelope.read, body, arrival_ms, self._envelope_limits)

    def _too_large(self, error: TooLarge) -> Response:
        bounds = {"max_bytes": self._limits.max_body_bytes, "max_messages": self._limits.max_messages}
        return JSON({"topLevelError": str(error), **bounds}, error.status)

    async def _from_agent(self, request: Request) -> bool:
        """Is this the agent? It posts arrays and to the paths without a token, and it comes again only after a 503."""
        scope = request.scope
        if request.url.path in WITHOUT_TOKEN:
            return True
        if "mona.array" not in scope and scope.get("mona.admitted"):
            # Refused before the body was read: its beginning tells. Of strangers not even that is read.
            scope["mona.array"] = await first_character(request.receive, dict(scope["headers"])) == b"["
        return bool(scope.get("mona.array"))

    def _overloaded(self, error: Overloaded, *, agent: bool) -> Response:
        body: dict[str, Any] = {"topLevelError": str(error), "retry_after": error.retry_after_s}
        return JSON(body, 503 if agent else error.status, {"Retry-After": str(error.retry_after_s)})


def routes(edge: Edge) -> list[BaseRoute]:
    """The four routes."""
    endpoint = Sending(edge)
    return [Route(path, endpoint, methods=["POST"]) for path in WITH_TOKEN + WITHOUT_TOKEN]


def _key(given: bytes | None, tenant: str, body: bytes) -> Key | None:
    if given is None:
        return None
    text = given.decode("latin-1")
    if not 1 <= len(text) <= 128 or not text.isprintable():
        raise BadRequest("Idempotency-Key must have 1 to 128 printable characters")
    return Key.of(tenant, "export", text, body)


def _accepted(total: int) -> Response:
    return Response(
        b'{"total":%d,"failed":0,"sent":%d,"failure_reasons":{}}' % (total, total),
        headers=_OFFERS,
        media_type="application/json",
    )


def _refused(answer: bytes) -> Response:
    return Response(answer, 400, headers=_OFFERS, media_type="application/json")


def _partial(total: int, reasons: dict[int, str]) -> bytes:
    answer: dict[str, Any] = {
        "total": total,
        "failed": len(reasons),
        "sent": total - len(reasons),
        "failure_reasons": {str(index): reasons[index] for index in sorted(reasons)[:MAX_REASONS]},
    }
    if len(reasons) > MAX_REASONS:
        answer["failure_reasons_truncated"] = True
    return msgspec.json.encode(answer)


_OFFERS = {"Accept-Encoding": "gzip, zstd"}
