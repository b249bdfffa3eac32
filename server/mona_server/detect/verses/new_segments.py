"""New: segments that were never seen before the last few periods."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.levels import Levels, Scene, Sizes, shares, within_limits
from mona_server.detect.parameters import COUNT, PERIOD, Group, Parameter, period_ms
from mona_server.detect.source import Floats, GroupSums
from mona_server.detect.verses.base import Statistic, Verse, VerseType, common
from mona_server.detect.windows import Plan, new_plan


def _first(verse: Verse, plan: Plan, groups: GroupSums) -> NDArray[np.intp]:
    """(S,): the first frame of the judged period of the first appearance; of the last one where there is none."""
    frames = plan.target.frames
    seen = groups.size[:, frames] > 0
    begins = plan.bounds_ms[frames, 0]
    period = (begins - plan.target_ms[0]) // period_ms(verse["time_period"])
    starts = np.searchsorted(period, period)
    return np.asarray(plan.target.first + starts[np.where(seen.any(axis=1), seen.argmax(axis=1), -1)], np.intp)


def _since(size: Floats) -> Floats:
    """Contexts from each frame on, of the shape of ``size``."""
    return np.cumsum(size[:, ::-1], axis=1)[:, ::-1]


def new_sizes(verse: Verse, plan: Plan, groups: GroupSums, base: GroupSums) -> Sizes:
    """Contexts since the first appearance, floored to the start of that period."""
    first = _first(verse, plan, groups)
    size, whole = _since(groups.size)[np.arange(len(first)), first], _since(base.size)[0][first]
    ratio = shares(size, whole)
    passed = within_limits(verse, "", size, ratio) & (whole >= verse["baseline_min_segment_size"])
    before = groups.size[:, plan.benchmark.frames].sum(axis=1)
    return Sizes(size, ratio, size, before, passed, float(base.size[:, plan.target.frames].sum()))


def new_segments(scene: Scene) -> Levels:
    """The share of the baseline since the first appearance, of segments that were never seen before."""
    plan, sizes = scene.plan, scene.sizes
    history = scene.base.size[:, plan.benchmark.frames].sum() > 0
    usable = (sizes.benchmark == 0) & (sizes.size >= 1) & history
    nothing = np.zeros(usable.shape, dtype=bool)
    zero = np.zeros_like(sizes.ratio)
    return Levels(sizes.ratio, zero, np.full_like(zero, np.nan), sizes.ratio, nothing, usable, sizes.size)


NEW_SEGMENTS = VerseType(
    type="NewSegments",
    family="New",
    statistic=Statistic.SIZE,
    doc="A value, or a combination of values, that was never seen before; its share since then is the level.",
    parameters=(
        *common(0, metrics=False),
        Parameter("time_period", PERIOD, "1w", Group.BASIC, "Length of one period."),
        Parameter("backfill_points", COUNT, 4, Group.BASIC, "How many of the last periods count as new."),
    ),
    plan=new_plan,
    sizes=new_sizes,
    levels=new_segments,
    ignored=("metrics",),
)

TYPES = (NEW_SEGMENTS,)
