"""Calibration and power of the search as small SVG pictures for ``docs/detection.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

WIDTH, HEIGHT = 600, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 190, 16, 46
COLOURS = ("#0b6e99", "#c1440e", "#2e7d32", "#7b3fa0", "#8a6d00", "#444444", "#b0306a", "#00796b")
Point = tuple[float, float]


def calibration(best: Mapping[str, Sequence[float]], path: Path) -> None:
    """Of the unchanged sets of each verse, the share whose smallest q is at most a rate, against that rate."""
    from mona_server.detect.verses import VERSES

    families: dict[str, list[float]] = {}
    for name, each in best.items():
        families.setdefault(VERSES[name].family, []).extend(each)
    rates = np.geomspace(0.002, 1, 60)
    lines = {
        f"{family} ({len(each)} runs)": [(rate, float(np.mean(np.array(each) <= rate))) for rate in rates]
        for family, each in families.items()
    }
    ticks = (0.002, 0.01, 0.05, 0.2, 1.0)
    chart = _Chart(ticks, ticks, "tolerated rate", "share of unchanged runs with a finding")
    chart.line([(0.002, 0.002), (1, 1)], "#999999", "5 4")
    for (name, line), colour in zip(lines.items(), COLOURS, strict=False):
        chart.line([(x, max(y, 0.002)) for x, y in line], colour)
        chart.name(name, colour)
    chart.name("as promised", "#999999")
    path.write_text(chart.text(), encoding="utf-8")


def power(found: Mapping[float, Sequence[float]], path: Path) -> None:
    """The smallest shift that is found in 80 % and in half of the seeds, by share of the judged rows."""
    from benchmarks.search_quality import SHIFTS

    chart = _Chart(tuple(found), SHIFTS, "share of the judged rows", "shift, standard deviations", percent=True)
    for rate, colour in ((0.8, COLOURS[0]), (0.5, COLOURS[1])):
        points = []
        for share, rates in found.items():
            enough = [shift for shift, reached in zip(SHIFTS, rates, strict=True) if reached >= rate]
            if enough:
                points.append((share, min(enough)))
        chart.line(points, colour)
        chart.name(f"found in {rate:.0%}", colour)
    path.write_text(chart.text(), encoding="utf-8")


class _Chart:
    """Logarithmic axes with some ticks, and lines with names at the right."""

    def __init__(
        self, across: Sequence[float], up: Sequence[float], below: str, beside: str, *, percent: bool = False
    ) -> None:
        self._x, self._y = (np.log([min(ticks), max(ticks)]) for ticks in (across, up))
        self._parts: list[str] = []
        self._names = 0
        low, high = TOP, HEIGHT - BOTTOM
        for tick in across:
            x, _ = self._at((tick, up[0]))
            text = f"{tick:.4g}" if not percent else f"{tick * 100:g} %"
            self._parts.append(f'<path d="M{x:.1f} {low}V{high}" stroke="#e4e4e4"/>')
            self._parts.append(f'<text x="{x:.1f}" y="{high + 16}" text-anchor="middle">{text}</text>')
        for tick in up:
            _, y = self._at((across[0], tick))
            self._parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
            self._parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        self._parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(below)}</text>')
        turned = f'transform="rotate(-90 14 {(low + high) / 2})" text-anchor="middle"'
        self._parts.append(f'<text x="14" y="{(low + high) / 2}" {turned}>{escape(beside)}</text>')

    def _at(self, point: Point) -> Point:
        x, y = (
            (np.log(value) - span[0]) / (span[1] - span[0])
            for value, span in zip(point, (self._x, self._y), strict=True)
        )
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Sequence[Point], colour: str, dashes: str = "") -> None:
        """A polyline."""
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._at, points))
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')

    def name(self, text: str, colour: str) -> None:
        """The next line of the legend."""
        y = TOP + 14 + 20 * self._names
        self._names += 1
        self._parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{y}" fill="{colour}">{escape(text)}</text>')

    def text(self) -> str:
        """The picture."""
        size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        style = 'font-family="sans-serif" font-size="12" fill="#333333"'
        background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        inner = "\n".join(self._parts)
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{background}\n{inner}\n</svg>\n'
