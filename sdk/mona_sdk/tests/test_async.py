"""The asynchronous client (Q40)."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from mona_sdk import AsyncClient, Client, MonaSingleMessage, pace
from mona_sdk.client_exceptions import MonaAuthenticationException, MonaExportException
from mona_sdk.delivery.worker import MAX_LANES
from mona_sdk.tests.conftest import a_message, ends_within, wait_until
from mona_sdk.tests.servers import TOKEN_PATH, Answer, RecordingServer, Request, accept_all, always


@pytest.fixture
async def client(server: RecordingServer) -> AsyncIterator[AsyncClient]:
    """A client of the server."""
    made = AsyncClient("key", "secret", server_url=server.url)
    yield made
    await made.aclose(1)


def test_every_public_method_has_a_twin() -> None:
    """`<name>_async` for each."""
    for name, member in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.iscoroutinefunction(getattr(AsyncClient, f"{name}_async")), f"{name} of {member}"


async def test_exports_wait_for_the_verdict(server: RecordingServer, client: AsyncClient) -> None:
    """True and False are the server's; batches give the dict."""
    assert await client.is_active_async()
    assert await client.export_async(a_message(1)) is True
    assert await client.send_event_async(a_message(2)) is True
    assert (await client.export_batch_async([a_message(3)], default_action="ADD"))["sent"] == 1
    assert (await client.send_events_batch_async([]))["total"] == 0
    server.routes["/export"] = always(400, {"failed": 1, "failure_reasons": {"0": "bad"}})
    assert await client.export_async(a_message(4)) is False
    assert await client.export_async(5) is False  # type: ignore[arg-type]
    stats = await client.stats_async()
    assert (stats["sent"], stats["failed"]) == (3, 2)
    assert client.export(a_message(6)) is False


async def test_construction_asks_nobody(server: RecordingServer) -> None:
    """The first call authenticates, once for all that wait."""
    client = AsyncClient("key", "secret", server_url=server.url, event_loop=None, executor=None)
    assert server.requests == []
    assert all(await asyncio.gather(*[client.export_async(a_message(n)) for n in range(50)]))
    assert server.tokens_issued == 1
    await client.aclose()


async def test_one_bad_message_among_many_concurrent_ones(server: RecordingServer, client: AsyncClient) -> None:
    """They share requests, and each gets its own verdict."""

    together = threading.Event()

    def judge(request: Any) -> Any:
        together.wait(60)
        messages = request.json["messages"]
        reasons = {str(place): "bad" for place, m in enumerate(messages) if m["message"]["amount"] % 7 == 0}
        if not reasons:
            return accept_all(request)
        return Answer(400, {"total": len(messages), "failed": len(reasons), "failure_reasons": reasons})

    server.routes["/export"] = judge
    exports = asyncio.gather(*[client.export_async(a_message(n)) for n in range(100)])
    await asyncio.to_thread(wait_until, lambda: client._awaited and client._awaited.queued == 100)
    together.set()
    results = await exports
    assert results == [n % 7 != 0 for n in range(100)]
    assert len(server.sends) < 50


async def test_exceptions_with_the_flags(server: RecordingServer) -> None:
    """As of the synchronous client."""
    client = AsyncClient("key", "secret", server_url=server.url, raise_export_exceptions=True, max_retries=0)
    server.routes["/export"] = always(400, {"failed": 1, "failure_reasons": {"0": "bad"}})
    with pytest.raises(MonaExportException, match=r"^Some messages didn't pass validation: .*bad"):
        await client.export_async(a_message())
    server.routes["/export"] = lambda _: None
    with pytest.raises(MonaExportException, match=r"^Cannot connect to rest-api$"):
        await client.export_async(a_message())
    await client.aclose()
    server.routes[TOKEN_PATH] = always(401, {"errors": ["no"]})
    wrong = AsyncClient("other", "secret", server_url=server.url, raise_authentication_exceptions=True)
    with pytest.raises(MonaAuthenticationException, match=r"could not authenticate\. errors: no"):
        await wrong.export_async(a_message())
    await wrong.aclose()


async def test_without_a_server_calls_end_in_time(server: RecordingServer) -> None:
    """Within `export_deadline`, all of them."""
    client = AsyncClient("key", "secret", server_url=server.url, export_deadline=2, max_retries=1000)
    assert await client.export_async(a_message())
    server.routes["/export"] = always(503, {})
    with ends_within(20):
        assert await asyncio.gather(*[client.export_async(a_message(n)) for n in range(20)]) == [False] * 20
    await client.aclose()


async def test_services(server: RecordingServer, client: AsyncClient) -> None:
    """In a thread, with the arguments of the synchronous method."""
    server.routes["/insights"] = lambda _: Answer(200, {"response_data": [1]})
    assert (await client.get_insights_async("LOAN", min_segment_size=5))["data"] == [1]
    assert server.requests[-1].json == {"context_class": "LOAN", "min_segment_size": 5}
    assert await client.get_config_async() == {}
    assert await client.flush_async() is True


async def test_unawaited_tasks_arrive_before_the_end(server: RecordingServer) -> None:
    """50 tasks, then `aclose()`: 50 arrive."""
    client = AsyncClient("key", "secret", server_url=server.url)
    tasks = [asyncio.create_task(client.export_async(a_message(n))) for n in range(50)]
    assert await client.aclose() is True
    assert len(server.messages) == 50
    assert all(await asyncio.gather(*tasks))
    assert await client.export_async(a_message()) is False
    async with AsyncClient("key", "secret", server_url=server.url) as other:
        task = asyncio.create_task(other.export_async(a_message(99)))
    assert len(server.messages) == 51
    assert await task


async def test_background_mode(server: RecordingServer) -> None:
    """The queue's answer instead of the server's."""
    async with AsyncClient("key", "secret", server_url=server.url, background=True) as client:
        assert await client.export_async(a_message())
        assert (await client.export_batch_async([a_message(1)])).get("queued") == 1
    assert len(server.messages) == 2


def test_loops_come_and_go(server: RecordingServer) -> None:
    """One client in several event loops, one after the other."""
    client = AsyncClient("key", "secret", server_url=server.url)
    for number in range(3):
        assert asyncio.run(client.export_async(a_message(number)))
    client.close()
    wait_until(lambda: len(server.messages) == 3)


async def test_concurrent_exports_share_requests_and_do_not_wait_for_each_other(server: RecordingServer) -> None:
    """Before a server that does not answer yet, a later message leaves although the earlier one has no verdict, and
    100 are under way in a few requests; when it answers, all is stored once. The rate is measured in benchmarks/sdk.
    """
    async with AsyncClient("key", "secret", server_url=server.url, export_deadline=60, read_timeout=60) as client:
        assert await client.export_async(a_message())
        gate = threading.Event()

        def late(request: Request) -> Answer:
            gate.wait(60)
            return accept_all(request)

        server.routes["/export"] = late

        async def one(first: int) -> None:
            for number in range(first, first + 10):
                assert await client.export_async(a_message(number))

        first = asyncio.create_task(one(100))
        await asyncio.to_thread(wait_until, lambda: len(server.sends) == 2)
        second = asyncio.create_task(one(200))
        await asyncio.to_thread(wait_until, lambda: len(server.sends) == 3)
        others = asyncio.gather(*[one(100 * n) for n in range(3, 101)])
        worker: Any = client._awaited
        await asyncio.to_thread(wait_until, lambda: worker.queued == 100)
        assert len(server.sends) <= 1 + MAX_LANES
        gate.set()
        await asyncio.gather(first, second, others)
    identities = [message["contextId"] for message in server.messages]
    assert len(identities) == len(set(identities)) == 1001


@pytest.mark.parametrize("background", [False, True])
async def test_large_work_leaves_the_loop_alone(server: RecordingServer, background: bool) -> None:
    """Authentication, batches and large messages are work of other threads; only a small message is made here."""
    threads: dict[str, int] = {}

    def note(message: dict[str, Any]) -> dict[str, Any]:
        threads[message["message"]["kind"]] = threading.get_ident()
        return message

    def of(kind: str, **fields: Any) -> MonaSingleMessage:
        return MonaSingleMessage(message={"kind": kind, **fields}, contextClass="LOAN")

    loop_thread = threading.get_ident()
    async with AsyncClient("key", "secret", server_url=server.url, before_send=note, background=background) as client:
        assert await client.export_async(of("small"))
        assert await client.export_async(of("values", values=list(range(10_000))))
        assert await client.export_async(of("nested", values=[[0] * 100] * 100))
        assert await client.export_async(of("text", text="x" * 100_000))
        assert (await client.export_batch_async([of("batch") for _ in range(500)]))["failed"] == 0
    assert threads.pop("small") == loop_thread
    assert set(threads) == {"values", "nested", "text", "batch"}
    assert loop_thread not in threads.values()
    assert len(server.messages) == 504


async def test_work_in_threads_pauses_for_the_loop(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between messages and inside large ones; a synchronous client never pauses."""
    pauses: list[int] = []

    def sleep(seconds: float) -> None:
        pauses.append(threading.get_ident())
        time.sleep(seconds)

    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    monkeypatch.setattr(pace, "STEP_S", 0)
    async with AsyncClient("key", "secret", server_url=server.url) as client:
        assert (await client.export_batch_async([a_message(n) for n in range(100)]))["failed"] == 0
        assert len(pauses) >= 100
        pauses.clear()
        assert await client.export_async(a_message(values=[{"odd": {1, number}} for number in range(300)]))
        assert len(pauses) >= 600
    assert threading.get_ident() not in pauses
    pauses.clear()
    with Client("key", "secret", server_url=server.url) as synchronous:
        assert synchronous.export_batch([a_message(n) for n in range(100)])["failed"] == 0
    assert pauses == []
