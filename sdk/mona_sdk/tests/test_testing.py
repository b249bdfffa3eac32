"""The fake server that users test with."""

from __future__ import annotations

import pytest

from mona_sdk import AsyncClient, Client
from mona_sdk.delivery import http
from mona_sdk.testing import FakeServer
from mona_sdk.tests.conftest import a_message


def test_it_keeps_what_a_program_exports() -> None:
    """In every mode, from clients made anywhere."""
    with FakeServer() as mona:
        assert mona.client().export(a_message(1))
        with mona.client(background=True) as background:
            background.export(a_message(2))
        assert (
            Client("k", "s", server_url="https://somewhere.example", compression="gzip").export_batch(
                [a_message(n, text="x" * 200) for n in range(10)]
            )["sent"]
            == 10
        )
        assert len(mona.messages) == 12
        assert mona.messages_of("LOAN")[:2] == [{"amount": 1}, {"amount": 2}]
        assert mona.requests[0].path.endswith("api-token")


async def test_it_serves_asynchronous_clients() -> None:
    """Through the same place."""
    with FakeServer() as mona:
        async with AsyncClient("k", "s", server_url="https://somewhere.example") as client:
            assert await client.export_async(a_message())
        assert len(mona.messages) == 1


def test_it_can_refuse_be_away_and_answer_services() -> None:
    """What a program has to live with."""
    with FakeServer() as mona:
        client = mona.client(max_retries=0)
        mona.refuse = lambda message: "no" if message["contextId"] == "id-1" else None
        assert client.export_batch([a_message(0), a_message(1)])["failure_reasons"] == {"1": "no"}
        assert len(mona.messages) == 1
        mona.away = True
        assert client.export(a_message()) is False
        mona.away = False
        mona.services["insights"] = [{"id": "ins"}]
        assert client.get_insights("LOAN", 1)["data"] == [{"id": "ins"}]
        assert "no service 'configs'" in client.get_config()["error_message"]


def test_it_leaves_no_trace() -> None:
    """After the block the real carrier is back, also after an exception."""
    real = http.request
    fake = FakeServer()
    with fake:
        assert http.request is not real
    assert http.request is real
    with pytest.raises(ZeroDivisionError), fake:
        _ = 1 / 0
    assert http.request is real
