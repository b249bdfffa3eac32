"""Sign-in through an OpenID Connect provider: a real provider on loopback, honest and lying."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from mona_server.api.identity import users
from tests.api.conftest import NOW_MS, Api

KEY = RSAKey.generate_key(2048, {"kid": "provider-1", "use": "sig"}, private=True)
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "provider-1", "use": "sig"}, private=True)
NOW_S = NOW_MS // 1000


class Provider:
    """A small provider. ``claims`` and ``key`` decide what it says next."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(outer.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.answer(outer.token({key: values[0] for key, values in parse_qs(body).items()}))

            def answer(self, found: dict[str, Any] | None) -> None:
                self.send_response(200 if found is not None else 400)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(found or {"error": "invalid_grant"}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.key = KEY
        self.asked: dict[str, str] = {}
        self.claims: dict[str, Any] = {}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def get(self, path: str) -> dict[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        return dict(KeySet([KEY]).as_dict(private=False)) if path == "/keys" else None

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        good = form.get("code") == "good-code" and form.get("client_secret") == "the client secret"
        challenge = create_s256_code_challenge(form.get("code_verifier", ""))
        if (
            not good
            or challenge != self.asked.get("code_challenge")
            or form["redirect_uri"] != self.asked["redirect_uri"]
        ):
            return None
        return {"id_token": self.sign(nonce=self.asked["nonce"]), "access_token": "x", "token_type": "Bearer"}

    def sign(self, **more: Any) -> str:
        claims = {
            "iss": self.issuer,
            "aud": "mona",
            "sub": "person-1",
            "email": "Ann@Example.com",
            "name": "Ann",
            "iat": NOW_S,
            "exp": NOW_S + 300,
        }
        signed = {key: value for key, value in (claims | more | self.claims).items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": "provider-1"}, signed, self.key)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.server.shutdown()
    made.server.server_close()


def set_up(api: Api, provider: Provider, **more: Any) -> Any:
    body = {"issuer": provider.issuer, "client_id": "mona", "client_secret": "the client secret"} | more
    return api.client.request("PUT", "/api/v1/sso", json=body, headers=api.token())


def sign_in(
    api: Api, provider: Provider, *, code: str = "good-code", state: str | None = None, cookie: bool = True
) -> Any:
    begun = api.get("/sso/login", token={})
    assert begun.status_code == 303, begun.text
    provider.asked = {key: values[0] for key, values in parse_qs(urlsplit(begun.headers["location"]).query).items()}
    headers = {"Cookie": f"mona_sso={begun.cookies['mona_sso']}"} if cookie else {}
    return api.get(f"/sso/callback?code={code}&state={state or provider.asked['state']}", token=headers)


def test_first_sign_in_makes_the_user(api: Api, provider: Provider) -> None:
    """A person whom the provider vouches for gets an account with the default role, and a session; again the same one."""
    assert set_up(api, provider).status_code == 200
    for _ in range(2):
        answer = sign_in(api, provider)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        me = api.get("/api/v1/me", token={"Cookie": f"mona_session={answer.cookies['mona_session']}"}).json()
        assert me["user"]["email"] == "ann@example.com"
        assert me["roles"] == [{"role": "Viewer", "arc_class": None}]
    assert len(api.get("/api/v1/users").json()["items"]) == 1


def test_roles_follow_groups(api: Api, provider: Provider) -> None:
    """Groups give roles at each sign-in; who is in none of the allowed groups stays out."""
    set_up(api, provider, group_roles={"boss": ["Admin"], "crew": ["Participant"]}, allowed_groups=["boss", "crew"])
    provider.claims = {"groups": ["boss"]}
    assert sign_in(api, provider).status_code == 303
    provider.claims = {"groups": ["crew"]}
    assert sign_in(api, provider).status_code == 303
    (user,) = api.get("/api/v1/users").json()["items"]
    assert user["roles"] == [{"role": "Participant", "arc_class": None}]
    provider.claims = {"groups": ["others"]}
    assert sign_in(api, provider).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another program"},
        {"aud": None},
        {"exp": NOW_S - 3600},
        {"exp": None},
        {"nonce": "another"},
        {"nonce": None},
        {"email": None},
        {"email_verified": False},
        {"sub": None},
    ],
)
def test_forged_answers_are_refused(api: Api, provider: Provider, claims: dict[str, Any]) -> None:
    """Another issuer, audience, nonce, an ended token, no verified address: nobody gets in and no user is made."""
    set_up(api, provider)
    provider.claims = claims
    answer = sign_in(api, provider)
    assert answer.status_code == 401
    assert "mona_session" not in answer.cookies
    assert api.get("/api/v1/users").json()["items"] == []


def test_other_keys_codes_states_and_browsers_are_refused(api: Api, provider: Provider) -> None:
    """A token of another key, a wrong code, a wrong state, a browser without the cookie, a cookie past its time."""
    set_up(api, provider)
    assert sign_in(api, provider, code="stolen").status_code == 401
    assert sign_in(api, provider, state="guessed").status_code == 401
    assert sign_in(api, provider, cookie=False).status_code == 401
    provider.key = OTHER_KEY
    assert sign_in(api, provider).status_code == 401
    assert api.get("/api/v1/users").json()["items"] == []


def test_a_provider_cannot_open_an_account_with_a_password(api: Api, provider: Provider) -> None:
    """The address of somebody who has a password here is not enough; one who was only invited is let in."""
    set_up(api, provider)
    _, link = users.invite(api.store.meta, "ann@example.com", ["Admin"], now_ms=api.now_ms)
    assert sign_in(api, provider).status_code == 303
    provider.claims = {"sub": "person-2"}
    assert sign_in(api, provider).status_code == 403
    assert link


def test_passwords_can_be_switched_off(api: Api, provider: Provider) -> None:
    """Then only super admins sign in with a password."""
    link = users.first_admin_link(api.store.meta, now_ms=api.now_ms)
    _, other = users.invite(api.store.meta, "bob@example.com", ["Viewer"], now_ms=api.now_ms)
    assert link is not None
    for secret in (link, other):
        users.set_password(api.store.meta, secret, "violet harbour stapler 9", now_ms=api.now_ms)
    set_up(api, provider, password_login=False)

    def status(email: str) -> int:
        return api.post(
            "/api/v1/session", {"email": email, "password": "violet harbour stapler 9"}, token={}
        ).status_code

    assert (status("admin@localhost"), status("bob@example.com")) == (200, 401)


def test_access_tokens_of_the_provider(api: Api, provider: Provider) -> None:
    """Where a claim for the tenant is set, programs come with the provider's tokens and get the roles for them."""
    set_up(api, provider)
    token = {"Authorization": f"Bearer {provider.sign(org='default')}"}
    assert api.post("/export", {"messages": []}, token=token).status_code == 401
    set_up(api, provider, tenant_claim="org")
    assert api.post("/export", {"messages": []}, token=token).status_code == 200
    assert api.get("/api/v1/users", token=token).status_code == 403
    for bad in ({"org": "acme"}, {"org": "default", "exp": NOW_S - 3600}, {"org": "default", "aud": "other"}):
        other = {"Authorization": f"Bearer {provider.sign(**bad)}"}
        assert api.post("/export", {"messages": []}, token=other).status_code == 401
    provider.key = OTHER_KEY
    forged = {"Authorization": f"Bearer {provider.sign(org='default')}"}
    assert api.post("/export", {"messages": []}, token=forged).status_code == 401


def test_the_secret_is_never_shown_and_never_sent_elsewhere(api: Api, provider: Provider) -> None:
    """Neither answer nor audit log nor database holds it; another issuer needs a secret of its own."""
    shown = set_up(api, provider).text + api.get("/api/v1/sso").text + api.get("/api/v1/audit").text
    assert "the client secret" not in shown
    body = {"issuer": provider.issuer, "client_id": "mona", "scopes": "openid email"}
    assert api.client.request("PUT", "/api/v1/sso", json=body, headers=api.token()).status_code == 200
    moved = {**body, "issuer": "https://evil.example"}
    assert api.client.request("PUT", "/api/v1/sso", json=moved, headers=api.token()).status_code == 400
    assert sign_in(api, provider).status_code == 303
    assert api.client.request("DELETE", "/api/v1/sso", headers=api.token()).status_code == 204
    assert api.get("/api/v1/sso").status_code == 404
    assert api.get("/sso/login", token={}).status_code == 404


def test_provider_in_a_private_network_is_refused(make_api: Callable[..., Api], provider: Provider) -> None:
    """A server that others can reach calls no address of a private network, unless that is allowed."""
    api = make_api(server={"host": "0.0.0.0"})
    set_up(api, provider)
    answer = api.get("/sso/login", token={})
    assert answer.status_code == 400
    assert "private" in answer.text
