"""Frames of a time series: aligned to a zone, cut at the ends of the window."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

from mona_server.errors import BadRequest

MAX_FRAMES = 10_000
MONDAY = date(1970, 1, 5).toordinal()
EPOCH_DAY = date(1970, 1, 1).toordinal()
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


@dataclass(frozen=True, slots=True)
class Resolution:
    """The width of a frame: ``n`` of a unit."""

    text: str
    n: int
    unit: str

    @classmethod
    def parse(cls, given: str) -> Resolution:
        """``15m``, ``1h``, ``1d``, ``2w``. Raises :class:`BadRequest`."""
        found = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", given) if isinstance(given, str) else None
        if found is None:
            raise BadRequest(f"{given!r} is not a resolution", hint="for example 15m, 1h, 1d or 1w")
        return cls(given, int(found[1]), found[2])


def edges_of(
    from_ms: int, to_ms: int, resolution: Resolution, zone: tzinfo = UTC, offset_s: int = 0
) -> tuple[int, ...]:
    """Ascending edges in Unix ms, the first ``from_ms`` and the last ``to_ms``.

    Inner edges of days and weeks are midnights of the zone, on days whose number since 1970-01-01 (weeks: since
    Monday 1970-01-05) is divisible by n, so daylight saving makes days of 23 and 25 hours. Below a day they are
    multiples since 1970 in UTC. ``offset_s`` shifts inner edges. Raises :class:`BadRequest` beyond 10,000 frames.
    """
    width = resolution.n * {"m": 60_000, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}[resolution.unit]
    if (to_ms - from_ms) / width > MAX_FRAMES:
        raise BadRequest(
            f"resolution {resolution.text} makes more than {MAX_FRAMES:,} frames", hint="ask for a coarser one"
        )
    shift = offset_s * 1000
    if resolution.unit in "mh":
        first = (from_ms - shift) // width * width + shift
        inner = list(range(first, to_ms, width))
    else:
        days = resolution.n * (7 if resolution.unit == "w" else 1)
        origin = MONDAY if resolution.unit == "w" else EPOCH_DAY
        start = datetime.fromtimestamp((from_ms - shift) / 1000, UTC).astimezone(zone).date().toordinal()
        day = origin + (start - origin) // days * days
        inner = []
        while True:
            midnight = datetime.combine(date.fromordinal(day), datetime.min.time(), zone)
            at = round(midnight.timestamp() * 1000) + shift
            if at >= to_ms:
                break
            inner.append(at)
            day += days
    return (from_ms, *(edge for edge in inner if from_ms < edge < to_ms), to_ms)


def frame_sql(edges: tuple[int, ...], column: str = "MONA_AXIS") -> str:
    """SQL for the frame number of a time within the edges: a division where they are even, else comparisons."""
    steps = [high - low for low, high in itertools.pairwise(edges)]
    if len(steps) == 1:
        return "CAST(0 AS INTEGER)"
    inner = steps[1:-1]
    if inner and len(set(inner)) == 1 and steps[0] <= inner[0] >= steps[-1]:
        origin = edges[1] - inner[0]
        return f"CAST(({column} - {origin}) // {inner[0]} AS INTEGER)"

    def choose(low: int, high: int) -> str:
        if low == high:
            return str(low)
        middle = (low + high + 1) // 2
        return f"CASE WHEN {column} < {edges[middle]} THEN {choose(low, middle - 1)} ELSE {choose(middle, high)} END"

    return f"CAST({choose(0, len(steps) - 1)} AS INTEGER)"
