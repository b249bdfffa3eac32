"""What the samples of a soak say: a table of the processes, disk and lag, and what is not flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.soak_watch import MIB, Trend, Watch, trend

GROWTH_SHARE, GROWTH_MIB = 0.05, 8.0
"""What a process may gain over the last half of a soak: the larger of this share of what it holds and so many MiB."""


@dataclass(frozen=True)
class Floor:
    """The least own memory of each minute: what a process keeps when a peak of work is over.

    Peaks are as large as the question of the moment and hide a slow growth; the floor shows it.
    """

    begin: float
    middle: float
    """MiB in the first minute, and where the last half begins."""
    end: float
    last_half: Trend

    def judged(self, half_minutes: float, data_growth: float) -> str:
        """``flat``, ``grows`` or ``cannot tell``, with 95 % confidence.

        ``data_growth`` is the share by which the contexts grew in that time: that much a process may grow with them.
        """
        mine = self.last_half
        allowed = max(GROWTH_MIB, GROWTH_SHARE * mine.median) + max(data_growth, 0.0) * mine.median
        if mine.low * half_minutes > allowed:
            return "grows"
        return "flat" if mine.high * half_minutes <= allowed else "cannot tell"


def floor(at_s: np.ndarray, own_mib: np.ndarray, half_s: float, *, comes_and_goes: bool = False) -> Floor:
    """The floor of the samples of one process. Of one that comes and goes the least is what it starts with: its medians."""
    of = np.median if comes_and_goes else np.min
    minutes = np.unique(at_s // 60)
    least = [float(of(own_mib[at_s // 60 == minute])) for minute in minutes]
    middle = least[min(int(np.searchsorted(minutes, half_s // 60)), len(least) - 1)]
    later = at_s >= half_s
    return Floor(least[0], middle, least[-1], trend(at_s[later], own_mib[later], of))


def report(watch: Watch, minutes: float) -> list[str]:
    """Prints the table of processes, disk and lag; returns what is not flat."""
    half_s = minutes * 30
    whole = np.array(watch.whole)
    later = whole[whole[:, 0] >= half_s]
    problems = []
    fifth = max(len(later) // 5, 1)  # ranges of contexts go at once, each minute
    data_growth = float(np.median(later[-fifth:, 3]) / np.median(later[:fifth, 3]) - 1)
    print(
        f"\nOver the last {minutes / 2:.0f} minutes, in which the contexts grew by {data_growth:+.0%}; memory in MiB:\n"
    )
    print(
        "| process | own, least of the first, middle, last minute | per minute (95 %) | it | PSS, median | highest |"
        " open files, highest | per minute |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    files = watch.trends(half_s, "open_files")
    memory = watch.trends(half_s, "pss_mib")
    for name, (at_s, own_mib) in sorted(watch.series("own_mib").items()):
        if name not in memory:
            continue  # it had ended before
        least = floor(at_s, own_mib, half_s, comes_and_goes=name.endswith(" worker"))
        verdict, mine = least.judged(minutes / 2, data_growth), least.last_half
        slope = f"{mine.slope:+.2f} ({mine.low:+.2f} to {mine.high:+.2f}) | {verdict}"
        opened = f"{files[name].highest:.0f} | {files[name].slope:+.2f}"
        print(
            f"| {name} | {least.begin:.0f}, {least.middle:.0f}, {least.end:.0f} | {slope}"
            f" | {memory[name].median:.0f} | {memory[name].highest:.0f} | {opened} |"
        )
        if verdict == "grows":
            problems.append(f"memory of {name} grows by {mine.low:.2f} to {mine.high:.2f} MiB a minute")
        if files[name].slope * minutes / 2 > 5:
            problems.append(f"{name} opens {files[name].slope:.1f} files more a minute")
    # Files that were replaced stay for 15 minutes: bounded, and no part of what the data takes.
    per_context = (later[:, 1] - later[:, 4]) * MIB / later[:, 3]
    disk_trend = trend(later[:, 0], per_context)
    print(
        f"\ndisk {later[-1, 1]:,.0f} MiB, {later[-1, 4]:,.0f} of them replaced files, for {later[-1, 3]:,.0f} contexts:"
        f" {disk_trend.median:,.0f} bytes a context without those"
        f" ({disk_trend.slope:+.1f} a minute, highest {disk_trend.highest:,.0f});"
        f" lag p50 {np.percentile(whole[:, 2], 50):.1f} s, p99 {np.percentile(whole[:, 2], 99):.1f} s, highest {whole[:, 2].max():.1f} s"
    )
    if disk_trend.slope * minutes / 2 > 0.2 * disk_trend.median:
        problems.append("the disk grows faster than the contexts")
    return problems + [
        f"part {name} was started {len(pids)} times" for name, pids in _by_name(watch.restarts).items() if len(pids) > 1
    ]


def _by_name(restarts: set[tuple[str, int]]) -> dict[str, set[int]]:
    return {name: {pid for other, pid in restarts if other == name} for name, _ in restarts}
