"""The token endpoints over HTTP: shapes that clients of every generation read, refusals, throttling."""

from __future__ import annotations

import email.utils
from collections.abc import Callable
from typing import Any

import pytest

from mona_server.api.identity import audit, tokens
from tests.api.conftest import Api

TOKEN = "/identity/resources/auth/v1/api-token"
REFRESH = TOKEN + "/token/refresh"


def made(api: Api, *roles: str) -> tokens.NewToken:
    return tokens.create_token(api.store.meta, roles or ("Admin",), now_ms=api.now_ms)


def ask(api: Api, client_id: Any, secret: Any) -> Any:
    return api.post(TOKEN, {"clientId": client_id, "secret": secret}, token={})


@pytest.mark.parametrize("alg", ["RS256", "HS256"])
def test_token_has_both_expiry_keys_and_claims(make_api: Callable[..., Api], alg: str) -> None:
    """Old clients read `expires`, new ones `expiresIn`; both say 24 hours. The claims carry tenant and rights."""
    api = make_api(auth={"jwt_alg": alg})
    new = made(api, "Exporter")
    answer = ask(api, new.client_id, new.secret)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    pair = answer.json()
    assert set(pair) == {"expires", "expiresIn", "accessToken", "refreshToken"}
    assert pair["expiresIn"] == 86_400
    expires = email.utils.parsedate_to_datetime(pair["expires"])
    assert expires.timestamp() == api.now_ms // 1000 + 86_400
    assert pair["expires"].endswith("GMT")
    claims = api.edge.signer.verify(pair["accessToken"], now_ms=api.now_ms)
    assert {"sub", "tenantId", "roles", "permissions", "iat", "exp", "jti", "type"} == set(claims)
    assert (claims["tenantId"], claims["roles"], claims["type"]) == ("default", ["Exporter"], "access")
    assert claims["permissions"] == ["mona.messages.send"]
    keys = api.get("/.well-known/jwks.json", token={}).json()["keys"]
    assert len(keys) == (1 if alg == "RS256" else 0)


def test_refusals_have_a_list_of_texts(api: Api) -> None:
    """Wrong, null and missing credentials are 401 with `errors`; what is no JSON object is 400 with the same."""
    new = made(api)
    for client_id, secret in ((new.client_id, "x"), (None, None), (new.client_id, None), (7, 7)):
        answer = ask(api, client_id, secret)
        assert answer.status_code == 401
        assert answer.json()["errors"]
        assert all(isinstance(text, str) for text in answer.json()["errors"])
    for body in (b"", b"[]", b"{", b"7"):
        answer = api.post(TOKEN, body, token={})
        assert answer.status_code in {400, 401}
        assert answer.json()["errors"]


def test_ten_failures_a_minute(api: Api) -> None:
    """The eleventh try within a minute is 429 with Retry-After, even with the right secret; then it works again."""
    new = made(api)
    for _ in range(10):
        assert ask(api, new.client_id, "x").status_code == 401
    throttled = ask(api, new.client_id, new.secret)
    assert throttled.status_code == 429
    assert throttled.json()["errors"]
    assert throttled.headers["retry-after"] == "60"
    api.clock.now_ms += 60_000
    assert ask(api, new.client_id, new.secret).status_code == 200


def test_refresh(api: Api) -> None:
    """A refresh gives a new pair of the same shape; used tokens end after 60 s; rubbish is refused."""
    new = made(api)
    first = ask(api, new.client_id, new.secret).json()
    second = api.post(REFRESH, {"refreshToken": first["refreshToken"]}, token={})
    assert second.status_code == 200
    assert set(second.json()) == set(first)
    assert second.json()["refreshToken"] != first["refreshToken"]
    assert api.post(REFRESH, {"refreshToken": first["refreshToken"]}, token={}).status_code == 200
    api.clock.now_ms += 61_000
    for bad in (first["refreshToken"], "x", None, 7):
        answer = api.post(REFRESH, {"refreshToken": bad}, token={})
        assert answer.status_code == 401
        assert answer.json()["errors"]


def test_revoked_token_ends_within_a_minute(api: Api) -> None:
    """After a revocation nothing is issued, and the access token ends within 60 s."""
    new = made(api)
    pair = ask(api, new.client_id, new.secret).json()
    bearer = {"Authorization": f"Bearer {pair['accessToken']}"}
    assert api.post("/configs", {}, token=bearer).status_code == 200
    actor = audit.Actor(tenant="default")
    tokens.revoke(api.store.meta, "default", new.id, now_ms=api.now_ms, actor=actor)
    assert ask(api, new.client_id, new.secret).status_code == 401
    assert api.post(REFRESH, {"refreshToken": pair["refreshToken"]}, token={}).status_code == 401
    api.clock.now_ms += 60_000
    assert api.post("/configs", {}, token=bearer).status_code == 401


def test_oauth_client_credentials(api: Api) -> None:
    """The standard form gives a bearer token that works; errors are named as the standard names them."""
    new = made(api)

    def form(**values: str) -> Any:
        return api.client.post("/oauth/token", data=values)

    good = form(client_id=new.client_id, client_secret=new.secret, grant_type="client_credentials", scope="x")
    assert set(good.json()) == {"access_token", "expires_in", "token_type"}
    bearer = {"Authorization": f"Bearer {good.json()['access_token']}"}
    assert api.post("/configs", {}, token=bearer).status_code == 200
    bad = form(client_id=new.client_id, client_secret="x", grant_type="client_credentials")
    assert (bad.status_code, bad.json()["error"]) == (401, "invalid_client")
    assert form(grant_type="password").json()["error"] == "unsupported_grant_type"
    assert form().status_code == 400
