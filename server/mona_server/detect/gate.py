"""Gate 1: the signals whose level, score, sizes and direction a verse asks for. Exactly the published formulas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mona_server.detect import exact
from mona_server.detect.candidates import Block
from mona_server.detect.levels import Levels, Mask, Parts, Scene, Sizes, round12, take_sizes
from mona_server.detect.signal import Chance, Signal
from mona_server.detect.source import Codes, GroupSums, SumsSource
from mona_server.detect.verses.base import Statistic, Verse
from mona_server.detect.windows import Plan
from mona_server.segment import Segment


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


@dataclass(slots=True)
class Count:
    """How many levels were computed."""

    tests: int = 0


def passing(inside: Inside, block: Block, count: Count, *, own_baseline: bool = False) -> Iterator[Signal]:
    """The signals of one block that pass gate 1."""
    verse, source = inside.verse, inside.source
    sizes = verse.type.sizes(verse, inside.plan, block.groups, inside.base)
    rows = np.flatnonzero(sizes.passed)
    if not len(rows):
        return
    if verse.type.type != "SegmentSizeOutlier":  # siblings are compared with all of each other
        block, sizes = block.take(rows), take_sizes(sizes, rows)
    fields = {source.axes[axis].field for axis in block.groups.axes}
    metrics = list(enumerate(source.metrics)) if verse.type.has_metrics else [(0, None)]
    for m, metric in metrics:
        if metric in fields and (
            verse["avoid_same_field_for_segment_and_metric"] or verse.type.statistic is Statistic.DISTRIBUTION
        ):
            continue
        parts = _parts(block, source, inside.bin_axes[m]) if inside.bin_axes else None
        offset = float(source.offsets[m]) if metric is not None else 0.0
        scene = Scene(verse, inside.plan, block.groups, inside.base, sizes, m, offset, own_baseline, parts)
        levels = verse.type.levels(scene)
        if metric is not None and verse.type.statistic is not Statistic.DISTRIBUTION:
            for row in np.flatnonzero(exact.doubtful(scene, levels) & sizes.passed):
                exact.patch(
                    levels, int(row), exact.again(scene, int(row), source, block.segment(int(row), source.axes))
                )
        count.tests += int(np.count_nonzero(levels.usable & sizes.passed))
        for row in np.flatnonzero(_passed(verse, levels, sizes)):
            yield _signal(inside, scene, levels, metric, int(row), block)


def _passed(verse: Verse, levels: Levels, sizes: Sizes) -> Mask:
    limit = verse["min_anomaly_level"] if levels.min_level is None else levels.min_level
    with np.errstate(invalid="ignore"):
        score = np.where(levels.infinite, levels.level, levels.level * np.sqrt(sizes.size))
        passed: Mask = (
            levels.usable & sizes.passed & (round12(levels.level) >= limit) & (round12(score) >= verse["min_score"])
        )
    directions = verse["trend_directions"]
    if "desc" not in directions:
        passed &= ~levels.desc
    if "asc" not in directions:
        passed &= levels.desc
    return passed


def _parts(block: Block, source: SumsSource, bin_axis: int) -> Parts:
    """The segments of a block cut by the categories of a metric."""
    cells = source.sums((*block.groups.axes, bin_axis))
    depth = len(block.groups.axes)
    if not depth:
        return Parts(np.zeros(len(cells.codes), dtype=np.intp), cells.size)
    rows = _rows_of(block.groups.codes, cells.codes[:, :depth])
    kept = rows >= 0
    return Parts(rows[kept], cells.size[kept])


def _rows_of(codes: Codes, wanted: Codes) -> NDArray[np.intp]:
    """Row of each wanted list of codes, -1 where it is not among ``codes``."""
    _, place = np.unique(np.concatenate([codes, wanted]), axis=0, return_inverse=True)
    place = np.asarray(place).reshape(-1)
    rows = np.full(int(place.max(initial=0)) + 1, -1, dtype=np.intp)
    rows[place[: len(codes)]] = np.arange(len(codes))
    return np.asarray(rows[place[len(codes) :]], dtype=np.intp)


def _signal(inside: Inside, scene: Scene, levels: Levels, metric: str | None, row: int, block: Block) -> Signal:
    sizes, plan = scene.sizes, inside.plan
    std = float(levels.std[row])
    at = sizes.target_ratio, sizes.benchmark_ratio
    return Signal(
        verse=inside.verse,
        at_ms=plan.at_ms,
        metric=metric,
        segment=block.segment(row, inside.source.axes),
        baseline=inside.baseline,
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
        min_level=float(inside.verse["min_anomaly_level"] if levels.min_level is None else levels.min_level[row]),
        target_ratio=None if at[0] is None else float(at[0][row]),
        benchmark_ratio=None if at[1] is None else float(at[1][row]),
        target_baseline=sizes.target_baseline,
        benchmark_baseline=sizes.benchmark_baseline,
        target_ms=plan.target_ms,
        benchmark_ms=plan.benchmark_ms,
        own_baseline=scene.own_baseline,
        union=block.union,
        chance=Chance(True, "off", p_value=None if levels.p_value is None else float(levels.p_value[row])),
    )
