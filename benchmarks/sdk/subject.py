"""What is measured, as a user would write it; run by the interpreter of either client. Prints one JSON object.

Standard library and `mona_sdk` only, because the public client's environment has nothing else.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


def message(fields: int, number: int) -> dict[str, Any]:
    """A message of a plausible model: numbers and short texts in turn."""
    values: dict[str, Any] = {}
    for field in range(0, fields, 2):
        values[f"feature_{field}"] = round(number * 0.37 + field, 4)
        values[f"category_{field}"] = f"value {(number + field) % 17}"
    return values


def client_arguments(job: dict[str, Any]) -> dict[str, Any]:
    """What a client of the job's server is made with; the public one needs each address."""
    url, credentials = job["url"], {"api_key": "key", "secret": "secret"}
    if job["kind"] == "public":
        return {
            **credentials,
            "override_rest_api_full_url": f"{url}/export",
            "override_app_server_full_url": url,
            "auth_api_token_url": f"{url}/identity/resources/auth/v1/api-token",
            "refresh_token_url": f"{url}/identity/resources/auth/v1/api-token/token/refresh",
        }
    return {**credentials, "server_url": url, **job.get("options", {})}


def make_client(job: dict[str, Any]) -> Any:
    """A client for the server of the job."""
    from mona_sdk.client import Client

    return Client(**client_arguments(job))


def single(job: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
    """One export after the other."""
    client = make_client(job)
    client.export(messages[0])
    clock = Clock()
    for each in messages:
        assert client.export(each)
    return clock.per(len(messages))


def batch(job: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
    """`export_batch` of all messages, several times."""
    client = make_client(job)
    client.export_batch(messages[:10])
    client.export_batch(messages)
    clock = Clock()
    for _ in range(job["repeat"]):
        assert client.export_batch(messages)["failed"] == 0
    return clock.per(len(messages) * job["repeat"])


def large(job: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
    """One call with very many messages, and what it costs in memory."""
    client = make_client(job)
    client.export_batch(messages[:10])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = Clock()
    assert client.export_batch(messages)["failed"] == 0
    return {
        **clock.per(len(messages)),
        "memory_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def background(job: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
    """Messages into the queue until it is full enough, and the time until all are delivered."""
    client = make_client(job)
    client.export(messages[0])
    client.flush(10)
    waits: list[float] = []
    lock = threading.Lock()

    def produce(part: list[Any]) -> None:
        mine = []
        for each in part:
            started = time.perf_counter()
            while not client.export(each):
                time.sleep(0.001)
            mine.append(time.perf_counter() - started)
        with lock:
            waits.extend(mine)

    threads = job.get("threads", 1)
    clock = Clock()
    parts = [messages[start::threads] for start in range(threads)]
    workers = [threading.Thread(target=produce, args=(part,)) for part in parts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert client.flush(120)
    result = clock.per(len(messages))
    waits.sort()
    return {
        **result,
        "enqueue_median_us": waits[len(waits) // 2] * 1e6,
        "enqueue_p99_us": waits[len(waits) * 99 // 100] * 1e6,
    }


def concurrent(job: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
    """100 coroutines that export one message after the other."""
    import asyncio

    from mona_sdk.async_client import AsyncClient

    async def run() -> dict[str, Any]:
        client = AsyncClient(**client_arguments(job))
        await client.export_async(messages[0])
        clock = Clock()
        await _100_coroutines(client, messages)
        return clock.per(len(messages))

    return asyncio.run(run())


async def _100_coroutines(client: Any, messages: list[Any]) -> None:
    import asyncio

    async def one(part: list[Any]) -> None:
        for each in part:
            assert await client.export_async(each)

    await asyncio.gather(*[one(messages[start::100]) for start in range(100)])


def stalls(job: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
    """How an event loop fares beside the work: how late a coroutine is woken that sleeps for a millisecond at a time,
    and the CPU time of the loop's thread in each single callback. `load` says what the work is.

    A late waking is the loop's own work, another thread that holds the interpreter, or another process on the machine:
    `nothing` shows the last.
    """
    import asyncio

    from mona_sdk.async_client import AsyncClient

    large = type(messages[0])({"values": [n * 1.5 for n in range(job.get("values", 0))]}, "LOAN", "large")
    late: list[float] = []
    work: list[float] = []
    run_callback = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        started = time.thread_time()
        run_callback(handle)
        work.append(time.thread_time() - started)

    async def heartbeat() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - started - 0.001)

    async def run() -> None:
        client = AsyncClient(**client_arguments(job))
        assert await client.export_async(messages[0])
        beating = asyncio.create_task(heartbeat())
        await asyncio.sleep(0.05)
        late.clear()
        work.clear()
        if job["load"] == "nothing":
            await asyncio.sleep(1)
        elif job["load"] == "exports":
            await _100_coroutines(client, messages)
        elif job["load"] == "batch":
            for _ in range(job["repeat"]):
                assert (await client.export_batch_async(messages))["failed"] == 0
        else:
            for _ in range(job["repeat"]):
                assert await client.export_async(large)
        beating.cancel()

    asyncio.Handle._run = timed  # type: ignore[assignment,method-assign]
    asyncio.run(run())
    figures = {}
    for name, seconds in (("stall", late), ("callback", work)):
        seconds.sort()
        for share in (50, 99):
            figures[f"{name}_p{share}_ms"] = seconds[len(seconds) * share // 100] * 1e3
        figures[f"{name}_max_ms"] = seconds[-1] * 1e3
    return figures


def limits(job: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
    """Against a server that accepts and is silent: how long after its limit a call returns (ours only)."""
    from mona_sdk.client import Client

    def late_ms(limit: float, call: Callable[[], Any]) -> float:
        started = time.perf_counter()
        assert not call()
        return (time.perf_counter() - started - limit) * 1e3

    to: dict[str, Any] = {
        "server_url": f"{job['url']}/silent",
        "access_token": "token",
        "user_id": "user",
        "export_deadline": 1,
    }
    waiting = Client(**to)
    queued = Client(background=True, **to)
    assert queued.export(messages[0])
    return {
        "export_late_ms": late_ms(1, lambda: waiting.export(messages[0])),
        "flush_late_ms": late_ms(0.3, lambda: queued.flush(0.3)),
        "close_late_ms": late_ms(0.3, lambda: queued.close(0.3)),
    }


def table(job: dict[str, Any], _: list[Any]) -> dict[str, Any]:
    """`export_table` of ten columns: six floats (one with gaps), an integer, two texts (one the id) and a time."""
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    rows = job["messages"]
    chance = np.random.default_rng(0)
    columns: dict[str, Any] = {f"f{n}": chance.normal(size=rows).round(4) for n in range(6)}
    columns["f0"][::10] = np.nan
    columns["count"] = np.arange(rows)
    columns["city"] = np.array([f"city {n % 17}" for n in range(rows)], dtype=object)
    columns["id"] = np.arange(rows).astype(str)
    columns["when"] = 1700000000 + np.arange(rows)
    made = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}[job["library"]](columns)
    del columns
    job["options"] = {"export_deadline": 600}
    client = make_client(job)
    client.export_table(made[:10] if job["library"] != "arrow" else made.slice(0, 10), "LOAN", "id", "when")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = Clock()
    assert client.export_table(made, "LOAN", "id", "when")["failed"] == 0
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {**clock.per(rows), "memory_mib": grown}


class Clock:
    """Wall time and CPU time of this process since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def per(self, count: int) -> dict[str, Any]:
        """Figures for `count` messages."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"per_second": count / wall, "wall_us": wall / count * 1e6, "cpu_us": cpu / count * 1e6}


CASES: dict[str, Callable[[dict[str, Any], list[Any]], dict[str, Any]]] = {
    "single": single,
    "batch": batch,
    "large": large,
    "background": background,
    "concurrent": concurrent,
    "stalls": stalls,
    "limits": limits,
    "table": table,
}


def main() -> None:
    """Run the job of the command line; the import is measured before anything else is imported."""
    job = json.loads(sys.argv[1])
    if job["case"] == "imports":
        started, cpu = time.perf_counter(), time.process_time()
        import mona_sdk.client

        wall = time.perf_counter() - started
        print(
            json.dumps(
                {
                    "import_ms": wall * 1e3,
                    "import_cpu_ms": (time.process_time() - cpu) * 1e3,
                    "of": mona_sdk.client.__name__,
                }
            )
        )
        return
    from mona_sdk.client import MonaSingleMessage

    logging.getLogger("mona-logger").setLevel(logging.CRITICAL)
    messages = [
        MonaSingleMessage(
            message=message(job["fields"], n), contextClass="LOAN", contextId=f"id-{n}", exportTimestamp=1700000000 + n
        )
        for n in range(job["messages"] if "fields" in job else 0)
    ]
    print(json.dumps(CASES[job["case"]](job, messages)))


if __name__ == "__main__":
    main()
