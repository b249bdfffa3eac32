"""The search: how long, how much memory, how both grow, beside a plain GROUP BY loop and peers.

    python -m benchmarks search_speed -- [--rows 1000000] [--days 70] [--axes 6] [--fields 20] [--depth 3] [--grow]

Each contender runs in a process of its own (so the peak memory is its own) over the same Parquet files, in turns, so
that a busy machine hits all alike. Contenders:

- ``sums``: open the window, then sizes, counts, sums and squares of every segment of every set of axes per day;
  segments below 50 contexts are dropped at depth 3, as the search does.
- ``whole search``: a verse (AverageDrift over the metrics) from the facts to its findings: those sums, of values and of
  residuals, effects, chance of every candidate. Nothing has changed in these files.
- ``... a day later``: after a run the file of a new day appears, and a new process does the same for the window one
  day later. What a run leaves behind would help here; nothing is left (ADR 20), so it costs what the first run costs.
- ``run that finds``: what a scheduled run does where something has: the first context of the class is looked for, the same
  verse searches, and its findings are explained by all other numbers of the class. In files of its own, in which one
  pair of common values moves by 0.4 of a standard deviation in the last two weeks, one value of another field by 0.1.
- ``group by``: the same numbers as ``sums`` by one DuckDB query per set of axes, nothing dropped: the floor that a notebook has.
- ``grouping sets``: the same day by day with GROUPING SETS, the alternative that ADR 20 weighs.
- peers: see :mod:`benchmarks.search_peers`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import search_peers
from mona_server.insights.process import KEPT

DAY_MS = 86_400_000
FIRST_DAY = 18_000
VALUES = (200, 100, 50, 20, 10, 5, 3, 8)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="search_speed", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="contexts")
    parser.add_argument("--days", type=int, default=70)
    parser.add_argument("--axes", type=int, default=6)
    parser.add_argument("--values", type=int, default=200, help="most values of an axis")
    parser.add_argument("--fields", type=int, default=20)
    parser.add_argument("--metrics", type=int, default=3)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", action="store_true", help="without other ways and peers")
    parser.add_argument(
        "--grow", action="store_true", help="also with twice the rows, fields, values, days, metrics, ..."
    )
    parser.add_argument("--from-day", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.child:
        print(json.dumps(CHILDREN[given.child](given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _compare(given, Path(folder))
        if given.grow:
            _grow(given, Path(folder))


def _compare(given: argparse.Namespace, folder: Path) -> None:
    data = write_facts(folder / "first", given)
    print(f"{given.rows:,} contexts x {given.fields} fields, {given.days} days, {given.axes} axes, depth {given.depth}")
    moved = plant(data, folder / "moved", given)
    others = [] if given.only else ["group by", "grouping sets"]
    times: dict[str, list[dict[str, float]]] = {}
    for _ in range(given.rounds):
        for name in ("sums", "whole search"):
            for label, one in zip((name, f"{name}, a day later"), _two_days(name, given, data), strict=True):
                times.setdefault(label, []).append(one)
        for name in ["run that finds", *others]:
            times.setdefault(name, []).append(_run(name, given, moved if name == "run that finds" else data))
    best = {name: min(found, key=lambda one: one["seconds"]) for name, found in times.items()}
    sums, whole, finds = best["sums"], best["whole search"], best["run that finds"]
    print(f"{'':25} {'seconds':>8} {'CPU s':>8} {'peak MiB':>9} {'segments':>10} {'x sums':>7} {'x whole':>8}")
    for name, one in best.items():
        print(
            f"{name:25} {one['seconds']:8.2f} {one['cpu']:8.2f} {one['mib']:9.0f} {one['segments']:10,.0f} "
            f"{one['seconds'] / sums['seconds']:7.2f} {one['seconds'] / whole['seconds']:8.2f}"
        )
    print(
        f"run that finds: {finds['findings']:.0f} findings; first context {finds['start']:.2f} s, "
        f"search {finds['search']:.2f} s, explanations {finds['explain']:.2f} s"
    )
    print(
        f"sums: open {sums['open']:.2f} s, then by depth "
        + ", ".join(f"{sums[f'depth{d}']:.2f} s" for d in range(1, given.depth + 1))
    )
    columns = [*(f"s{j}" for j in range(given.axes)), *(f"x{j}" for j in range(given.fields - given.axes))]
    split_ms = (FIRST_DAY + given.days - 14) * DAY_MS
    for name, found in () if given.only else search_peers.each(data, columns, split_ms):
        if isinstance(found, str):
            print(f"{name:25} {found}")
            continue
        print(
            f"{name:25} {found['seconds']:8.2f} {found['cpu']:8.2f} {found['mib']:9.0f} {found['columns']:>2} columns "
            f"{found['seconds'] / sums['seconds']:7.2f} {found['seconds'] / whole['seconds']:8.2f}"
        )


def _two_days(name: str, given: argparse.Namespace, data: Path) -> tuple[dict[str, float], dict[str, float]]:
    """A run from scratch, then one for the window a day later, whose last file has come in between."""
    first = _run(name, given, data)
    waiting, listed = data.parent / f"{data.name}.new", data / f"{given.days:04d}.parquet"
    waiting.rename(listed)
    next_day = _run(name, argparse.Namespace(**{**vars(given), "from_day": 1}), data)
    listed.rename(waiting)
    return first, next_day


def _grow(given: argparse.Namespace, folder: Path) -> None:
    """The whole search with twice as much of each thing, in CPU seconds, which depend least on what else the machine does."""
    base, base_day = _two_days("whole search", given, folder / "first")
    print(f"{'whole search grows with':32} {'CPU s':>15} {'a day later':>16} {'peak MiB':>16}   (x of the first)")
    factors = {"rows": 2, "fields": 2, "values": 2, "days": 2, "axes": 8 / 6, "metrics": 2, "depth": 2 / 3}
    for what, factor in factors.items():
        wider = argparse.Namespace(**vars(given))
        setattr(wider, what, round(getattr(given, what) * factor))
        one, day = _two_days("whole search", wider, write_facts(folder / what, wider))
        label = f"{what} {getattr(given, what):,} → {getattr(wider, what):,}"
        print(
            f"{label:32} {one['cpu']:8.2f} ({one['cpu'] / base['cpu']:.2f}) {day['cpu']:9.2f} "
            f"({day['cpu'] / base_day['cpu']:.2f}) {one['mib']:9.0f} ({one['mib'] / base['mib']:.2f})"
        )


def _run(name: str, given: argparse.Namespace, data: Path) -> dict[str, float]:
    numbers = {k: v for k, v in vars(given).items() if isinstance(v, int) and not isinstance(v, bool)}
    options = [part for key, value in numbers.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "benchmarks.search_speed", "--child", name, "--folder", str(data), *options]
    # As the program has it, see `mona_server.cli`, `mona_server.cli.up` and `mona_server.insights.process`.
    environment = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"} | KEPT | os.environ
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_facts(folder: Path, given: argparse.Namespace) -> Path:
    """One file a day, with Zipf-like texts, gamma numbers (every third with 10 % missing) and the reserved columns.

    The file of one more day waits beside the folder, under the folder's name with ``.new``.
    """
    folder.mkdir(parents=True)
    rows = given.rows // given.days
    with duckdb.connect() as db:
        db.execute("SELECT setseed(0.5)")
        for day in range(given.days + 1):
            items = []
            for j in range(given.axes):
                count = min(VALUES[j % len(VALUES)] * given.values // 200 or 2, given.values)
                # The power makes the first values common and the last ones rare.
                items.append(
                    f"'value ' || lpad(CAST(floor({count} * pow(random(), 2.0)) AS VARCHAR), 3, '0') || ' of {j}' AS s{j}"
                )
            for j in range(given.fields - given.axes):
                x = f"200 - 100 * ln(random() + 1e-12) - 100 * ln(random() + 1e-12) + {j}"
                items.append(f"CASE WHEN {j} % 3 = 0 AND random() < 0.1 THEN NULL ELSE {x} END AS x{j}")
            start = (FIRST_DAY + day) * DAY_MS
            path = folder / f"{day:04d}.parquet" if day < given.days else folder.parent / f"{folder.name}.new"
            db.execute(
                f'COPY (SELECT \'id-{day}-\' || i AS "MONA_ID", CAST({start} + i * {DAY_MS} // {rows} AS BIGINT) AS "MONA_TIMESTAMP", '
                f'1::BIGINT AS "MONA_REVISION", 1::TINYINT AS "MONA_SIGN", {FIRST_DAY + day}::INTEGER AS "MONA_DAY", '
                f"{', '.join(items)} FROM range({rows}) t(i)) TO '{path}' "
                "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)"
            )
    return folder


def plant(folder: Path, into: Path, given: argparse.Namespace) -> Path:
    """The same files, of which the last 14 days hold two changes."""
    into.mkdir()
    last = given.axes - 1
    with duckdb.connect() as db:
        for number, path in enumerate(sorted(folder.glob("*.parquet"))):
            if number < given.days - 14:
                (into / path.name).symlink_to(path)
                continue
            db.execute(
                "COPY (SELECT * REPLACE ("
                "CASE WHEN s0 = 'value 1.0 of 0' AND s1 = 'value 0.0 of 1' THEN x0 + 60 ELSE x0 END AS x0, "
                f"CASE WHEN s{last} = 'value 1.0 of {last}' THEN x1 + 14 ELSE x1 END AS x1) FROM '{path}') "
                f"TO '{into / path.name}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)"
            )
    return into


def open_facts(folder: Path, given: Any, engine: Any) -> Any:
    """The facts of the files as the store would hand them out."""
    from mona_server.query.facts import Column, Facts, File

    rows = given.rows // given.days
    texts = {f"s{j}": Column(f"s{j}", "string", f"s{j}") for j in range(given.axes)}
    numbers = {f"x{j}": Column(f"x{j}", "numeric", f"x{j}") for j in range(given.fields - given.axes)}
    columns = {**texts, **numbers}
    there = frozenset([*columns, "MONA_ID", "MONA_TIMESTAMP", "MONA_REVISION", "MONA_SIGN"])
    files = [
        File(str(path), rows, (FIRST_DAY + i) * DAY_MS, (FIRST_DAY + i + 1) * DAY_MS - 1, there)
        for i, path in enumerate(sorted(folder.glob("*.parquet")))
    ]
    return Facts(engine, files, {}, columns)


def _sets(given: argparse.Namespace, depth: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(given.axes), depth))


def _spent(started: tuple[float, float], **more: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - started[0], "cpu": time.process_time() - started[1], "mib": peak, **more}


def _sums(given: argparse.Namespace) -> dict[str, float]:
    import scipy.sparse  # noqa: F401  the detect process has it

    from mona_server.detect.source import AxisRequest, SourceQuestion
    from mona_server.query.engines.duckdb import DuckEngine
    from mona_server.query.sums import open_source
    from mona_server.settings import Engine

    engine = DuckEngine(Engine(memory="2GB"))
    facts = open_facts(given.folder, given, engine)
    first = FIRST_DAY + given.from_day
    edges = tuple(day * DAY_MS for day in range(first, first + given.days + 1))
    axes = tuple(AxisRequest(f"s{j}") for j in range(given.axes))
    started = time.perf_counter(), time.process_time()
    source = open_source(facts, SourceQuestion(axes, tuple(f"x{j}" for j in range(given.metrics)), edges))
    steps = {"open": time.perf_counter() - started[0]}
    segments = 0
    for depth in range(1, given.depth + 1):
        begun = time.perf_counter()
        for groups in source.sums_of(_sets(given, depth), 50 if depth > 2 else 1):
            segments += len(groups.codes)
        steps[f"depth{depth}"] = time.perf_counter() - begun
    return _spent(started, segments=segments, **steps)


def _verse(given: argparse.Namespace) -> Any:
    from mona_server.detect.verses import VERSES, resolve

    asked = {
        "metrics": [f"x{j}" for j in range(given.metrics)],
        "segment_by": [f"s{j}" for j in range(given.axes)],
        "max_segment_depth": given.depth,
        "min_segment_size": 50,
        "target_set_period": "14d",
        "benchmark_set_period": f"{given.days - 14}d",
        "min_anomaly_level": 0,
    }
    verse, problems = resolve(VERSES["AverageDrift"], asked, context_class="BENCH", stanza="bench")
    assert verse is not None, problems
    return verse


def _whole(given: argparse.Namespace) -> dict[str, float]:
    """One verse from the facts to its findings: sums, effects, both gates."""
    from datetime import UTC, datetime

    from mona_server.detect.search import search
    from mona_server.query.engines.duckdb import DuckEngine
    from mona_server.query.sums import open_source
    from mona_server.settings import Engine

    facts, verse = open_facts(given.folder, given, DuckEngine(Engine(memory="2GB"))), _verse(given)
    now = datetime.fromtimestamp((FIRST_DAY + given.from_day + given.days) * DAY_MS / 1000, UTC)
    started = time.perf_counter(), time.process_time()
    found = search(verse, lambda question: open_source(facts, question), now, data_start_ms=FIRST_DAY * DAY_MS)
    return _spent(started, segments=found.report.candidates)


def _finding(given: argparse.Namespace) -> dict[str, float]:
    """One run of one verse with the explanations of what it finds, as :mod:`mona_server.insights.runs` does it."""
    from datetime import UTC, datetime

    from mona_server.config.model import ContextClass
    from mona_server.detect.search import search
    from mona_server.detect.windowed import remembering
    from mona_server.insights.data import ClassData
    from mona_server.insights.forming import drafts_of
    from mona_server.query.engines.duckdb import DuckEngine
    from mona_server.settings import Engine

    facts, verse = open_facts(given.folder, given, DuckEngine(Engine(memory="2GB"))), _verse(given)
    now = datetime.fromtimestamp((FIRST_DAY + given.days) * DAY_MS / 1000, UTC)
    data = ClassData(facts, ContextClass(name="BENCH"), 0)
    numbers = [f"x{j}" for j in range(given.fields - given.axes)]
    started = time.perf_counter(), time.process_time()
    start_ms = data.start_ms()
    assert start_ms is not None
    at = [time.perf_counter()]
    look = remembering(data.look)
    found = search(verse, look, now, data_start_ms=start_ms)
    at.append(time.perf_counter())
    plan = verse.type.plan(verse, found.at_ms, start_ms, data.look)
    drafts = drafts_of(verse, found, plan, numbers, look)
    at.append(time.perf_counter())
    return _spent(
        started,
        segments=found.report.candidates,
        findings=len(drafts),
        start=at[0] - started[0],
        search=at[1] - at[0],
        explain=at[2] - at[1],
    )


def _aggregates(given: argparse.Namespace) -> str:
    sums = (f"count(x{j}), sum(x{j}), sum(x{j} * x{j})" for j in range(given.metrics))
    return ", ".join(["count(*)", *sums])


def _group_by(given: argparse.Namespace) -> dict[str, float]:
    started = time.perf_counter(), time.process_time()
    cells = 0
    with duckdb.connect() as db:
        for depth in range(1, given.depth + 1):
            for chosen in _sets(given, depth):
                keys = ", ".join(f"s{j}" for j in chosen)
                found = db.execute(
                    f'SELECT {keys}, "MONA_DAY", {_aggregates(given)} FROM \'{given.folder}/*.parquet\' GROUP BY {keys}, "MONA_DAY"'
                ).fetchnumpy()
                cells += len(found["MONA_DAY"])
    return _spent(started, segments=cells)


def _grouping_sets(given: argparse.Namespace) -> dict[str, float]:
    started = time.perf_counter(), time.process_time()
    cells = 0
    sets = [chosen for depth in range(1, given.depth + 1) for chosen in _sets(given, depth)]
    grouping = ", ".join("(" + ", ".join(f"s{j}" for j in chosen) + ")" for chosen in sets)
    keys = ", ".join(f"s{j}" for j in range(given.axes))
    with duckdb.connect() as db:
        for path in sorted(given.folder.glob("*.parquet")):
            found = db.execute(
                f"SELECT {keys}, {_aggregates(given)} AS n FROM '{path}' GROUP BY GROUPING SETS ({grouping})"
            ).fetchnumpy()
            cells += len(found["s0"])
    return _spent(started, segments=cells)


CHILDREN = {
    "sums": _sums,
    "whole search": _whole,
    "run that finds": _finding,
    "group by": _group_by,
    "grouping sets": _grouping_sets,
}

if __name__ == "__main__":
    main(sys.argv[1:])
