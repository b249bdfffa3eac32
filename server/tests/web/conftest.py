"""Pages over a real store, and insights of the specification's shape."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mona_server import settings as settings_module
from mona_server import web
from mona_server.api.app import create_app
from mona_server.store import Store

with warnings.catch_warnings():
    # It would rather run on another client than the one that this project has.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

T = 1_386_288_000
"""2013-12-06 00:00 UTC: the run that follows the fog."""
DAY = 86_400
NOW_MS = (T + 5 * DAY) * 1000
MakeInsight = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def open_pages(store: Store) -> Iterator[Callable[..., TestClient]]:
    """``open_pages(auth={...})``: a browser without scripts, at a server with these settings."""
    clients: list[TestClient] = []

    def start(**sections: dict[str, Any]) -> TestClient:
        settings = settings_module.load(store.data_dir, environ={}, **sections)
        app = create_app(settings, store, clock=lambda: NOW_MS)
        if not any(getattr(route, "path", "") == "/sign-in" for route in app.routes):
            app.include_router(web.router)
        client = TestClient(app, base_url="http://127.0.0.1:8420", follow_redirects=False)
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.close()


@pytest.fixture
def insight() -> MakeInsight:
    """``insight("ins_1", score=…, signal={…})``: the fog of 5 December at Newark, unless said otherwise."""

    def make(insight_id: str = "ins_1", **changes: Any) -> dict[str, Any]:
        signal: dict[str, Any] = {
            "arc_class": "FLIGHTS",
            "verse_name": "punctuality__AverageSuddenChange",
            "signal_type": "KapiAverageSuddenChangeInSegment",
            "kapi": "arrival_delay",
            "segment": {"carrier": [{"value": "EV"}]},
            "baseline_segment": {},
            "anomaly_level": 4.216177209898609,
            "score": 284.0,
            "is_score_inf": False,
            "is_desc": False,
            "value": 118.83,
            "benchmark": 25.47,
            "std": 22.14,
            "segment_size": 4546.0,
            "segment_ratio": 0.163,
            "window": {"from": T - 30 * DAY, "to": T, "benchmark_from": None, "benchmark_to": None},
            "gates": {
                "level": {"value": 4.216177209898609, "min": 2, "passed": True},
                "chance": {"q_value": 0.0004, "max": 0.05, "passed": True, "method": "frames"},
                "folded_into": None,
            },
            "verse": {
                "type": "AverageSuddenChange",
                "time_resolution": "1d",
                "percentile": 95,
                "min_segment_size": 300,
                "description": "",
            },
        }
        signal |= changes.pop("signal", {})
        return {
            "user_id": "default",
            "arc_class": "FLIGHTS",
            "stanza_name": "punctuality",
            "verse_name": signal["verse_name"],
            "score": signal["score"],
            "main_signal": signal,
            "related_signals": [],
            "related_anomalies": [],
            "insight_id": insight_id,
            "state": "new",
            "archived": False,
            "urgency": "normal",
            "first_discovered": T,
            "last_discovered": T,
            "occurrences": 1,
            "title": "arrival_delay average rose from 25.5 to 119 where carrier = EV (4 546 contexts, 16 % of all data)",
            **changes,
        }

    return make
