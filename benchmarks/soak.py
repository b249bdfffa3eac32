"""A whole server under mixed load for half an hour: is its memory flat, is its disk bounded, is all there exactly once?

    make soak                                      # 30 minutes at 1,500 messages/s
    python -m benchmarks.soak --minutes 5 --rate 500 --samples samples.csv

`mona up` runs with all its parts. Simulated time passes at four days a minute, so that the soak sees four months: half of
the messages are new contexts, half are labels up to 30 days late; some contexts are deleted by messages, some by the
API, and everything beyond 40 days by range. Beside that pages' queries are asked twice a second, verses run every
minute, and the configuration changes, with backfills. After 10 minutes as much goes as comes, so what a process holds
must not grow any more. At the end every context is compared with what was acknowledged.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import urllib3

from benchmarks.soak_load import CITIES, CLASS, DAY_MS, KEPT_DAYS, QUIET_DAYS, Repeated, Sender, Server, Time
from benchmarks.soak_report import report
from benchmarks.soak_watch import MIB, Watch
from mona_server.api.identity import tokens
from mona_server.cli import up
from mona_server.ingest.lake_process import Keeper
from mona_server.settings import Settings, load
from mona_server.store import Store, catalog, documents, erase, lake, verify
from mona_server.store.flush import flush

SENDERS = 2


def configuration(change: int) -> dict[str, Any]:
    """One of four configurations: a field comes and goes and changes its type, the verses change."""
    fields: dict[str, Any] = {f"number{i}": {"type": "numeric"} for i in range(4)}
    fields |= {"city": {"type": "string"}, "device": {"type": "string"}, "count": {"type": "numeric"}}
    fields |= {"note": {"type": "string"}, "flag": {"type": "boolean"}, "label": {"type": "boolean"}}
    if change % 4 == 2:
        fields["count_text"] = {"type": "string", "sources": ["count"]}
    if change % 4 == 3:
        fields["count"] = {"type": "string"}
    periods = {"target_set_period": "1w", "benchmark_set_period": "3w", "min_segment_size": 50}
    verses = [
        {"type": "AverageDrift", "metrics": ["number0", "label"], "segment_by": ["city", "device"], **periods},
        {"type": "DistributionDrift", "metrics": ["device"], "segment_by": ["city"], **periods},
    ]
    return {CLASS: {"fields": fields, "stanzas": {"soak": {"verses": verses[: 1 + change % 2]}}}}


class Soak:
    """Everything that happens to the server beside sending."""

    def __init__(self, server: Server, senders: Sequence[Sender], clock: Time) -> None:
        self.server, self.senders, self.clock = server, senders, clock
        self._questions = itertools.cycle(
            (self._segment, self._series, self._dimension, self._histogram, self._contexts)
        )
        self._changes, self._asked = 0, 0
        self._turn = itertools.cycle(senders)

    def ask(self) -> None:
        """One of the questions that pages ask."""
        next(self._questions)()

    def search(self) -> None:
        """Run all verses for the last whole day, and wait for it."""
        day = self.clock.now_ms() // DAY_MS * DAY_MS // 1000
        self._wait(self.server.call("POST", "/api/v1/runs", {"context_class": CLASS, "timestamp": day})["job_id"])

    def configure(self) -> None:
        """The next configuration, and its backfill where fields change."""
        body = {"config": configuration(self._changes), "commit_message": f"soak {self._changes}"}
        self.server.call("POST", "/api/v1/config", body)
        if self._changes >= 2:
            self._wait(self.server.call("POST", "/api/v1/backfill", {"context_class": CLASS})["job_id"])
        self._changes += 1

    def delete_one(self) -> None:
        """One context, by the API."""
        context_id = next(self._turn).take_quiet()
        if context_id is not None:
            self._wait(self.server.call("DELETE", f"/api/v1/classes/{CLASS}/contexts/{context_id}")["job_id"])

    def delete_old(self) -> None:
        """All contexts beyond the kept days."""
        before_s = (self.clock.now_ms() - KEPT_DAYS * DAY_MS) // 1000
        for sender in self.senders:
            sender.take_range(before_s * 1000)
        self._wait(self.server.call("DELETE", f"/api/v1/classes/{CLASS}/data?to={before_s}")["job_id"])

    def _wait(self, job_id: str) -> None:
        while (job := self.server.call("GET", f"/api/v1/jobs/{job_id}"))["state"] in ("queued", "running"):
            time.sleep(0.5)
        if job["state"] != "done":
            raise RuntimeError(f"job {job['kind']} is {job['state']}: {job['error']}")

    def size(self, segment: dict[str, Any]) -> int:
        """Contexts of a segment over all time."""
        return int(self._query(segment, 10_000)["segments"][0]["size"])

    def _query(self, segment: dict[str, Any], days: int, **more: Any) -> Any:
        to_s = self.clock.now_ms() // 1000 + 86_400
        ask: dict[str, Any] = {"context_class": CLASS, "timestamp_from": to_s - days * 86_400, "timestamp_to": to_s}
        ask |= {"requested_segments": [segment], "metrics": [{"field": "number0", "types": ["average", "count"]}]}
        return self.server.call("POST", "/api/v1/query/segment", ask | more)

    def _segment(self) -> None:
        self._asked += 1
        self._query({"city": [{"value": CITIES[self._asked % len(CITIES)]}]}, 7)

    def _series(self) -> None:
        self._query({}, 30, time_series_resolutions=["1d"])

    def _dimension(self) -> None:
        now_s = self.clock.now_ms() // 1000
        ask: dict[str, Any] = {
            "context_class": CLASS,
            "dimension": "city",
            "target_time_range": [now_s - 7 * 86_400, now_s],
        }
        ask |= {"compared_time_range": [now_s - 14 * 86_400, now_s - 7 * 86_400], "min_segment_size": 1}
        ask |= {"metric_1_field": "number0", "metric_1_type": "average", "metric_2_field": "number1"}
        ask |= {"metric_2_type": "average", "sort_function": "SIZE_TOP"}
        self.server.call("POST", "/api/v1/query/segments", ask)

    def _histogram(self) -> None:
        now_s = self.clock.now_ms() // 1000
        window: dict[str, Any] = {"timestamp_from": now_s - 7 * 86_400, "timestamp_to": now_s}
        self.server.call("POST", "/api/v1/query/histogram", {"context_class": CLASS, "field": "number1", **window})

    def _contexts(self) -> None:
        found = self.server.call("GET", f"/api/v1/classes/{CLASS}/contexts?limit=5")["items"]
        for one in found[:1]:
            self.server.call("GET", f"/api/v1/classes/{CLASS}/contexts/{one['contextId']}")
        self.server.call("GET", f"/api/v1/classes/{CLASS}/ingestion")


def stored(store: Store, now_ms: int) -> tuple[dict[str, bool], list[str], dict[str, int]]:
    """What the closed server left: context id → labelled, ids whose values counted twice, id → messages kept."""
    duck = lake.engine(threads=2, memory="1GB", spill=store.data_dir / "tmp")
    while flush(store, duck, now_ms):
        pass
    for outstanding in erase.outstanding(store):
        erase.erase(store, duck, outstanding, now_ms)
    class_id = catalog.find_class(store.state.connection, "default", CLASS)
    assert class_id is not None
    found, twice = {}, []
    for document in documents.scan(store.state.connection, class_id, 0, 2**62):
        values = json.loads(document.variables)
        found[document.context_id] = "label" in values
        if values["created"] != 1 or values.get("labels", 1) != 1:
            twice.append(document.context_id)
    with store.state.reading() as connection:
        files = [str(file.path) for file in lake.live(connection, store.lake, "messages", class_id)]
    kept = _count_messages(duck, files)
    duck.close()
    return found, twice, kept


def _count_messages(duck: duckdb.DuckDBPyConnection, files: list[str]) -> dict[str, int]:
    rows = duck.execute("SELECT MONA_ID, count(*) FROM read_parquet(?) GROUP BY MONA_ID", [files]).fetchall()
    return dict(rows)


def differences(expected: dict[str, bool], store: Store, now_ms: int) -> list[str]:
    """How what is stored differs from what was acknowledged."""
    found, twice, kept = stored(store, now_ms)
    messages = {context_id: 1 + labelled for context_id, labelled in expected.items()}
    problems = {
        "contexts are missing": expected.keys() - found.keys(),
        "contexts should be gone": found.keys() - expected.keys(),
        "contexts counted a message twice": twice,
        "contexts have the wrong label": [i for i in expected.keys() & found.keys() if expected[i] != found[i]],
        "contexts lack messages of their history": [i for i, n in messages.items() if kept.get(i, 0) < n],
        "contexts have messages twice": [i for i, n in messages.items() if kept.get(i, 0) > n],
        "removed contexts still have messages": kept.keys() - expected.keys(),
    }
    told = [f"{len(ids)} {what}, such as {min(ids)}" for what, ids in problems.items() if ids]
    return told + [f"verify: {finding.message}" for finding in verify.verify(store, now_ms=now_ms)]


def drive(soak: Soak, watch: Watch, minutes: float) -> list[str]:
    """Run all of the load for so long; returns what failed."""
    stop, watching = threading.Event(), threading.Event()
    soak.configure()
    senders = [threading.Thread(target=sender.run, args=(stop,)) for sender in soak.senders]
    quiet_s = QUIET_DAYS / soak.clock.days_per_minute * 60
    others = [
        Repeated("queries", 0.5, soak.ask, stop),
        Repeated("searches", 60, soak.search, stop),
        Repeated("configurations", 240, soak.configure, stop),
        Repeated("single deletes", 20, soak.delete_one, stop),
        Repeated("range deletes", 60, soak.delete_old, stop),
    ]
    watcher = threading.Thread(target=watch.run, args=(watching,))
    for thread in [*senders, watcher]:
        thread.start()
    stop.wait(min(quiet_s, 5))  # there must be something to ask for
    for thread in others:
        thread.start()
    stop.wait(minutes * 60)
    stop.set()
    for thread in [*senders, *others]:
        thread.join()
    watching.set()
    watcher.join()
    for one in others:
        if one.seconds:
            print(f"{one.name:16} {len(one.seconds):6,} times, p50 {_at(one.seconds, 50)}, p99 {_at(one.seconds, 99)}")
    failures = [sender.failure for sender in soak.senders] + [one.failure for one in others]
    return [failure for failure in failures if failure]


def _at(seconds: list[float], percent: float) -> str:
    value = float(np.percentile(seconds, percent))
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.1f} s"


def enter(settings: Settings, tenant: str = "default") -> Server:
    """A server that runs, and an access token of an Admin of the tenant."""
    with Store.open(settings.data_dir, settings) as store:
        made = tokens.create_token(store.meta, now_ms=time.time_ns() // 1_000_000, tenant=tenant)
    url = up.address(settings)
    body = {"clientId": made.client_id, "secret": made.secret}
    answer = urllib3.request("POST", f"{url}/identity/resources/auth/v1/api-token", json=body)
    return Server(url, answer.json()["accessToken"])


def settle(soak: Soak, expected: dict[str, bool], timeout_s: float = 300) -> list[str]:
    """Wait until all that was acknowledged is seen by queries, as people would see it."""
    labelled = {"label": [{"value": True}, {"value": False}]}
    want = (len(expected), sum(expected.values()))
    deadline = time.monotonic() + timeout_s
    while (got := (soak.size({}), soak.size(labelled))) != want:
        if time.monotonic() > deadline:
            return [f"queries see {got} contexts and labels, not {want}"]
        time.sleep(1)
    return []


def doctor_reader(server: Server) -> Callable[[], dict[str, float]]:
    """Reads what the doctor says, by the names of the readings."""

    def read() -> dict[str, float]:
        return {item["id"]: float(item["value"]) for item in server.call("GET", "/api/v1/doctor")["items"]}

    return read


def contexts_reader(server: Server) -> Callable[[], int]:
    """Reads how many contexts are stored: those that wait to be deleted still take their place."""

    def read() -> int:
        items = server.call("GET", "/api/v1/classes")["items"]
        return sum(int(item["contexts"]) for item in items if item["name"] == CLASS)

    return read


def main(argv: list[str]) -> None:
    """Prints the tables; ends with 1 where memory, disk or open files are not flat, or something is lost or doubled."""
    parser = argparse.ArgumentParser(prog="benchmarks soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=1_500, help="messages per second")
    parser.add_argument("--days-per-minute", type=float, default=4, help="how fast simulated time passes")
    parser.add_argument("--samples", type=Path, help="a CSV file to which all samples are added")
    parser.add_argument("--port", type=int, default=18_420)
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="mona-soak-"))
    try:
        # A horizon of two minutes: what late labels cancel is dropped while the soak runs, not 30 days later.
        overrides = {"server": {"port": options.port}, "ingest": {"asof_days": 2 / 1440}}
        settings = load(root / "data", environ={}, **overrides)
        problems = run(settings, options)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    if problems:
        sys.exit(1)
    print("nothing seen to grow, nothing lost, nothing doubled")


def run(settings: Settings, options: argparse.Namespace) -> list[str]:
    """The whole soak; what is not as it should be."""
    total_days = (options.minutes + 10) * options.days_per_minute
    start_ms = time.time_ns() // 1_000_000 - round(total_days * DAY_MS)
    with up.running(settings) as supervisor:
        server = enter(settings)
        clock = Time(time.monotonic(), start_ms, options.days_per_minute)
        senders = [Sender(server, shard, clock, options.rate / SENDERS) for shard in range(SENDERS)]
        soak = Soak(server, senders, clock)

        def pids() -> dict[str, int]:
            return {part.name: part.process.pid or 0 for part in supervisor.parts if part.process is not None}

        watch = Watch(pids, settings.data_dir, doctor_reader(server), contexts_reader(server), 5, options.samples)
        problems = drive(soak, watch, options.minutes)
        sent = sum(s.sent for s in senders)
        seconds = [one for s in senders for one in s.seconds]
        print(
            f"{sent:,} messages, {sum(s.bytes for s in senders) / MIB:,.0f} MiB, {sum(s.replayed for s in senders)} batches"
            f" sent twice; acknowledged after {_at(seconds, 50)} (p50), {_at(seconds, 99)} (p99), {_at(seconds, 100)} at most"
        )
        if problems:
            return problems
        soak.delete_old()
        expected = {i: labelled for s in senders for i, labelled in s.expected().items()}
        problems += settle(soak, expected)
    problems += report(watch, options.minutes)
    with Store.open(settings.data_dir, settings) as store:
        Keeper(store, settings).start()
        problems += differences(expected, store, time.time_ns() // 1_000_000)
    print(f"{len(expected):,} contexts compared, {sum(expected.values()):,} of them with a label")
    return problems


if __name__ == "__main__":
    main(sys.argv[1:])
