"""Our SDK beside the public one: ``python -m benchmarks sdk [-- quick]``.

Every case is run by both clients in turn, three times, in processes of their own and against one server process; the
table shows the median of each and the ratio. The messages, the server and the machine are the same for both.
"""

from __future__ import annotations

import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.sdk.peer import CACHE, ROOT, environments

SUBJECT = Path(__file__).with_name("subject.py")


class Case(NamedTuple):
    """One line of the table: what is run, what is shown, and what the ratio must be (public : ours, or ours : public).

    `figure` may name several figures, which are shown side by side and without a ratio. `who` are the environments beside `public`; `public` may have fewer messages, where it is too slow for as many.
    """

    title: str
    job: dict[str, Any]
    figure: str
    unit: str
    wanted: str
    server: dict[str, Any]
    who: tuple[str, ...] = ("ours",)
    public_messages: int = 0
    public_case: str = ""
    higher_is_better: bool = False
    public: bool = True


BACKGROUND = {"background": True}
STALLS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("alone", {"load": "nothing", "messages": 1, "fields": 10}, "", {}),
    (
        "beside 100 coroutines, 10 ms away",
        {"load": "exports", "messages": 8000, "fields": 10},
        "2 ms",
        {"delay_ms": 10},
    ),
    (
        "beside export_batch_async, 5,000 x 40 fields",
        {"load": "batch", "messages": 5000, "fields": 40, "repeat": 10},
        "2 ms",
        {"announce": "yes"},
    ),
    (
        "beside a message of 50,000 numbers",
        {"load": "message", "messages": 1, "fields": 10, "values": 50_000, "repeat": 40},
        "2 ms",
        {"announce": "yes"},
    ),
]
CASES = [
    Case(
        "export_batch, 1000 x 10 fields",
        {"case": "batch", "messages": 1000, "fields": 10, "repeat": 30},
        "cpu_us",
        "us CPU/message",
        "2.5x (plain 1.5x)",
        {},
        ("ours", "ours plain"),
    ),
    Case(
        "export_batch, 1000 x 40 fields",
        {"case": "batch", "messages": 1000, "fields": 40, "repeat": 10},
        "cpu_us",
        "us CPU/message",
        "2.5x (plain 1.5x)",
        {},
        ("ours", "ours plain"),
    ),
    Case(
        "export one by one",
        {"case": "single", "messages": 3000, "fields": 10},
        "per_second",
        "messages/s",
        "3x",
        {},
        public_messages=1000,
        higher_is_better=True,
    ),
    Case(
        "export one by one",
        {"case": "single", "messages": 3000, "fields": 10},
        "cpu_us",
        "us CPU/message",
        "",
        {},
        public_messages=1000,
    ),
    Case(
        "export one by one over TLS",
        {"case": "single", "messages": 2000, "fields": 10},
        "per_second",
        "messages/s",
        "5x",
        {"tls": True},
        public_messages=300,
        higher_is_better=True,
    ),
    Case(
        "background, 50 ms away",
        {"case": "background", "messages": 50_000, "fields": 10, "options": BACKGROUND},
        "per_second",
        "messages/s",
        "500x",
        {"delay_ms": 50},
        public_messages=40,
        public_case="single",
        higher_is_better=True,
    ),
    Case(
        "background, 10 ms away",
        {"case": "background", "messages": 50_000, "fields": 10, "options": BACKGROUND},
        "per_second",
        "messages/s",
        "",
        {"delay_ms": 10},
        public_messages=100,
        public_case="single",
        higher_is_better=True,
    ),
    Case(
        "background, 0 ms away",
        {"case": "background", "messages": 50_000, "fields": 10, "options": BACKGROUND},
        "per_second",
        "messages/s",
        "",
        {},
        public_messages=1000,
        public_case="single",
        higher_is_better=True,
    ),
    Case(
        "time in export(), median",
        {"case": "background", "messages": 50_000, "fields": 10, "options": BACKGROUND},
        "enqueue_median_us",
        "us",
        "at most 15 us",
        {},
        public_messages=1000,
        public_case="single",
    ),
    Case(
        "time in export(), p99",
        {"case": "background", "messages": 50_000, "fields": 10, "options": BACKGROUND},
        "enqueue_p99_us",
        "us",
        "at most 20 us",
        {},
        public=False,
    ),
    Case(
        "time in export(), p99, 8 threads",
        {"case": "background", "messages": 50_000, "fields": 10, "threads": 8, "options": BACKGROUND},
        "enqueue_p99_us",
        "us",
        "",
        {},
        public=False,
    ),
    Case(
        "100 coroutines, 50 ms away",
        {"case": "concurrent", "messages": 4000, "fields": 10},
        "per_second",
        "messages/s",
        "1,800/s",
        {"delay_ms": 50},
        public_messages=500,
        higher_is_better=True,
    ),
    *(
        Case(
            f"stalls of an event loop {load} (p50, p99, max)",
            {"case": "stalls", **job},
            "stall_p50_ms stall_p99_ms stall_max_ms",
            "ms",
            wanted,
            server,
            public=False,
        )
        for load, job, wanted, server in STALLS
    ),
    *(
        Case(
            f"CPU time of a callback, event loop {load} (p50, p99, max)",
            {"case": "stalls", **job},
            "callback_p50_ms callback_p99_ms callback_max_ms",
            "ms",
            wanted,
            server,
            public=False,
        )
        for load, job, wanted, server in STALLS[1:]
    ),
    Case(
        "late after the limit, silent server (export, flush, close)",
        {"case": "limits", "messages": 1, "fields": 10},
        "export_late_ms flush_late_ms close_late_ms",
        "ms",
        "1,000, 200, 200 ms",
        {},
        public=False,
    ),
    Case(
        "bytes, batches of 10 fields",
        {"case": "batch", "messages": 1000, "fields": 10, "repeat": 5},
        "wire_bytes",
        "bytes/message",
        "4x",
        {"announce": "yes"},
    ),
    Case(
        "bytes, batches of 40 fields",
        {"case": "batch", "messages": 1000, "fields": 40, "repeat": 5},
        "wire_bytes",
        "bytes/message",
        "3.3x",
        {"announce": "yes"},
    ),
    Case(
        "connections for 500 exports",
        {"case": "single", "messages": 500, "fields": 10},
        "connections",
        "connections",
        "1 : each",
        {},
    ),
    Case(
        "100,000 x 40 fields in one call",
        {"case": "large", "messages": 100_000, "fields": 40},
        "memory_mib",
        "MiB more",
        "at most 64 MiB",
        {},
    ),
    Case(
        "import mona_sdk.client",
        {"case": "imports"},
        "import_ms",
        "ms",
        "2x, at most 60 ms",
        {},
        ("ours", "ours plain"),
    ),
    *(
        Case(
            f"export_table, 1 M rows x 10 columns, {library}",
            {"case": "table", "library": library, "messages": 1_000_000},
            "per_second",
            "rows/s",
            "150,000/s",
            {},
            ("here",),
            higher_is_better=True,
            public=False,
        )
        for library in ("pandas", "polars", "arrow")
    ),
    Case(
        "export_table, 1 M rows x 10 columns, pandas",
        {"case": "table", "library": "pandas", "messages": 1_000_000},
        "memory_mib",
        "MiB more",
        "at most 128 MiB",
        {},
        ("here",),
        public=False,
    ),
]


def main(argv: list[str]) -> None:
    """Run the cases and print the table; `quick` runs each once, and other words choose cases by title."""
    rounds = 1 if "quick" in argv else 3
    words = [word for word in argv if word != "quick"]
    pythons = environments()
    print("| what | public 0.0.58 | ours | ours : public | wanted |\n| --- | --- | --- | --- | --- |")
    for case in CASES:
        if words and not any(word in case.title for word in words):
            continue
        names = ["public", *case.who] if case.public else list(case.who)
        figures: dict[str, list[list[float]]] = {name: [] for name in names}
        with _server(**case.server) as (url, certificate):
            for _ in range(rounds):
                for name in names:
                    figures[name].append(_run(pythons[name], name, case, url, certificate))
        _print(case, {name: [*map(statistics.median, zip(*runs, strict=True))] for name, runs in figures.items()})


def _print(case: Case, medians: dict[str, list[float]]) -> None:
    public = medians.get("public")
    for name in case.who:
        ours = medians[name]
        title = f"{case.title} (without orjson)" if name == "ours plain" else case.title
        shown, ratio = "", ""
        if public is not None:
            better = ours[0] / public[0] if case.higher_is_better else public[0] / max(ours[0], 1e-9)
            shown, ratio = f"{_short(public[0])} {case.unit}", f"{_short(better)}x better"
        values = ", ".join(map(_short, ours))
        print(f"| {title} | {shown} | {values} {case.unit} | {ratio} | {case.wanted} |", flush=True)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _run(python: Path, name: str, case: Case, url: str, certificate: str) -> list[float]:
    """One run of one client; the figures of the case."""
    job = {**case.job, "url": url, "kind": "public" if name == "public" else "ours"}
    if name == "public":
        job.pop("options", None)
        job["case"] = case.public_case or job["case"]
        if case.public_messages:
            job["messages"] = case.public_messages
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MONA_", "PYTHON"))}
    environment["PYTHONPYCACHEPREFIX"] = str(CACHE / "pyc")
    if certificate:
        environment["REQUESTS_CA_BUNDLE"] = certificate
    before = _figures(url, certificate)
    for _ in range(2 if case.job["case"] == "imports" else 1):  # the first import writes the byte code
        run = subprocess.run(
            [str(python), str(SUBJECT), json.dumps(job)], capture_output=True, text=True, env=environment, check=False
        )
    if run.returncode:
        sys.exit(f"{name}: {run.stderr[-2000:]}")
    result = json.loads(run.stdout)
    if name == "public" and case.public_case == "single" and case.figure.startswith("enqueue"):
        return [float(result["wall_us"])]
    after = _figures(url, certificate)
    result["connections"] = after["connections"] - before["connections"] - 1
    if "messages" in job:
        # The warm-up of a batch sends its messages once more, and ten before.
        sent = job["messages"] * (job.get("repeat", 0) + 1) + 10
        result["wire_bytes"] = (after["bytes"] - before["bytes"]) / sent
    return [float(result[figure]) for figure in case.figure.split()]


def _figures(url: str, certificate: str) -> dict[str, Any]:
    from urllib.request import Request, urlopen

    context = ssl.create_default_context(cafile=certificate) if certificate else None
    with urlopen(Request(f"{url}/figures", data=b"{}"), context=context) as answer:
        figures: dict[str, Any] = json.loads(answer.read())
    return figures


@contextmanager
def _server(*, delay_ms: float = 0, announce: str = "no", tls: bool = False) -> Iterator[tuple[str, str]]:
    """The server process: its address, and the file of its certificate ("" without TLS)."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = _certificate(Path(folder)) if tls else ""
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sdk.server", str(delay_ms), announce, certificate or "-"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), certificate
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _certificate(folder: Path) -> str:
    """Key and self-signed certificate for 127.0.0.1 in one file."""
    from mona_sdk.tests.certificates import make_certificate

    path = folder / "server.pem"
    path.write_bytes(make_certificate())
    return str(path)
