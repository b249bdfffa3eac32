"""Signals that passed the first gate, as arrays: most of thousands are chance, so they become objects only when named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.levels import INFINITE, Levels, Sizes, round12, take_sizes
from mona_server.detect.signal import Chance, Signal
from mona_server.detect.source import Axis, Codes, Floats
from mona_server.detect.verses.base import Verse
from mona_server.detect.windows import Plan
from mona_server.segment import Condition, Range, Segment

Key = tuple[str | None, Segment]
"""Metric and segment."""
_Numbers = dict[tuple[str | None, tuple[str, ...]], list[int]]


@dataclass(slots=True)
class Part:
    """The passing rows of one list of axes and one metric; all arrays are (P,) or (P, d)."""

    verse: Verse
    plan: Plan
    baseline: Segment
    axes: tuple[Axis, ...]
    """Those of the codes, in their order."""
    codes: Codes
    widths: tuple[int, ...]
    metric: str | None
    levels: Levels
    sizes: Sizes
    own_baseline: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def scores(self) -> Floats:
        """Level times the root of the size; 1e9 where infinite."""
        levels = self.levels
        return np.where(levels.infinite, INFINITE, levels.level * np.sqrt(self.sizes.size))

    def segment(self, row: int) -> Segment:
        """The segment of one row."""
        return Segment.of(
            {
                axis.field: condition_of(axis, int(code), width)
                for axis, code, width in zip(self.axes, self.codes[row], self.widths, strict=True)
            }
        )

    def row(self, segment: Segment) -> int | None:
        """The row of a segment, None where it did not pass."""
        conditions = dict(segment.conditions)
        wanted = [
            code_of(axis, options[0], width) if len(options := conditions.get(axis.field, ())) == 1 else None
            for axis, width in zip(self.axes, self.widths, strict=True)
        ]
        return row_of(self.codes, wanted)

    def signal(self, row: int) -> Signal:
        """One row as a signal."""
        levels, sizes, plan = self.levels, self.sizes, self.plan
        std = float(levels.std[row])
        least = self.verse["min_anomaly_level"] if levels.min_level is None else levels.min_level[row]
        ratios = (sizes.target_ratio, sizes.benchmark_ratio)
        return Signal(
            verse=self.verse,
            at_ms=plan.at_ms,
            metric=self.metric,
            segment=self.segment(row),
            baseline=self.baseline,
            level=float(levels.level[row]),
            infinite=bool(levels.infinite[row]),
            value=float(levels.value[row]),
            benchmark=float(levels.benchmark[row]),
            std=None if np.isnan(std) else std,
            size=float(sizes.size[row]),
            ratio=float(sizes.ratio[row]),
            baseline_size=sizes.baseline_size,
            target_size=float(sizes.target[row]),
            benchmark_size=float(sizes.benchmark[row]),
            count=float(levels.count[row]),
            min_level=float(least),
            target_ratio=None if ratios[0] is None else float(ratios[0][row]),
            benchmark_ratio=None if ratios[1] is None else float(ratios[1][row]),
            target_baseline=sizes.target_baseline,
            benchmark_baseline=sizes.benchmark_baseline,
            target_ms=plan.target_ms,
            benchmark_ms=plan.benchmark_ms,
            own_baseline=self.own_baseline,
            union=any(width > 1 for width in self.widths),
            chance=Chance(True, "off", p_value=None if levels.p_value is None else float(levels.p_value[row])),
        )


@dataclass(slots=True)
class Passers:
    """All that passed in one baseline."""

    parts: list[Part] = field(default_factory=list)
    _made: dict[tuple[int, int], Signal] = field(default_factory=dict)
    _listed: tuple[int, _Numbers] = (0, {})  # replaced as a whole: several threads may ask

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[Signal]:
        """Every one as a signal."""
        for number, part in enumerate(self.parts):
            for row in range(len(part)):
                yield self._signal(number, row)

    def find(self, key: Key) -> Signal | None:
        """The signal of a metric and segment; None where it did not pass."""
        metric, segment = key
        for number in self._numbers().get((metric, segment.fields), ()):
            row = self.parts[number].row(segment)
            if row is not None:
                return self._signal(number, row)
        return None

    def _numbers(self) -> _Numbers:
        """The numbers of the parts by metric and fields."""
        if self._listed[0] != len(self.parts):
            numbers: _Numbers = {}
            for number, part in enumerate(self.parts):
                fields = tuple(sorted(axis.field for axis in part.axes))
                numbers.setdefault((part.metric, fields), []).append(number)
            self._listed = len(self.parts), numbers
        return self._listed[1]

    def strongest(self, most: int, without: set[Key]) -> list[Signal]:
        """The signals with the highest scores to 12 digits, but for some; ties by fewer fields, larger size, order."""
        if not self.parts:
            return []
        lengths = [len(part) for part in self.parts]
        number = np.repeat(np.arange(len(self.parts)), lengths)
        row = np.concatenate([np.arange(length) for length in lengths])
        scores, sizes = (
            np.concatenate(arrays)
            for arrays in ([part.scores for part in self.parts], [part.sizes.size for part in self.parts])
        )
        depth = np.repeat([len(part.axes) for part in self.parts], lengths)
        best, wanted = np.arange(len(row)), most + len(without)
        if wanted < len(row):  # few are named of many
            least = np.partition(scores, len(row) - wanted)[len(row) - wanted]
            best = np.flatnonzero(scores >= least * (1 - 1e-11))
        found: list[Signal] = []
        for place in best[np.lexsort((best, -sizes[best], depth[best], -round12(scores[best])))]:
            if len(found) == most:
                break
            signal = self._signal(int(number[place]), int(row[place]))
            if (signal.metric, signal.segment) not in without:
                found.append(signal)
        return found

    def _signal(self, number: int, row: int) -> Signal:
        key = (number, row)
        if key not in self._made:
            self._made[key] = self.parts[number].signal(row)
        return self._made[key]


def taken(levels: Levels, sizes: Sizes, rows: NDArray[np.intp]) -> tuple[Levels, Sizes]:
    """Levels and sizes of some rows, ascending, copied, so that nothing larger stays in memory."""
    if len(rows) == len(levels.value):
        return levels, sizes
    kept = Levels(
        levels.value[rows],
        levels.benchmark[rows],
        levels.std[rows],
        levels.level[rows],
        levels.infinite[rows],
        levels.usable[rows],
        levels.count[rows],
        None if levels.min_level is None else levels.min_level[rows],
        None if levels.p_value is None else levels.p_value[rows],
    )
    return kept, take_sizes(sizes, rows)


def row_of(codes: Codes, wanted: Sequence[int | None]) -> int | None:
    """The first row with these codes (S, d); None where there is none, or where an axis does not have the condition."""
    rows = np.arange(len(codes))
    for column, code in enumerate(wanted):
        if code is None:
            return None
        rows = rows[codes[rows, column] == code]
    return int(rows[0]) if len(rows) else None


def condition_of(axis: Axis, code: int, width: int) -> Condition:
    """The condition of ``width`` neighbouring codes from ``code`` on."""
    first = axis.conditions[code]
    if width == 1:
        return first
    last = axis.conditions[code + width - 1]
    assert isinstance(first, Range)
    assert isinstance(last, Range)
    return Range(first.min_value, last.max_value)


def code_of(axis: Axis, condition: Condition, width: int) -> int | None:
    """The first code of a condition; None where the axis does not have it."""
    conditions: Sequence[Condition] = axis.conditions
    if width == 1:
        return axis.place(condition)
    if not isinstance(condition, Range):
        return None
    for code in range(len(conditions) - width + 1):
        first, last = conditions[code], conditions[code + width - 1]
        if (
            isinstance(first, Range)
            and isinstance(last, Range)
            and (first.min_value, last.max_value) == (condition.min_value, condition.max_value)
        ):
            return code
    return None
