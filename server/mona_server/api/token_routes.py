"""Tokens for programs: the original token endpoint and its refresh, OAuth client credentials, public keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from mona_server.api.answers import JSON
from mona_server.api.edge import edge_of
from mona_server.api.guard import json_object
from mona_server.api.identity import tokens
from mona_server.errors import NotAuthenticated

router = APIRouter(tags=["tokens"])

TOKEN_PATH = "/identity/resources/auth/v1/api-token"  # noqa: S105 - an address
_NO_STORE = {"Cache-Control": "no-store"}


@router.post(TOKEN_PATH)
async def api_token(request: Request) -> Response:
    """An access and a refresh token for a client id and its secret."""
    body = await json_object(request)
    return JSON(
        await run_in_threadpool(_exchange, request, body.get("clientId"), body.get("secret")), headers=_NO_STORE
    )


@router.post(TOKEN_PATH + "/token/refresh")
async def refresh_token(request: Request) -> Response:
    """A new pair for a refresh token, which ends 60 s later."""
    body = await json_object(request)
    return JSON(await run_in_threadpool(_refresh, request, body.get("refreshToken")), headers=_NO_STORE)


@router.post("/oauth/token")
async def oauth_token(request: Request) -> Response:
    """OAuth 2 client credentials, as a form; errors as RFC 6749 names them."""
    form = await request.form(max_files=0, max_fields=20)
    if form.get("grant_type") != "client_credentials":
        return JSON({"error": "unsupported_grant_type"}, 400, _NO_STORE)
    try:
        pair = await run_in_threadpool(_exchange, request, form.get("client_id"), form.get("client_secret"))
    except NotAuthenticated as error:
        return JSON({"error": "invalid_client", "error_description": error.message}, 401, _NO_STORE)
    answer = {"access_token": pair["accessToken"], "expires_in": pair["expiresIn"], "token_type": "Bearer"}
    return JSON(answer, headers=_NO_STORE)


@router.get("/.well-known/jwks.json")
def jwks(request: Request) -> Response:
    """The public keys with which access tokens can be verified."""
    return JSON(edge_of(request).signer.jwks(), headers={"Cache-Control": "max-age=300"})


def _exchange(request: Request, client_id: object, secret: object) -> Mapping[str, Any]:
    edge = edge_of(request)
    now_ms = edge.clock()
    keys = _limited(request, client_id)
    edge.failures.check(*keys, now_ms=now_ms)
    try:
        if not isinstance(client_id, str) or not isinstance(secret, str):
            raise NotAuthenticated("Invalid credentials: clientId and secret must be texts")
        token = tokens.check_secret(edge.meta, client_id, secret, now_ms=now_ms)
    except NotAuthenticated:
        edge.failures.failed(*keys, now_ms=now_ms)
        raise
    return edge.access.issue(token, now_ms=now_ms)


def _refresh(request: Request, refresh: object) -> Mapping[str, Any]:
    edge = edge_of(request)
    now_ms = edge.clock()
    keys = _limited(request, None)
    edge.failures.check(*keys, now_ms=now_ms)
    try:
        if not isinstance(refresh, str):
            raise NotAuthenticated("The refresh token must be a text")
        token = tokens.use_refresh_token(edge.meta, refresh, now_ms=now_ms)
    except NotAuthenticated:
        edge.failures.failed(*keys, now_ms=now_ms)
        raise
    return edge.access.issue(token, now_ms=now_ms)


def _limited(request: Request, client_id: object) -> list[str]:
    """What failures are counted by: the address and the key that was tried."""
    address = request.client.host if request.client else "unknown"
    keys = [f"address {address}"]
    if isinstance(client_id, str) and client_id:
        keys.append(f"key {client_id[:200]}")
    return keys
