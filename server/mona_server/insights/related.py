"""Related anomalies: other fields that moved with what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.candidates import Block
from mona_server.detect.gate import Count, Inside, passing
from mona_server.detect.parameters import Derived
from mona_server.detect.signal import Signal
from mona_server.detect.source import AtomSums, Axis, Effects, Floats, GroupSums, NetValues, SumsSource, Wrapped
from mona_server.detect.verses import VERSES, Statistic, Verse
from mona_server.insights.close_look import Close
from mona_server.insights.evidence import per_frame
from mona_server.segment import ALL, Segment

LEAST_FRAMES = 8
MOST_RELATED = 10


@dataclass(frozen=True, slots=True)
class _Named(Block):
    """The block of one segment whose sums were taken by name, not by codes."""

    name: Segment = ALL

    def segment(self, row: int, axes: Sequence[Axis]) -> Segment:  # noqa: ARG002  there is one
        return self.name


class _Close(Wrapped):
    """Values of all metrics that were looked at closely; sums are those of the source alone."""

    def __init__(self, close: Close) -> None:
        super().__init__(close.source)
        self._close = close

    @property
    def metrics(self) -> tuple[str, ...]:
        return self._close.metrics

    @property
    def offsets(self) -> Floats:
        return self._close.offsets

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        return self._source.net_values(segment, metric, first_frame, last_frame)

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float = 1) -> Iterator[GroupSums]:
        return self._source.sums_of(sets, min_size)

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        return self._source.atoms(segments, spans)

    def residual(self, effects: Mapping[int, Effects]) -> SumsSource:
        return self._source.residual(effects)

    def within(self, segment: Segment) -> SumsSource:
        return self._source.within(segment)


def related_anomalies(signal: Signal, close: Close, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Fields whose per-frame series correlates with the main one's and that show the same type of anomaly there."""
    verse = same_type(signal.verse, fields)
    if verse is None:
        return []
    groups, names = close.groups[signal.segment.text], close.metrics
    main = _series(signal.verse, groups, close, signal.metric)
    inside = Inside(verse, close.plan, _Close(close), close.base, signal.baseline, ())
    parts = passing(inside, _Named(groups, (), signal.segment), Count(), own_baseline=signal.own_baseline)
    levels = {part.metric: part.signal(0) for part in parts}
    found: list[dict[str, Any]] = []
    for name in fields:
        if name not in names or name not in levels:
            continue
        correlation = correlate(main, _series(verse, groups, close, name))
        if correlation is not None and abs(correlation) >= signal.verse["related_anomalies_min_correlation"]:
            other = levels[name]
            found.append(
                {
                    "kapi": name,
                    "correlation": correlation,
                    "anomaly_level": other.level,
                    "value": other.value,
                    "benchmark": other.benchmark,
                    "is_desc": other.desc,
                }
            )
    found.sort(key=lambda one: (-abs(float(one["correlation"])) * float(one["anomaly_level"]), one["kapi"]))
    return found[:MOST_RELATED]


def same_type(verse: Verse, fields: Sequence[str]) -> Verse | None:
    """The verse over other metrics, sizes and scores unbounded; for sizes the type over means.

    None where there is no such type, or where it means nothing for other metrics.
    """
    name = verse.type.type.replace("SegmentSize", "Average")
    verse_type = VERSES.get(name)
    if verse_type is None or not verse_type.has_metrics or not fields:
        return None
    if name.endswith("Threshold") or verse_type.statistic is Statistic.DISTRIBUTION:
        return None  # another limit for each metric; categories of its own
    values = {}
    for parameter in verse_type.parameters:
        default = None if isinstance(parameter.default, Derived) else parameter.default
        values[parameter.name] = verse.values.get(parameter.name, default)
    if verse_type is not verse.type:
        level = verse_type.parameter("min_anomaly_level")
        values["min_anomaly_level"] = 0 if level is None else level.default
        values["time_resolution"] = values["time_resolution"] or "1d"
    for free in verse_type.parameters:
        if free.name.endswith(("_segment_size", "_segment_size_fraction")) and not free.name.startswith("high"):
            values[free.name] = None if "max_" in free.name else 0
    values |= {
        "metrics": tuple(fields),
        "min_score": 0,
        "trend_directions": ("asc", "desc"),
        "no_std_above_segment_size": None,
    }
    return replace(verse, type=verse_type, values=MappingProxyType(values))


def correlate(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Pearson correlation of two series over the frames in which both have a value; None below eight of them."""
    seen = ~(np.isnan(first) | np.isnan(second))
    if seen.sum() < LEAST_FRAMES:
        return None
    a, b = first[seen], second[seen]
    if not a.std() > 1e-12 * abs(a).max() or not b.std() > 1e-12 * abs(b).max():
        return None
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1.0, 1.0))


def _series(verse: Verse, groups: GroupSums, close: Close, metric: str | None) -> NDArray[np.float64]:
    m = 0 if metric is None else close.metrics.index(metric)
    series = per_frame(verse, groups, float(close.offsets[m]) if metric else 0.0, m)
    return np.where(groups.size[0] > 0, series, np.nan)
