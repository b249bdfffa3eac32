"""The HTTP edge under load, beside a no-op handler of the same framework.

Four kept connections post batches of 1,000 ten-field messages; a 200 means fsynced. Beside them one connection reads
``/configs`` (token, database, JSON). The peer is a FastAPI route that reads the body and answers a constant, on the same
uvicorn: what it reaches is the most that this framework could. Sender and servers share the machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mona_server.api.identity import tokens
from mona_server.settings import load
from mona_server.store import Store

MESSAGES = 1_000


def bodies(n: int, seed: int = 7) -> list[bytes]:
    """Batches of new contexts: ten fields of numbers, words and booleans."""
    draw = random.Random(seed)
    words = [f"word{i}" for i in range(50)]
    made = []
    for batch in range(n):
        messages = [
            {
                "arcClass": "LOAN",
                "contextId": f"{batch}-{i}",
                "exportTimestamp": 1_700_000_000 + batch,
                "message": {f"number{k}": round(draw.random() * 1000, 3) for k in range(5)}
                | {f"word{k}": draw.choice(words) for k in range(4)}
                | {"flag": draw.random() < 0.5},
            }
            for i in range(MESSAGES)
        ]
        made.append(json.dumps({"userId": "default", "messages": messages}).encode())
    return made


@contextmanager
def process(code: str, *arguments: str) -> Iterator[int]:
    """A Python process that listens on the port it is given; ready when it accepts connections. Yields the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    running = subprocess.Popen([sys.executable, "-c", code, str(port), *arguments], start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        os.kill(running.pid, signal.SIGTERM)
        running.wait(20)


NOOP = """
import sys, uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
app = FastAPI()
@app.post("/export")
async def export(request: Request):
    await request.body()
    return Response(b"{}", media_type="application/json")
@app.post("/configs")
async def configs(request: Request):
    return Response(b"{}", media_type="application/json")
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="error")
"""

MONA = """
import signal, sys, threading
from pathlib import Path
from mona_server import logs, settings
from mona_server.api import process
logs.configure("api", level="ERROR")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
process.serve(settings.load(Path(sys.argv[2]), server={"port": int(sys.argv[1])}), stop)
"""


def send(port: int, headers: dict[str, str], batches: list[bytes], seconds: float, out: Any) -> None:
    """One connection that posts until the time is over; (latencies in s, messages) go to ``out``."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    latencies = []
    i = 0
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        connection.request("POST", "/export", batches[i % len(batches)], headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            latencies.append(time.perf_counter() - now)
        elif answer.status == 429:
            time.sleep(float(answer.headers["Retry-After"]))
        else:
            raise SystemExit(f"the server answered {answer.status}")
        i += 1
    out.put(("sent", latencies))


def read(port: int, headers: dict[str, str], seconds: float, out: Any) -> None:
    """One connection that reads; latencies in s."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    latencies = []
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        connection.request("POST", "/configs", b"{}", headers)
        connection.getresponse().read()
        latencies.append(time.perf_counter() - now)
        time.sleep(0.005)
    out.put(("read", latencies))


def load_with(
    port: int, headers: dict[str, str], batches: list[bytes], connections: int, seconds: float
) -> dict[str, float]:
    out: Any = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=_senders, args=(port, headers, batches, connections, seconds, out)),
        multiprocessing.Process(target=read, args=(port, headers, seconds, out)),
    ]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    found = [out.get() for _ in range(connections + 1)]
    took = time.perf_counter() - started
    for worker in workers:
        worker.join()
    sent = sorted(latency for kind, all_ in found if kind == "sent" for latency in all_)
    reads = sorted(latency for kind, all_ in found if kind == "read" for latency in all_)
    return {
        "messages_s": len(sent) * MESSAGES / took,
        "p50_ms": statistics.median(sent) * 1000,
        "p99_ms": sent[int(len(sent) * 0.99)] * 1000,
        "read_p95_ms": reads[int(len(reads) * 0.95)] * 1000,
    }


def _senders(
    port: int, headers: dict[str, str], batches: list[bytes], connections: int, seconds: float, out: Any
) -> None:
    threads = [
        threading.Thread(target=send, args=(port, headers, batches[k::connections], seconds, out))
        for k in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    batches = bodies(40)
    results = {}
    with process(NOOP) as port:
        results["no-op handler"] = load_with(port, {}, batches, options.connections, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        # The fold does not run here, so the inbox must hold the whole run.
        (Path(folder) / "mona.toml").write_text("[limits]\nmax_inbox_bytes = 100_000_000_000\n")
        settings = load(Path(folder))
        now_ms = int(time.time() * 1000)
        with Store.open(settings.data_dir, settings) as store:
            token = tokens.create_token(store.meta, now_ms=now_ms)
        with process(MONA, folder) as port:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            body = json.dumps({"clientId": token.client_id, "secret": token.secret})
            connection.request("POST", "/identity/resources/auth/v1/api-token", body)
            access = json.loads(connection.getresponse().read())["accessToken"]
            headers = {"Authorization": f"Bearer {access}", "Content-Type": "application/json"}
            results["mona"] = load_with(port, headers, batches, options.connections, options.seconds)
    if options.json:
        print(json.dumps(results))
        return
    print(f"{options.connections} connections, {MESSAGES} messages and {len(batches[0]) / 1000:.0f} kB a batch")
    print("| | messages/s | p50 ms | p99 ms | reads p95 ms |\n| --- | --- | --- | --- | --- |")
    for name, r in results.items():
        print(f"| {name} | {r['messages_s']:,.0f} | {r['p50_ms']:.1f} | {r['p99_ms']:.1f} | {r['read_p95_ms']:.1f} |")
    share = results["mona"]["messages_s"] / results["no-op handler"]["messages_s"]
    print(f"\ndurable acceptance reaches {share:.0%} of the no-op handler")


if __name__ == "__main__":
    main(sys.argv[1:])
