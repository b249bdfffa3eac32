"""A real store in a temporary folder, the application over it, and a time that tests choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from sqlalchemy import Engine

from mona_server import settings as settings_module
from mona_server.api.app import create_app
from mona_server.api.edge import Edge
from mona_server.api.identity import tokens
from mona_server.ingest.builders import ConfiguredBuilders
from mona_server.ingest.fold import Folder
from mona_server.ingest.fold_process import workers
from mona_server.store import Store
from mona_server.store.meta import open_meta

NOW_MS = 1_790_000_000_000


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Engine]:
    engine = open_meta(tmp_path / "meta.db")
    yield engine
    engine.dispose()


class Client:
    """Calls an ASGI application in process, from ordinary functions."""

    def __init__(self, app: Any, portal: BlockingPortal) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 5000))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420")
        self._portal = portal

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        self._client.cookies.clear()
        return self._portal.call(lambda: self._client.request(method, path, **given))

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self.request("POST", path, **given)

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.request("GET", path, **given)

    def close(self) -> None:
        self._portal.call(self._client.aclose)


@dataclass
class Clock:
    """A time that stands until a test moves it."""

    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Api:
    """One application, its store and its clock; every call goes through the whole HTTP stack in process."""

    client: Client
    store: Store
    app: FastAPI
    clock: Clock
    headers: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def edge(self) -> Edge:
        edge: Edge = self.app.state.edge
        return edge

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms

    def token(self, *roles: Any, tenant: str = "default") -> dict[str, str]:
        """The header of a fresh access token with these roles (Admin if none is named)."""
        key = f"{tenant} {roles}"
        if key not in self.headers:
            new = tokens.create_token(self.store.meta, roles or ("Admin",), now_ms=self.now_ms, tenant=tenant)
            token = tokens.check_secret(self.store.meta, new.client_id, new.secret, now_ms=self.now_ms)
            access = self.edge.access.issue(token, now_ms=self.now_ms)["accessToken"]
            self.headers[key] = {"Authorization": f"Bearer {access}"}
        return self.headers[key]

    def send(self, context_class: str, rows: list[dict[str, Any]], *, tenant: str = "default") -> None:
        """Send and fold contexts. A row may hold ``id`` and ``at`` (Unix seconds) besides its values."""
        messages = [
            {
                "arcClass": context_class,
                "contextId": row.get("id"),
                "exportTimestamp": row.get("at"),
                "message": {key: value for key, value in row.items() if key not in ("id", "at")},
            }
            for row in rows
        ]
        answer = self.post("/export", {"messages": messages}, token=self.token(tenant=tenant))
        assert answer.status_code == 200, answer.text
        self.work()

    def work(self) -> None:
        """Fold what was sent and do the jobs of the fold."""
        folder = Folder(self.store, ConfiguredBuilders(self.store.meta))
        while folder.step(self.now_ms):
            pass
        for worker in workers(folder, self.clock):
            while worker.step():
                pass

    def post(
        self, path: str, body: Any = None, *, token: dict[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        """A POST as Admin unless another token is given; ``{}`` = without a token."""
        sent = (self.token() if token is None else token) | {k.replace("_", "-"): v for k, v in headers.items()}
        if isinstance(body, bytes):
            return self.client.post(path, content=body, headers=sent)
        return self.client.post(path, json=body, headers=sent)

    def post_2(self, path: str, body: Any = None, *, token: dict[str, str] | None = None) -> httpx.Response:
        """The same with the honest protocol."""
        return self.post(path, body, token=token, X_Mona_Protocol="2")

    def get(self, path: str, *, token: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        sent = (self.token() if token is None else token) | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.client.get(path, headers=sent)

    def pages(self, path: str) -> Iterator[list[Any]]:
        """The items of each page of a list, to the last one; each is asked for when the one before has been used."""
        cursor: str | None = ""
        while cursor is not None:
            answer = self.get(f"{path}&cursor={cursor}" if cursor else path).json()
            yield answer["items"]
            cursor = answer["next_cursor"]


@pytest.fixture
def make_api(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """``make_api(auth={"allow_no_auth": True})``: an application with these settings."""
    opened: list[Api] = []
    portals = ExitStack()

    def make(**sections: dict[str, Any]) -> Api:
        data = tmp_path / f"data{len(opened)}"
        # Making an RSA key takes longer than most tests; tests of tokens choose RS256.
        auth = {"jwt_alg": "HS256"} | sections.pop("auth", {})
        settings = settings_module.load(data, environ={}, auth=auth, **sections)
        store = Store.open(data, settings)
        clock = Clock()
        app = create_app(settings, store, clock=clock)
        client = Client(app, portals.enter_context(start_blocking_portal()))
        api = Api(client, store, app, clock)
        opened.append(api)
        return api

    yield make
    for api in opened:
        api.client.close()
        api.edge.close()
        api.store.close()
    portals.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()
