"""What a verse asks of the evidence: which frames are judged, what they are compared with, which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.chance_evidence import Setting
from mona_server.detect.chance_parts import Windows
from mona_server.detect.gate import Inside
from mona_server.detect.parameters import DAY_MS, HOUR_MS
from mona_server.detect.shape import Shape, shape_of
from mona_server.detect.source import Effects
from mona_server.detect.verses.base import Statistic, Verse
from mona_server.detect.verses.threshold import beyond
from mona_server.detect.windows import Plan, unbroken
from mona_server.segment import ALL, Segment

MATURE = 0.5
"""Least share of the usual share of contexts with a value from which a frame counts."""

STRETCH = 7
"""Most frames in a run that is told as one: so few that several threads have work."""


def setting_of(inside: Inside, rate: float, known: Sequence[Segment] = ()) -> Setting | None:
    """What is asked of the evidence; None where frames cannot tell: hard limits on totals, or too few frames."""
    verse, plan = inside.verse, inside.plan
    metrics = tuple(range(len(verse.metrics))) if verse.type.has_metrics else ()
    windows = windows_of(plan, verse)
    common = {"metrics": metrics, "residuals": metrics, "rate": rate, "strict": bool(verse["significance_strict"])}
    statistic = verse.type.statistic
    if statistic not in (Statistic.SUM, Statistic.SIZE):
        seen = inside.base.size[0] > 0
        target, reference = _trimmed(windows.target, seen), _trimmed(windows.reference, seen)
        learn = len(reference) if len(windows.reference) else len(target)
        windows = Windows(target, reference, windows.cycle if learn >= 2 * windows.cycle else 1)
    if verse.type.family == "Threshold":
        if statistic in (Statistic.SUM, Statistic.SIZE, Statistic.STD):
            return None
        if len(metrics) > 1:
            return None  # limits are set for one metric
        offset = float(inside.source.offsets[0])
        if beyond(verse, plan, inside.base, 0, offset):
            return _setting(statistic, "everybody", windows, common)
        limit = float(verse["threshold"])
        from_offset = limit - offset if statistic is Statistic.AVERAGE else limit
        return _setting(statistic, "threshold", windows, common, threshold=from_offset)
    if verse.type.family == "Outlier":
        if statistic is Statistic.SIZE or len(windows.target) < 3:
            return None
        return _setting(statistic, "everybody", windows, common)
    if len(windows.reference) < 3 or not len(windows.target):
        return None
    sized = statistic in (Statistic.SIZE, Statistic.SUM)
    return _setting(statistic, "reference", windows, common, known=tuple(known) if sized else ())


def _trimmed(frames: NDArray[np.intp], seen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Without the empty frames at both ends, which say nothing of means: a version comes and goes within its window."""
    places = np.flatnonzero(seen[frames])
    return frames[places[0] : places[-1] + 1] if len(places) else frames


def law_of_rows(inside: Inside, setting: Setting, metric: int, cut: Effects | None = None) -> Shape:
    """How everybody's values of a metric, as ``cut`` leaves them, are spread in the judged frames.

    Beyond a limit nobody need be like everybody.
    """
    if setting.comparison == "threshold":
        return Shape()
    first, last = int(setting.windows.target[0]), int(setting.windows.target[-1]) + 1
    net = inside.source.net_values(ALL, inside.source.metrics[metric], first, last)
    if cut is not None:
        centre = cut.constant + float(inside.source.offsets[metric])
        net = replace(net, values=np.clip(net.values, centre - cut.limit, centre + cut.limit))
    return shape_of(net, float(inside.base.size[0, first:last].sum()), setting.statistic)


def mature_target(inside: Inside, setting: Setting) -> NDArray[np.intp]:
    """The judged frames in which about as many contexts have values as usual, for metrics that arrive late.

    A frame of the judged set's end whose share of contexts with a value is below half of the reference's median share is
    left out, for every metric. All stay where none would be left, or where presence itself is followed.
    """
    target, reference = setting.windows.target, setting.windows.reference
    if setting.comparison != "reference" or setting.statistic is Statistic.RATIO or not len(reference):
        return target
    first = len(target)
    for m in setting.metrics:
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = inside.base.count_of(m)[0] / inside.base.size[0]
        usual = np.nanmedian(shares[reference]) if np.isfinite(shares[reference]).any() else 0.0
        late = np.nan_to_num(shares[target]) < MATURE * usual
        ends = np.flatnonzero(~late)
        first = min(first, int(ends[-1]) + 1 if len(ends) else 0)
    return target[:first] if first else target


def stretches_of(inside: Inside, setting: Setting) -> tuple[tuple[int, int], ...]:
    """Runs of frames that a drift of means never looks into, but for the residuals; () where it may look into any."""
    plan, windows = inside.plan, setting.windows
    if inside.verse.type.family != "Drift" or setting.statistic is not Statistic.AVERAGE:
        return ()
    spans = [(span.first, span.last) for span in (plan.target, plan.benchmark)]
    for frames in (windows.target, windows.reference):
        if not isinstance(unbroken(frames), slice):
            return ()
        spans.append((int(frames[0]), int(frames[-1]) + 1))
    cuts = sorted({0, plan.frames, *(edge for span in spans for edge in span)})
    return tuple((k, min(k + STRETCH, b)) for a, b in pairwise(cuts) for k in range(a, b, STRETCH))


def windows_of(plan: Plan, verse: Verse) -> Windows:
    """The frames that are judged and those that tell what is usual: whole frames, and a week or a day as the season."""
    width = int(np.median(np.diff(plan.bounds_ms, axis=1))) if plan.frames else DAY_MS
    cycle = 7 if width == DAY_MS else 24 if width == HOUR_MS else 1
    if verse.type.family == "SuddenChange":
        frames = np.array(plan.whole, dtype=np.intp)
        return Windows(frames[-1:], frames[:-1], cycle if len(frames) > 2 * cycle else 1)
    target = plan.whole_of(plan.target)
    if not len(target):
        target = np.arange(plan.target.first, plan.target.last, dtype=np.intp)
    reference = np.setdiff1d(plan.whole_of(plan.benchmark), target)
    learn = len(reference) if len(reference) else len(target)
    return Windows(target, reference, cycle if learn >= 2 * cycle else 1)


def _setting(
    statistic: Statistic,
    comparison: str,
    windows: Windows,
    common: dict[str, object],
    **more: object,
) -> Setting:
    if comparison in ("everybody", "threshold"):
        windows = replace(windows, reference=windows.reference[:0])
    return Setting(statistic, comparison, windows, **common, **more)  # type: ignore[arg-type]
