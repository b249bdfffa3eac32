"""How long a server with much data takes from its start to the first answers, with nothing of it in the page cache.

python -m benchmarks.cold_start --documents 10000000
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.ingest import NOW_MS, prefill
from benchmarks.soak import enter
from benchmarks.soak_load import Server
from benchmarks.soak_watch import children
from mona_server.cli import up
from mona_server.settings import load
from mona_server.store import Store, catalog, disk, lake, state
from mona_server.store.rows import DAY_MS

FIELDS = 10
FILES = 20
START_MS = 1_650_000_000_000


def facts(store: Store, count: int) -> None:
    """Files of facts beside the documents of :func:`prefill`: a row for each, ten fields."""
    connection = store.state.connection
    class_id = catalog.find_class(connection, "T", "LOAN")
    assert class_id is not None
    columns = catalog.read_columns(connection, class_id)
    values = {
        "numeric": "i * 0.37",
        "string": "'value ' || (i % 17)",
        "boolean": "i % 3 = 0",
    }
    listed = ", ".join(f"{values[c.type]} AS {lake.name(c.physical)}" for c in columns)
    duck = lake.engine(memory="1GB", spill=store.data_dir / "tmp")
    days: dict[int, int] = {}
    for number in range(FILES):
        first, last = count * number // FILES, count * (number + 1) // FILES
        query = (
            f"SELECT printf('%016x-%08x', hash(i), i) AS MONA_ID, {START_MS} + i * 1000 AS MONA_TIMESTAMP,"
            f" CAST({NOW_MS} AS BIGINT) AS MONA_ARRIVAL_TIMESTAMP, CAST(1 AS BIGINT) AS MONA_REVISION,"
            f" CAST(1 AS TINYINT) AS MONA_SIGN, CAST(({START_MS} + i * 1000) // {DAY_MS} AS INTEGER) AS MONA_DAY,"
            f" {listed} FROM range({first}, {last}) AS r(i)"
        )
        file = lake.write_query(duck, store.lake, "facts", class_id, query, order="MONA_TIMESTAMP", level=1)
        with store.state.writing() as writing:
            lake.add(writing, [file], NOW_MS)
        for i in range(first, last, 3_600):
            day = (START_MS + i * 1000) // DAY_MS
            days[day] = days.get(day, 0) + min(3_600, last - i)
    with store.state.writing() as writing:
        state.touch_days(writing, class_id, state.next_revision(writing, NOW_MS), days)
    duck.close()


def forget_cache(folder: Path) -> None:
    """Ask the system to drop its cached pages of all files."""
    os.sync()
    for file in folder.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def processor_s() -> float:
    """Processor time of all processes that this one has started, so far."""
    ticks = 0
    for pid in set(children(os.getpid())):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ask(server: Server, count: int) -> float:
    """Seconds of one question over all contexts of the class."""
    started = time.perf_counter()
    to_s = START_MS // 1000 + count + 1
    body = {"context_class": "LOAN", "timestamp_from": START_MS // 1000, "timestamp_to": to_s}
    body |= {"requested_segments": [{}], "metrics": [{"field": "feature_1", "types": ["average"]}]}
    answer = server.call("POST", "/api/v1/query/segment", body)
    assert answer["segments"][0]["size"] == count, answer["segments"]
    return time.perf_counter() - started


def main(argv: list[str]) -> None:
    """Prints one line per measurement; ends with 1 where a start takes 10 s of processor time or more."""
    parser = argparse.ArgumentParser(prog="benchmarks cold_start", description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000)
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="mona-cold-"))
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = load(root / "data", environ={}, server={"port": port})
        with Store.open(settings.data_dir, settings) as store:
            prefill(store, options.documents, FIELDS)
            facts(store, options.documents)
            documents = sum(disk.bytes_of(settings.data_dir / f"state.db{end}") for end in ("", "-wal"))
            lake_bytes = disk.bytes_of(store.lake)
        print(f"{options.documents:,} contexts: {documents / 1e9:.2f} GB state.db, {lake_bytes / 1e9:.2f} GB facts")
        forget_cache(settings.data_dir)
        started = time.perf_counter()
        with up.running(settings):
            ready = time.perf_counter() - started
            used = processor_s()
            print(f"ready to accept and to answer after {ready:.2f} s; {used:.2f} s of processor time in all parts")
            server = enter(settings, tenant="T")
            print(f"first question over all of it {ask(server, options.documents):.2f} s", end=", ")
            print(f"the same again {ask(server, options.documents):.2f} s")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if used >= 10:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
