"""Pictures that chats fetch: for whoever has the signed address, and for nobody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mona_server.config.model import ContextClass
from mona_server.notify import InsightEvent, Series, enqueue, queue
from mona_server.sealing import Sealer
from mona_server.store import Store
from tests.web.conftest import NOW_MS, MakeInsight


def test_a_chat_sees_the_chart_without_a_session(
    store: Store, open_pages: Callable[..., Any], insight: MakeInsight
) -> None:
    """A PNG with the right key; with another one, or for a message that is gone, there is no such picture."""
    now = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    told = InsightEvent("new", insight(), Series((1.0, 2.0, 9.0), (1.0, 1.0, 1.0), 2))
    entry = {"team": {"slack_webhooks": "https://hooks.example.org/x"}}
    enqueue(store, "default", ContextClass(name="FLIGHTS", notifications=entry), [told], now)
    (claimed,) = queue.claim(store.meta, Sealer(store.data_dir), now, base_url="")
    address = queue.chart_address(Sealer(store.data_dir), "", claimed.id, "ins_1")
    pages = open_pages()
    answer = pages.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG")
    assert pages.get(address[:-1] + "x").status_code == 404
    assert pages.get(address.replace("ins_1", "ins_2")).status_code == 404
    assert pages.get(address.partition("?")[0]).status_code == 404
