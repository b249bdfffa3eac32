"""Signing in at the pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from mona_server.api.guard import COOKIE
from mona_server.api.identity import users
from mona_server.store import Store

from .conftest import NOW_MS

PASSWORD = "violet harbour stapler 9"
OpenPages = Callable[..., TestClient]


@pytest.fixture
def browser(open_pages: OpenPages) -> TestClient:
    return open_pages()


@pytest.fixture
def activation(store: Store, browser: TestClient) -> str:
    """The secret of the first Admin's link."""
    secret = users.first_admin_link(store.meta, now_ms=NOW_MS)
    assert secret is not None
    return secret


@pytest.fixture
def admin(browser: TestClient, activation: str) -> TestClient:
    """A browser in which the first Admin has chosen a password."""
    answer = browser.post("/activate", data={"link": activation, "password": PASSWORD, "name": "Anna"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return browser


@pytest.mark.parametrize("path", ["/", "/getting-started?class=LOAN"])
def test_pages_ask_to_sign_in_and_come_back(browser: TestClient, path: str) -> None:
    """Without a session a page leads to the form, which knows where to return to."""
    answer = browser.get(path)
    assert answer.status_code == 303
    where = urlsplit(answer.headers["location"])
    assert (where.path, parse_qs(where.query)["next"]) == ("/sign-in", [path])
    assert f'value="{path}"' in browser.get(answer.headers["location"]).text


def test_activation_signs_in(admin: TestClient) -> None:
    """After the password is chosen the pages open, and greet by name."""
    answer = admin.get("/getting-started")
    assert answer.status_code == 200
    assert "Anna" in answer.text


def test_sign_in_and_out(admin: TestClient) -> None:
    """Out with the page's own token, in again with the password, to where one wanted to go."""
    csrf = re.search(r'name="csrf" value="([^"]+)"', admin.get("/getting-started").text)
    assert csrf is not None
    assert admin.post("/sign-out", data={"csrf": "guess"}).status_code == 403
    assert admin.post("/sign-out", data={"csrf": csrf[1]}).status_code == 303
    assert admin.get("/getting-started").status_code == 303
    form = {"email": "admin@localhost", "password": PASSWORD, "next": "/getting-started?class=A"}
    answer = admin.post("/sign-in", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/getting-started?class=A")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_a_wrong_password_keeps_the_address(admin: TestClient) -> None:
    """The form comes back with what was typed, except the password, and says what is wrong."""
    admin.cookies.clear()
    answer = admin.post("/sign-in", data={"email": "admin@localhost", "password": "wrong wrong wrong"})
    assert answer.status_code == 401
    assert "The address or the password is wrong" in answer.text
    assert 'value="admin@localhost"' in answer.text
    assert "wrong wrong wrong" not in answer.text
    assert COOKIE not in admin.cookies


def test_ten_failures_are_enough(admin: TestClient) -> None:
    """Guessing is stopped, whatever address is guessed at."""
    admin.cookies.clear()
    for i in range(10):
        admin.post("/sign-in", data={"email": f"user{i}@localhost", "password": "no no no no no"})
    answer = admin.post("/sign-in", data={"email": "admin@localhost", "password": PASSWORD})
    assert answer.status_code == 429


def test_a_one_time_link_works_once_and_not_by_looking(admin: TestClient, store: Store) -> None:
    """Opening the address changes nothing; the button signs in; a second use is refused."""
    user = users.by_email(store.meta, "admin@localhost")
    assert user is not None
    secret = users.new_link(store.meta, user.tenant, user.id, "login", now_ms=NOW_MS)
    admin.cookies.clear()
    for _ in range(2):
        assert admin.get(f"/login?link={secret}").status_code == 200
    assert COOKIE not in admin.cookies
    assert admin.post("/login", data={"link": secret}).status_code == 303
    assert admin.get("/getting-started").status_code == 200
    admin.cookies.clear()
    assert admin.post("/login", data={"link": secret}).status_code == 401


def test_a_weak_password_does_not_use_the_link_up(browser: TestClient, activation: str) -> None:
    """The form says what is wrong with the password and can be sent again."""
    answer = browser.post("/activate", data={"link": activation, "password": "short"})
    assert answer.status_code == 400
    assert "12" in answer.text
    assert browser.post("/activate", data={"link": activation, "password": PASSWORD}).status_code == 303


@pytest.mark.parametrize("header", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_forms_of_other_sites_are_refused(browser: TestClient, activation: str, header: dict[str, str]) -> None:
    """Another site can neither sign somebody in nor use a link up."""
    answer = browser.post("/activate", data={"link": activation, "password": PASSWORD}, headers=header)
    assert answer.status_code == 403
    assert "another site" in answer.text


def test_next_never_leads_away(admin: TestClient) -> None:
    """An address of another host in ``next`` is dropped."""
    admin.cookies.clear()
    form = {"email": "admin@localhost", "password": PASSWORD, "next": "//evil.example/x"}
    assert admin.post("/sign-in", data=form).headers["location"] == "/"


def test_open_servers_ask_nobody(open_pages: OpenPages) -> None:
    """With ``auth.allow_no_auth`` the pages open without a sign-in, and offer no sign-out."""
    answer = open_pages(auth={"allow_no_auth": True}).get("/getting-started")
    assert answer.status_code == 200
    assert "Sign out" not in answer.text
