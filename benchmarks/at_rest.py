"""What a server takes while nothing happens: memory (PSS) and processor time of each of its processes.

    python -m benchmarks at_rest -- --seconds 60

``mona up`` with default settings on an empty data directory, in processes of its own. Ends with 1 when all processes
together are above the promise of 250 MiB or 1 % of a core. PSS divides a page among the processes that have it; run
this where few other Python programs run, because they share its libraries too.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak_watch import children, memory_mib
from mona_server.cli import up
from mona_server.settings import Settings, load

MEMORY_MIB, CORE_PERCENT = 250.0, 1.0


@contextmanager
def server() -> Iterator[tuple[Settings, int]]:
    """``mona up`` with default settings on a free port: its settings, and the process id of its supervisor."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="mona-benchmark-") as folder:
        settings = load(Path(folder) / "data", environ={}, server={"port": port})
        command = [sys.executable, "-m", "mona_server.cli", "up", "--data", str(settings.data_dir), "--port", str(port)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            up.wait_until_healthy(up.address(settings), timeout_s=120)
            yield settings, process.pid
        finally:
            process.terminate()
            process.wait()


def name_of(pid: int, supervisor: int) -> str:
    """What the process is for."""
    if pid == supervisor:
        return "supervisor"
    comm = Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
    if comm.startswith("mona-"):
        return comm.removeprefix("mona-")
    return "tracker" if b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes() else "forkserver"


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(argv: list[str]) -> None:
    """Prints one line per process and their sum."""
    parser = argparse.ArgumentParser(prog="benchmarks at_rest", description=__doc__.splitlines()[0])
    parser.add_argument("--settle", type=float, default=20, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args(argv)
    with server() as (_, supervisor):
        time.sleep(options.settle)
        pids = [supervisor, *children(supervisor)]
        before, begun = {pid: processor_s(pid) for pid in pids}, time.monotonic()
        time.sleep(options.seconds)
        took_s = time.monotonic() - begun
        print(f"{'process':<12}{'PSS MiB':>9}{'of its own':>12}{'% of a core':>13}")
        memory = share = 0.0
        for pid in pids:
            pss, own = memory_mib(pid)
            percent = (processor_s(pid) - before[pid]) / took_s * 100
            memory, share = memory + pss, share + percent
            print(f"{name_of(pid, supervisor):<12}{pss:>9.1f}{own:>12.1f}{percent:>13.2f}")
    print(f"{'together':<12}{memory:>9.1f}{'':>12}{share:>13.2f}")
    if memory > MEMORY_MIB or share > CORE_PERCENT:
        print(f"above the promise of {MEMORY_MIB:.0f} MiB and {CORE_PERCENT:.0f} % of a core")
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
