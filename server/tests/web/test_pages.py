"""Pages over HTTP: static files, headers, failures."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from mona_server.web.pages import STATIC

OpenPages = Callable[..., TestClient]


@pytest.fixture
def browser(open_pages: OpenPages) -> TestClient:
    return open_pages(auth={"allow_no_auth": True})


@pytest.mark.parametrize("name", [*sorted(path.name for path in STATIC.iterdir()), "plotly.min.js"])
def test_static_files(browser: TestClient, name: str) -> None:
    """Served with their type, compressed where the browser takes it; kept for a year under a hashed address only."""
    plain = browser.get(f"/static/{name}", headers={"accept-encoding": "identity"})
    assert plain.status_code == 200
    assert plain.headers["content-type"].split(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
    assert plain.headers["cache-control"] == "no-cache"
    assert "immutable" in browser.get(f"/static/{name}?v=1").headers["cache-control"]
    with browser.stream("GET", f"/static/{name}", headers={"accept-encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert (gzip.decompress(raw) if "content-encoding" in packed.headers else raw) == plain.content


@pytest.mark.parametrize("name", ["../pages.py", "%2e%2e/pages.py", "nothing.css", ".gitignore", "mona.css/"])
def test_nothing_else_is_served(browser: TestClient, name: str) -> None:
    """Only the files of the folder, by their plain names."""
    assert browser.get(f"/static/{name}").status_code in (307, 404)


def test_pages_name_only_this_server(browser: TestClient) -> None:
    """Every address on a page is a path, and the policy of the answer forbids all else."""
    answer = browser.get("/getting-started")
    assert re.findall(r'(?:src|href|action)="(?!/|#)[^"]+"', answer.text) == []
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_an_empty_server_leads_to_getting_started(browser: TestClient) -> None:
    """Nothing was received yet: the start page says how to begin, with this server's address to copy."""
    assert browser.get("/").headers["location"] == "/getting-started"
    assert "http://127.0.0.1:8420" in browser.get("/getting-started").text


def test_the_theme_is_kept(browser: TestClient) -> None:
    """A chosen theme is in the page from its first byte, so nothing flashes; nonsense is ignored."""
    for chosen, written in (("", None), ("dark", "dark"), ("light", "light"), ("neon", None)):
        browser.cookies.set("mona_theme", chosen)
        found = re.search(r'<html lang="en"(?: data-theme="(\w+)")?>', browser.get("/getting-started").text)
        assert found is not None
        assert found[1] == written
