"""What a running server holds: memory (PSS), open files, disk and lag, sampled from outside while it works."""

from __future__ import annotations

import contextlib
import csv
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import stats

from mona_server.store import disk

MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """One process, or one process group's child, at one moment."""

    at_s: float
    process: str
    pss_mib: float
    """Its share of all memory, mapped files included."""
    own_mib: float
    """What it allocated itself: this must not grow. Mapped pages of the database are the system's to take back."""
    open_files: int


@dataclass(frozen=True)
class Trend:
    """How a value moves: the Theil-Sen slope with its 95 % interval, and the median."""

    median: float
    slope: float
    low: float
    high: float
    """Per minute."""
    highest: float


def memory_mib(pid: int) -> tuple[float, float]:
    """Proportional share of the memory of a process, MiB (what it shares is divided), and the anonymous part of it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    sizes = {words[0]: int(words[1]) / 1024 for words in map(str.split, lines[1:])}
    return sizes["Pss:"], sizes["Pss_Anon:"]


def children(pid: int) -> Iterator[int]:
    """All descendants of a process; none of one that has ended."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # its thread has just ended
            for child in file.read_text(encoding="ascii").split():
                yield int(child)
                yield from children(int(child))


def trend(at_s: np.ndarray, values: np.ndarray, of: Callable[[np.ndarray], float] = np.median) -> Trend:
    """The trend of samples of one process, by one number of each minute: neighbouring samples say nearly the same.

    A worker that comes and goes is judged by its samples while it lives.
    """
    minutes = np.unique(at_s // 60)
    if len(minutes) < 3:
        return Trend(float(np.median(values)), 0.0, 0.0, 0.0, float(np.max(values)))
    slope, _, low, high = stats.theilslopes([of(values[at_s // 60 == m]) for m in minutes], minutes)
    return Trend(float(np.median(values)), float(slope), float(low), float(high), float(np.max(values)))


@dataclass
class Watch:
    """Takes a sample of everything every few seconds, until stopped."""

    pids: Callable[[], dict[str, int]]
    data: Path
    doctor: Callable[[], dict[str, float]]
    """Reading → value."""
    contexts: Callable[[], int]
    """How many contexts are stored now."""
    every_s: float
    file: Path | None = None
    samples: list[Sample] = field(default_factory=list)
    whole: list[tuple[float, float, float, int, float]] = field(default_factory=list)
    """(seconds, disk in MiB, lag in s, contexts, MiB of the disk that replaced files take for their grace period)."""
    restarts: set[tuple[str, int]] = field(default_factory=set)

    def run(self, stop: threading.Event) -> None:
        """The life of a thread."""
        begun = time.monotonic()
        while not stop.wait(self.every_s):
            self._sample(time.monotonic() - begun)

    def _sample(self, at_s: float) -> None:
        rows = []
        for name, pid in self.pids().items():
            self.restarts.add((name, pid))
            for label, one in [(name, pid), *((f"{name} worker", child) for child in children(pid))]:
                try:
                    rows.append(
                        Sample(at_s, label, *memory_mib(one), sum(1 for _ in Path(f"/proc/{one}/fd").iterdir()))
                    )
                except (OSError, KeyError):
                    continue  # it has just ended
        self.samples += rows
        told = self.doctor()
        replaced_mib = told["bytes_replaced"] / MIB
        self.whole.append((at_s, disk.bytes_of(self.data) / MIB, told["lag_s"], self.contexts(), replaced_mib))
        if self.file is not None:
            with self.file.open("a", encoding="utf-8", newline="") as out:
                writer = csv.writer(out)
                writer.writerows(
                    (f"{s.at_s:.0f}", s.process, f"{s.pss_mib:.1f}", f"{s.own_mib:.1f}", s.open_files) for s in rows
                )
                writer.writerow(
                    (
                        f"{at_s:.0f}",
                        "disk MiB, lag s, contexts, replaced MiB",
                        *(f"{v:.1f}" for v in self.whole[-1][1:]),
                    )
                )

    def trends(self, from_s: float, value: str) -> dict[str, Trend]:
        """Process → trend of ``pss_mib``, ``own_mib`` or ``open_files`` from a moment on."""
        return {name: trend(at_s, values) for name, (at_s, values) in self.series(value, from_s).items()}

    def series(self, value: str, from_s: float = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Process → the moments of its samples (seconds), and the same value then."""
        found: dict[str, list[tuple[float, float]]] = {}
        for sample in self.samples:
            if sample.at_s >= from_s:
                found.setdefault(sample.process, []).append((sample.at_s, getattr(sample, value)))
        return {
            name: (np.array([at for at, _ in rows]), np.array([v for _, v in rows])) for name, rows in found.items()
        }
