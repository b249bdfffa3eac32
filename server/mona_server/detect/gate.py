"""Gate 1: the signals whose level, score, sizes and direction a verse asks for. Exactly the published formulas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mona_server.detect import exact
from mona_server.detect.candidates import Block, keys_of
from mona_server.detect.levels import Levels, Mask, Parts, Scene, Sizes, at_least, moments, take_sizes
from mona_server.detect.passers import Part, taken
from mona_server.detect.source import GroupSums, SumsSource
from mona_server.detect.verses.base import Statistic, Verse
from mona_server.detect.windows import Plan
from mona_server.segment import Segment
from mona_server.threads import in_threads


@dataclass(frozen=True, slots=True)
class Inside:
    """One baseline in which a verse searches."""

    verse: Verse
    plan: Plan
    source: SumsSource
    base: GroupSums
    baseline: Segment
    """As signals name it."""
    segment_axes: tuple[int, ...]
    bin_axes: tuple[int, ...] = ()
    """Axis of the categories of each metric, for formulas over distributions."""
    _spreads: dict[int, float] = field(init=False, compare=False, repr=False, default_factory=dict)

    def spread(self, metric: int) -> float:
        """Standard deviation of a metric over all frames of the baseline."""
        if metric not in self._spreads:
            over_all = moments(self.base, metric, float(self.source.offsets[metric]), slice(None))
            self._spreads[metric] = float(over_all.std[0])
        return self._spreads[metric]


@dataclass(slots=True)
class Count:
    """How many levels were computed."""

    tests: int = 0


def passing(inside: Inside, block: Block, count: Count, *, own_baseline: bool = False) -> Iterator[Part]:
    """What passes gate 1 of one block, a part per metric."""
    verse, source = inside.verse, inside.source
    sizes = verse.type.sizes(verse, inside.plan, block.groups, inside.base)
    rows = np.flatnonzero(sizes.passed)
    if not len(rows):
        return
    if (
        len(rows) < len(block) and verse.type.type != "SegmentSizeOutlier"
    ):  # siblings are compared with all of each other
        block, sizes = block.take(rows), take_sizes(sizes, rows)
    fields = {source.axes[axis].field for axis in block.groups.axes}
    metrics: list[tuple[int, str | None]] = [(0, None)]
    if verse.type.has_metrics:
        apart = verse["avoid_same_field_for_segment_and_metric"] or verse.type.statistic is Statistic.DISTRIBUTION
        metrics = [(m, metric) for m, metric in enumerate(source.metrics) if not (apart and metric in fields)]

    def judged(one: tuple[int, str | None]) -> tuple[int, Part | None]:
        return _judged(inside, block, sizes, *one, own_baseline=own_baseline)

    for tests, part in in_threads(judged, metrics, source.threads):
        count.tests += tests
        if part is not None:
            yield part


def _judged(
    inside: Inside, block: Block, sizes: Sizes, m: int, metric: str | None, *, own_baseline: bool
) -> tuple[int, Part | None]:
    """How many levels of metric ``m`` were computed, and what passed."""
    verse, source = inside.verse, inside.source
    parts = _parts(block, source, inside.bin_axes[m], inside.plan) if inside.bin_axes else None
    offset = float(source.offsets[m]) if metric is not None else 0.0
    scene = Scene(verse, inside.plan, block.groups, inside.base, sizes, m, offset, own_baseline, parts)
    levels = verse.type.levels(scene)
    if metric is not None and verse.type.statistic is not Statistic.DISTRIBUTION:
        for row in np.flatnonzero(exact.doubtful(scene, levels, inside.spread(m)) & sizes.passed):
            exact.patch(levels, int(row), exact.again(scene, int(row), source, block.segment(int(row), source.axes)))
    tests = int(np.count_nonzero(levels.usable & sizes.passed))
    passed = np.flatnonzero(_passed(verse, levels, sizes))
    if not len(passed):
        return tests, None
    axes = tuple(source.axes[axis] for axis in block.groups.axes)
    codes, kept = block.groups.codes[passed], taken(levels, sizes, passed)
    return tests, Part(
        verse, inside.plan, inside.baseline, axes, codes, block.widths, metric, *kept, own_baseline=own_baseline
    )


def _passed(verse: Verse, levels: Levels, sizes: Sizes) -> Mask:
    limit = verse["min_anomaly_level"] if levels.min_level is None else levels.min_level
    with np.errstate(invalid="ignore"):
        score = np.where(levels.infinite, levels.level, levels.level * np.sqrt(sizes.size))
        passed = levels.usable & sizes.passed & at_least(levels.level, limit) & at_least(score, verse["min_score"])
    directions = verse["trend_directions"]
    if "desc" not in directions:
        passed &= ~levels.desc
    if "asc" not in directions:
        passed &= levels.desc
    return passed


def _parts(block: Block, source: SumsSource, bin_axis: int, plan: Plan) -> Parts:
    """The segments of a block cut by the categories of a metric, which are many: told by the sets they are in alone."""
    axes, stretches = block.groups.axes, plan.stretches
    cells = next(iter(source.without_metrics().spans_of([(*axes, bin_axis)], stretches)))
    if not axes:
        return Parts(np.zeros(len(cells.codes), dtype=np.intp), cells.size, stretches)
    keys, wanted = (keys_of(axes, codes, source.axes) for codes in (block.groups.codes, cells.codes[:, : len(axes)]))
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    rows = order[place]
    kept = keys[rows] == wanted
    return Parts(rows[kept], cells.size[kept], stretches)
