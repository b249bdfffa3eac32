"""Charts as values: the points that a browser draws, and sparklines as SVG. Pure functions.

A :class:`Frames` holds one number and one size per frame; everything here is computed from two of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

MOST_POINTS = 2000
WIDTH, HEIGHT, _MARGIN = 120.0, 28.0, 3.0


@dataclass(frozen=True, slots=True)
class Frames:
    """One series. K frames of equal width, oldest first."""

    starts_s: tuple[int, ...]
    width_s: int
    values: tuple[float | None, ...]
    """The metric's statistic per frame; None where it has no value."""
    sizes: tuple[float, ...]
    """Contexts per frame."""

    def __len__(self) -> int:
        return len(self.starts_s)

    def inside(self, window: tuple[int, int]) -> list[int]:
        """Numbers of the frames that begin in ``[from, to)`` (Unix seconds)."""
        return [i for i, start in enumerate(self.starts_s) if window[0] <= start < window[1]]


@dataclass(frozen=True, slots=True)
class Windows:
    """What was judged, and with what it was compared. Unix seconds, half open."""

    judged: tuple[int, int]
    compared: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Usual:
    """Where the segment's frames lay before: 5 %, 50 % and 95 % of them (linear interpolation)."""

    low: float
    middle: float
    high: float


def usual(frames: Frames, windows: Windows) -> Usual | None:
    """Over the frames it was compared with; None when fewer than five have a value."""
    if windows.compared is None:
        return None
    judged = set(frames.inside(windows.judged))
    values = [frames.values[i] for i in frames.inside(windows.compared) if i not in judged]
    known = [value for value in values if value is not None]
    if len(known) < 5:
        return None
    cuts = statistics.quantiles(known, n=20, method="inclusive")
    return Usual(cuts[0], statistics.median(known), cuts[-1])


def sparkline(values: Sequence[float | None], judged_from: int, judged_to: int | None = None) -> Markup:
    """Inline SVG, 120 x 28: a grey line, the judged frames shaded, the last of them marked.

    >>> "polyline" in sparkline([1, 2, None, 4], 3)
    True
    """
    judged_to = len(values) if judged_to is None else judged_to
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < 2:
        return Markup("")
    low, high = min(known), max(known)
    step = (WIDTH - 2 * _MARGIN) / max(len(values) - 1, 1)

    def place(i: int, value: float) -> str:
        share = (value - low) / (high - low) if high > low else 0.5
        return f"{_MARGIN + i * step:.1f},{HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN):.1f}"

    runs: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append(place(i, value))
    left = max(0.0, _MARGIN + (judged_from - 0.5) * step)
    right = min(WIDTH, _MARGIN + (judged_to - 0.5) * step)
    parts = [f'<rect class="judged" x="{left:.1f}" y="0" width="{max(right - left, 2):.1f}" height="{HEIGHT:.0f}"/>']
    parts += [f'<polyline points="{" ".join(run)}"/>' for run in runs if len(run) > 1]
    last = next((i for i in range(judged_to - 1, judged_from - 1, -1) if values[i] is not None), None)
    if last is not None:
        x, _, y = place(last, values[last] or 0.0).partition(",")
        parts.append(f'<circle class="last" cx="{x}" cy="{y}" r="2.5"/>')
    return Markup(  # noqa: S704 - numbers only
        f'<svg class="spark" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="trend">{"".join(parts)}</svg>'
    )


def time_chart(
    segment: Frames,
    baseline: Frames,
    windows: Windows,
    *,
    segment_name: str,
    baseline_name: str,
    unit: str,
    markers: Sequence[tuple[int, str]] = (),
) -> dict[str, Any]:
    """What ``chart.js`` draws, as JSON. ``markers`` are (Unix seconds, title). At most :data:`MOST_POINTS` points."""
    keep = slice(-MOST_POINTS, None)
    by_start = dict(zip(baseline.starts_s, baseline.values, strict=True))
    starts = segment.starts_s[keep]
    range_ = usual(segment, windows)
    half = segment.width_s // 2
    judged = segment.inside(windows.judged)
    skipped = max(len(segment) - MOST_POINTS, 0)
    return {
        "days": [_iso(start) for start in starts],
        "values": list(segment.values[keep]),
        "sizes": list(segment.sizes[keep]),
        # Everybody against everybody is one line.
        "baseline": None if segment_name == baseline_name else [by_start.get(start) for start in starts],
        "judged": [i - skipped for i in judged if i >= skipped],
        "windows": {
            # Points stand at the beginning of their frame, so the shade begins half a frame before the first.
            "judged": [_iso(edge - half) for edge in windows.judged],
            "compared": [_iso(edge - half) for edge in windows.compared] if windows.compared else None,
        },
        "usual": {"low": range_.low, "middle": range_.middle, "high": range_.high} if range_ else None,
        "markers": [{"at": _iso(at), "title": title} for at, title in markers],
        "segment_name": segment_name,
        "baseline_name": baseline_name,
        "unit": unit,
    }


def _iso(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A value against its limit, in percent of the drawn width."""

    length: float
    limit: float


def bar(value: float, limit: float) -> Bar:
    """Both on one scale from 0 to a little more than the larger.

    >>> bar(4.0, 2.0)
    Bar(length=90.9, limit=45.5)
    """
    scale = max(value, limit, 1e-300) * 1.1
    return Bar(round(100 * min(max(value, 0.0) / scale, 1), 1), round(100 * limit / scale, 1))


def log_bar(value: float, limit: float, floor: float = 1e-6) -> Bar:
    """The same for probabilities, from ``floor`` to 1 on a logarithmic scale: short is rare.

    >>> log_bar(0.0, 0.05)
    Bar(length=2.0, limit=78.3)
    """

    def place(p: float) -> float:
        return round(100 * (1 + math.log10(min(max(p, floor), 1.0)) / -math.log10(floor)), 1)

    return Bar(max(place(value), 2.0), place(limit))


def csv_text(series: tuple[Frames, Frames] | None) -> str:
    """The points of a chart: begin of the frame (UTC), value and size of the segment, value of the baseline.

    >>> frames = Frames((0,), 86_400, (1.5,), (2,))
    >>> csv_text((frames, frames))
    'from,value,contexts,baseline_value\\r\\n1970-01-01T00:00:00,1.5,2,1.5\\r\\n'
    """
    lines = ["from,value,contexts,baseline_value"]
    if series is not None:
        baseline = dict(zip(series[1].starts_s, series[1].values, strict=True))
        for start, value, size in zip(series[0].starts_s, series[0].values, series[0].sizes, strict=True):
            cells = (_iso(start), value, size, baseline.get(start))
            lines.append(",".join("" if cell is None else str(cell) for cell in cells))
    return "\r\n".join(lines) + "\r\n"
