"""How fast messages are accepted and folded, how the rate moves as the store grows, and what they take on disk.

    python -m benchmarks ingest                    # 100,000 contexts, a minute
    python -m benchmarks ingest --documents 10000000

Half of the folded messages are new contexts with all fields, half are labels for contexts that exist. A naive twin
(one SQLite row per context, merged by ``json_patch``, one commit per request; no fields, facts or history) runs beside
it as the baseline. Floors are checked against processor time, so that a busy machine does not fail them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mona_server import settings
from mona_server.config.fields import FieldBuilder
from mona_server.config.model import ContextClass, Field, Source
from mona_server.ingest import deletes, fold_process
from mona_server.ingest.builders import ClassBuilder, TenantBuilders
from mona_server.ingest.envelope import read
from mona_server.ingest.fold import Folder
from mona_server.ingest.limits import Limits
from mona_server.store import Accepted, Key, Receipt, Store, catalog, disk, documents, erase, jobs, lake, state
from mona_server.store.flush import flush
from mona_server.store.rows import encode_fact

NOW_MS = 1_700_000_000_000
BATCH = 1_000
ACCEPTED_FLOOR = 100_000
FOLDED_FLOOR = 20_000
LIMITS = Limits()
_encode = msgspec.json.Encoder().encode
"""JSON without spaces, as the SDK sends it."""


@dataclass(frozen=True)
class Rate:
    """Messages per second of wall time and of processor time (all threads of this process)."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:10,.0f} msg/s {self.cpu:10,.0f} per core second"


class Clock:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rate(self, messages: int) -> Rate:
        return Rate(messages / (time.perf_counter() - self._wall), messages / (time.process_time() - self._cpu))


@dataclass(frozen=True)
class Fixed:
    """One configuration for everybody."""

    tenant: TenantBuilders

    def active(self, _tenant: str) -> TenantBuilders:
        return self.tenant


def builders(fields: int) -> Fixed:
    made = {
        f"feature_{i}": Field(
            name=f"feature_{i}", type="numeric" if i % 2 else "string", sources=(Source((f"feature_{i}",)),)
        )
        for i in range(fields - 1)
    }
    made["label"] = Field(name="label", type="boolean", sources=(Source(("label",)),))
    builder = ClassBuilder(FieldBuilder(ContextClass(name="LOAN", fields=made)), frozenset(made))
    return Fixed(TenantBuilders("1", {"LOAN": builder}))


def context_id(i: int) -> str:
    """Ids as people make them: no order that an index could profit from."""
    return f"{(i * 0x9E3779B97F4A7C15) % 2**64:016x}-{i:08x}"


def values(i: int, fields: int) -> dict[str, object]:
    return {f"feature_{j}": i * 0.37 + j if j % 2 else f"value {(i + j) % 17}" for j in range(fields - 1)}


def new_bodies(first: int, count: int, fields: int) -> Iterator[bytes]:
    """Requests of 1,000 new contexts."""
    for start in range(first, first + count, BATCH):
        messages = [
            {
                "arcClass": "LOAN",
                "contextId": context_id(i),
                "exportTimestamp": 1_650_000_000 + i,
                "message": values(i, fields),
            }
            for i in range(start, start + BATCH)
        ]
        yield _encode({"userId": "T", "messages": messages})


def label_bodies(first: int, count: int) -> Iterator[bytes]:
    """Requests of 1,000 labels for contexts that exist, in about the order in which they came."""
    ids = list(range(first, first + count))
    random.Random(1).shuffle(ids)
    ids.sort(key=lambda i: i // 20_000)
    for start in range(0, count, BATCH):
        messages = [
            {"arcClass": "LOAN", "contextId": context_id(i), "message": {"label": i % 3 == 0}}
            for i in ids[start : start + BATCH]
        ]
        yield _encode({"userId": "T", "messages": messages})


def accept(data: Path, fields: int, requests: int) -> Rate:
    """Messages per second that are read, checked and fsynced, sixteen requests in work."""
    bodies = list(new_bodies(0, requests * BATCH, fields))
    limits = LIMITS.text
    with Store.open(data) as store:
        clock = Clock()
        waiting = []
        for n, body in enumerate(bodies):
            envelope = read(body, NOW_MS, LIMITS)
            key = Key.of("T", "export", f"key {n}", body)
            waiting.append(store.inbox.submit(Accepted("T", body, NOW_MS, envelope.total, limits, key)))
            if len(waiting) >= 16:
                waiting.pop(0).result()
        for future in waiting:
            future.result()
        return clock.rate(requests * BATCH)


def prefill(store: Store, count: int, fields: int) -> None:
    """Documents as folding would leave them, without the folding."""
    names = [f"feature_{j}" for j in range(fields - 1)] + ["label"]
    with store.state.writing() as connection:
        class_id = catalog.ensure_class(connection, "T", "LOAN", NOW_MS)
        columns = catalog.ensure_columns(
            connection,
            class_id,
            [(n, "boolean" if n == "label" else "string" if int(n[8:]) % 2 == 0 else "numeric") for n in names],
        )
        layout = catalog.ensure_layout(connection, class_id, [column.physical for column in columns])
    index = store.state.connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'documents_by_hash'").fetchone()[
        0
    ]
    store.state.connection.execute("DROP INDEX documents_by_hash")  # built at the end, in a tenth of the time
    for start in range(0, count, 50_000):
        made = []
        for i in range(start, min(count, start + 50_000)):
            id_, time_ms, given = context_id(i), (1_650_000_000 + i) * 1000, values(i, fields)
            fact = encode_fact(layout, id_, time_ms, NOW_MS, [*given.values(), None])
            hash_ = documents.hash_key(class_id, id_)
            made.append(
                documents.Document(None, hash_, class_id, id_, time_ms, 1, NOW_MS, NOW_MS, _encode(given), fact)
            )
        with store.state.writing() as connection:
            documents.put(connection, made)
    store.state.connection.execute(index)


def remove(data: Path, contexts: int) -> float:
    """Contexts per second that are deleted for good: documents, facts, messages, and all rows of their past."""
    with Store.open(data, folding=True) as store:
        folder = Folder(store, builders(10))
        for body in new_bodies(0, contexts, 10):
            store.inbox.append([Accepted("T", body, NOW_MS, BATCH, LIMITS.text)])
        while folder.step(NOW_MS):
            pass
        duck = lake.engine()
        while flush(store, duck, NOW_MS):
            pass
        jobs.create(store.meta, "T", "delete_range", {"context_class": "LOAN", "from_ms": 0, "to_ms": 2**45}, NOW_MS)
        job = jobs.claim(store.meta, ("delete_range",), "benchmark", NOW_MS)
        assert job is not None
        started = time.perf_counter()
        for _ in deletes.delete_range(folder, job, lambda: NOW_MS):
            pass
        for class_id in erase.outstanding(store):
            erase.erase(store, duck, class_id, NOW_MS)
        rate = contexts / (time.perf_counter() - started)
        duck.close()
    return rate


def fold(data: Path, fields: int, contexts: int, messages: int) -> Rate:
    """Messages per second, half of them new contexts and half labels of random old ones."""
    with Store.open(data) as store:
        if contexts:
            prefill(store, contexts, fields)
    with Store.open(data, folding=True) as store:
        folder = Folder(store, builders(fields))
        half = messages // 2
        label_first = random.Random(2).randrange(0, max(1, contexts - half)) // BATCH * BATCH
        pairs = zip(new_bodies(contexts, half, fields), label_bodies(label_first, half), strict=True)
        for body in (body for pair in pairs for body in pair):
            store.inbox.append([Accepted("T", body, NOW_MS, BATCH, LIMITS.text)])
        clock, done = Clock(), 0
        while step := folder.step(NOW_MS):
            done += step.messages
        return clock.rate(done)


def naive(data: Path, fields: int, contexts: int, messages: int) -> Rate:
    """The baseline: one row per context, merged by SQLite, one commit per request; no fields, facts or history."""
    data.mkdir(parents=True)
    connection = sqlite3.connect(data / "naive.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE contexts (class TEXT, id TEXT, doc TEXT, PRIMARY KEY (class, id))")
    upsert = "INSERT INTO contexts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET doc = json_patch(doc, excluded.doc)"

    def store(body: bytes) -> None:
        rows = [(m["arcClass"], m["contextId"], json.dumps(m["message"])) for m in json.loads(body)["messages"]]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(upsert, rows)
        connection.execute("COMMIT")

    for body in new_bodies(0, contexts, fields):
        store(body)
    half = messages // 2
    pairs = list(zip(new_bodies(contexts, half, fields), label_bodies(0, half), strict=True))
    clock = Clock()
    for pair in pairs:
        for body in pair:
            store(body)
    rate = clock.rate(messages)
    connection.close()
    return rate


@dataclass(frozen=True)
class Load:
    """Acknowledgements while the fold works on the same data directory."""

    accepted: float
    folded: float
    p50_ms: float
    p99_ms: float


def _fold_beside(data: Path, fields: int, stop: Any) -> None:
    fold_process.serve(settings.load(data, environ={}), stop, builders=builders(fields))


def load(data: Path, fields: int, seconds: float) -> Load:
    """Sends as fast as sixteen requests in work allow, with the fold in a process of its own."""
    data.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    process = context.Process(target=_fold_beside, args=(data, fields, stop))
    process.start()
    bodies = list(new_bodies(0, 50 * BATCH, fields))
    latencies: list[float] = []
    waiting: list[tuple[float, Future[Receipt]]] = []

    def wait() -> None:
        started, future = waiting.pop(0)
        future.result()
        latencies.append(time.perf_counter() - started)

    with Store.open(data) as store:
        while not process.is_alive() or not (data / "fold.lock").exists():
            time.sleep(0.05)
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            body = bodies[len(latencies) % len(bodies)]
            read(body, NOW_MS, LIMITS)
            waiting.append((time.perf_counter(), store.inbox.submit(Accepted("T", body, NOW_MS, BATCH, LIMITS.text))))
            if len(waiting) >= 16:
                wait()
        while waiting:
            wait()
        taken = time.perf_counter() - begun
        folded = state.folded_number(store.state.connection, "T")
    stop.set()
    process.join()
    latencies.sort()
    return Load(
        len(latencies) * BATCH / taken,
        folded * BATCH / taken,
        latencies[len(latencies) // 2] * 1000,
        latencies[len(latencies) * 99 // 100] * 1000,
    )


@dataclass(frozen=True)
class Sizes:
    """Bytes per context after one message with all fields and one label."""

    sent: float
    document: float
    facts: float
    messages: float


def sizes(data: Path, fields: int, contexts: int) -> Sizes:
    sent = 0
    with Store.open(data) as store:
        folder = Folder(store, builders(fields))
        for bodies in (new_bodies(0, contexts, fields), label_bodies(0, contexts)):
            for body in bodies:
                sent += len(body)
                store.inbox.append([Accepted("T", body, NOW_MS, BATCH, LIMITS.text)])
                folder.step(NOW_MS)
        duck = lake.engine()
        while flush(store, duck, NOW_MS):
            pass
        duck.close()
        pages, free, size = (
            store.state.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        facts, messages = (disk.bytes_of(store.lake / kind) for kind in ("facts", "messages"))
    return Sizes(sent / contexts, (pages - free) * size / contexts, facts / contexts, messages / contexts)


def main(argv: list[str]) -> None:
    """Prints one line per measurement; ends with 1 when a floor does not hold."""
    parser = argparse.ArgumentParser(prog="benchmarks ingest", description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000, help="contexts that exist before folding")
    parser.add_argument("--messages", type=int, default=60_000, help="messages to fold")
    parser.add_argument("--fields", type=int, nargs="*", default=[10, 40])
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="mona-ingest-"))
    failed = False
    try:
        for fields in options.fields:
            rate = accept(root / f"accept{fields}", fields, 200)
            floor = rate.cpu < ACCEPTED_FLOOR
            failed |= floor
            print(f"accept  {fields:3} fields  {rate}  {'below the floor' if floor else ''}")
            shutil.rmtree(root / f"accept{fields}")
        beside = load(root / "load", 10, 8)
        print(
            f"load     10 fields  {beside.accepted:10,.0f} msg/s accepted and {beside.folded:,.0f} folded at the same time;"
            f" acknowledged after {beside.p50_ms:.0f} ms (p50), {beside.p99_ms:.0f} ms (p99)"
        )
        shutil.rmtree(root / "load")
        base = naive(root / "naive", 10, min(options.documents, 100_000), min(options.messages, 40_000))
        print(f"naive    10 fields  {base}  at {min(options.documents, 100_000):,} contexts, merging only")
        for fields in options.fields:
            rate = fold(root / f"fold{fields}", fields, options.documents, options.messages)
            floor = options.documents <= 100_000 and rate.cpu < FOLDED_FLOOR
            failed |= floor
            print(
                f"fold    {fields:3} fields  {rate}  at {options.documents:,} contexts,"
                f" {rate.cpu / base.cpu:.1f} x naive  {'below the floor' if floor else ''}"
            )
            shutil.rmtree(root / f"fold{fields}")
            size = sizes(root / f"size{fields}", fields, 50_000)
            print(
                f"disk    {fields:3} fields  {size.sent:6,.0f} B sent, {size.document:6,.0f} B document,"
                f" {size.facts:5,.0f} B facts, {size.messages:5,.0f} B messages per context with a label"
            )
        print(f"delete   10 fields  {remove(root / 'delete', 100_000):10,.0f} contexts/s, files rewritten")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if failed:
        raise SystemExit(1)
