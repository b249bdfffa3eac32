"""Users, tokens, roles, tenants and the audit log over HTTP."""

from __future__ import annotations

import json

import pytest

from mona_server.api.identity import audit, users
from mona_server.api.v1 import admin
from tests.api.conftest import Api

V1 = "/api/v1"


def test_token_lives_from_creation_to_revocation(api: Api) -> None:
    """The secret is shown once; the token sends; the list shows it without secret; revoked it is gone."""
    made = api.post(f"{V1}/tokens", {"description": "pipeline", "roles": ["Exporter"]})
    assert made.status_code == 201
    secret, client_id = made.json()["secret"], made.json()["client_id"]
    pair = api.post("/identity/resources/auth/v1/api-token", {"clientId": client_id, "secret": secret}, token={})
    bearer = {"Authorization": f"Bearer {pair.json()['accessToken']}"}
    assert api.post("/export", {"messages": []}, token=bearer).status_code == 200
    listed = api.get(f"{V1}/tokens").json()["items"]
    assert client_id in [token["client_id"] for token in listed]
    assert secret not in str(listed)
    deleted = api.client.request("DELETE", f"{V1}/tokens/{made.json()['id']}", headers=api.token())
    assert deleted.status_code == 204
    assert client_id not in str(api.get(f"{V1}/tokens").json())


def test_user_is_invited_changed_and_removed(api: Api) -> None:
    """The invitation gives a link; roles can be changed; a removed user is unknown."""
    made = api.post(f"{V1}/users", {"email": "ann@example.com", "roles": ["Viewer"]})
    assert made.status_code == 201
    assert "/activate?link=" in made.json()["activation_link"]
    path = f"{V1}/users/{made.json()['id']}"
    assert api.get(path).json()["state"] == "invited"
    changed = api.client.request("PATCH", path, json={"roles": ["Participant"]}, headers=api.token())
    assert changed.json()["roles"] == [{"role": "Participant", "arc_class": None}]
    assert api.client.request("PATCH", path, json={"roles": ["Boss"]}, headers=api.token()).status_code == 400
    assert api.post(f"{path}/link").json()["link"] != made.json()["activation_link"]
    assert api.client.request("DELETE", path, headers=api.token()).status_code == 204
    assert api.get(path).status_code == 404


def test_every_change_is_in_the_audit_log(api: Api) -> None:
    """Who did what, newest first, in pages; no secret stands in it."""
    secret = api.post(f"{V1}/tokens", {"roles": ["Exporter"]}).json()["secret"]
    api.post(f"{V1}/users", {"email": "ann@example.com"})
    first = api.get(f"{V1}/audit?limit=1").json()
    assert [entry["action"] for entry in first["items"]] == ["user.invite"]
    entries = []
    cursor = first["next_cursor"]
    while cursor is not None:
        page = api.get(f"{V1}/audit?limit=1&cursor={cursor}").json()
        entries += page["items"]
        cursor = page["next_cursor"]
    assert [entry["action"] for entry in entries] == ["token.create", "token.use", "token.create"]
    assert entries[0]["token"] is not None
    assert entries[0]["ip"] == "127.0.0.1"
    assert secret not in str(entries)
    assert api.get(f"{V1}/audit?cursor=rubbish").status_code == 400


def test_audit_log_is_exported_whole(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As lines of JSON, the same as the pages hold; those of this tenant only."""
    monkeypatch.setattr(admin, "_PORTION", 2)
    for i in range(5):
        api.post(f"{V1}/users", {"email": f"ann{i}@example.com"})
    api.token(tenant="acme")
    pages = api.get(f"{V1}/audit?limit=1000").json()["items"]
    file = api.get(f"{V1}/audit/export")
    assert file.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in file.text.splitlines()] == pages
    assert len(pages) > 5
    assert api.get(f"{V1}/audit/export", token=api.token("Viewer")).status_code == 403


def test_audit_log_forgets_after_a_year(api: Api) -> None:
    """Entries are kept for a year, then removed."""
    api.token()
    assert audit.forget_old(api.store.meta, now_ms=api.now_ms + 365 * 86_400_000) == 0
    assert audit.forget_old(api.store.meta, now_ms=api.now_ms + 367 * 86_400_000) > 0


def test_wrong_requests_say_where(api: Api) -> None:
    """Unknown keys, wrong types and rubbish: 400 with all places, never the value that was sent."""
    answer = api.post(f"{V1}/users", {"email": 7, "rolls": ["s3cr3t"], "name": "x" * 300})
    assert answer.status_code == 400
    body = answer.json()
    assert (body["success"], body["data"]) == (False, None)
    assert {issue["path"] for issue in body["issues"]} == {"body.email", "body.name", "body.rolls"}
    assert "s3cr3t" not in answer.text
    assert body["request_id"] == answer.headers["x-request-id"]
    for rubbish in (b"", b"{", b"[]", b"\xff", b"7"):
        assert api.post(f"{V1}/users", rubbish).status_code == 400


def test_tenants_are_made_by_a_super_admin_only(api: Api) -> None:
    """A token, even an Admin's, makes no tenants; the first Admin does, and looks into them by a header."""
    assert api.post(f"{V1}/tenants", {"id": "acme"}).status_code == 403
    link = users.first_admin_link(api.store.meta, now_ms=api.now_ms)
    assert link is not None
    users.set_password(api.store.meta, link, "violet harbour stapler 9", now_ms=api.now_ms)
    signed = api.post(f"{V1}/session", {"email": "admin@localhost", "password": "violet harbour stapler 9"}, token={})
    assert signed.status_code == 200
    cookie = {"Cookie": f"mona_session={signed.cookies['mona_session']}", "X-CSRF-Token": signed.json()["csrf"]}
    assert api.post(f"{V1}/tenants", {"id": "acme"}, token=cookie).status_code == 201
    assert api.post(f"{V1}/tenants", {"id": "acme"}, token=cookie).status_code == 409
    api.post(f"{V1}/users", {"email": "bob@acme.com"}, token=cookie | {"X-Mona-Tenant": "acme"})
    assert api.get(f"{V1}/users", token=cookie).json()["items"][0]["email"] == "admin@localhost"
    acme = api.get(f"{V1}/users", token=cookie | {"X-Mona-Tenant": "acme"}).json()["items"]
    assert [user["email"] for user in acme] == ["bob@acme.com"]
    assert {tenant["id"] for tenant in api.get(f"{V1}/tenants", token=cookie).json()["items"]} == {"acme", "default"}


@pytest.mark.parametrize("path", ["users", "tokens", "audit", "tenants"])
def test_other_tenants_see_nothing(api: Api, path: str) -> None:
    """Administration of one tenant shows nothing of another."""
    api.post(f"{V1}/users", {"email": "ann@example.com", "name": "only-in-default"})
    api.post(f"{V1}/tokens", {"description": "only-in-default"})
    shown = api.get(f"{V1}/{path}", token=api.token(tenant="acme")).text
    assert "only-in-default" not in shown
    assert "ann@example.com" not in shown
    assert '"default"' not in shown
