"""Possible explanations of a finding: other fields that moved with it, mix against rate, missing and new values, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mona_server import words
from mona_server.detect.signal import Signal
from mona_server.detect.source import GroupSums
from mona_server.detect.verses import Statistic
from mona_server.detect.windows import Plan, Span, axes_of
from mona_server.insights.close_look import Close
from mona_server.insights.related import related_anomalies
from mona_server.segment import Equals

MOST_MIXED = 5
"""For so many, mix is told from rate: that takes sums inside of each segment."""
TELLING = 0.3
"""Least share of the change for which a mix is an explanation."""
NEW_SHARE = 0.05
MISSING_POINTS = 0.05
VOLUME_CHANGE = 0.25


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that people or programs said happened: a deploy, a holiday."""

    time_s: float
    title: str
    kind: str = "other"
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What may explain one finding."""

    related_anomalies: tuple[Mapping[str, Any], ...] = ()
    explanations: tuple[Mapping[str, Any], ...] = ()
    global_share: float | None = None
    """Share of everybody's change that comes from the segment."""


def explain(
    signal: Signal,
    close: Close,
    fields: Sequence[str],
    markers: Sequence[Marker] = (),
    *,
    mixed: bool = True,
) -> Explanation:
    """What may explain a signal whose segment was looked at closely; ``mixed``: also mix against rate, and new values."""
    verse, groups = signal.verse, close.groups[signal.segment.text]
    notes: list[Mapping[str, Any]] = []
    share = global_share(signal, close)
    one_question = len(close.plan.questions) == 1  # else the sets are no times before and after
    if one_question and len(close.plan.target) and len(close.plan.benchmark) and verse.type.family == "Drift":
        notes += _mix(signal, close) if mixed else []
        notes += _missing(signal, close, groups)
        notes += _volume(signal, close, groups)
    notes += _events(signal, close.plan, markers)
    related = related_anomalies(signal, close, [name for name in fields if name != signal.metric])
    return Explanation(tuple(related), tuple(notes), share)


def global_share(signal: Signal, close: Close) -> float | None:
    """Share of everybody's change that comes from the segment; None for types without two sets.

    For means: n_target·(t - b) of the segment over the same of the baseline; for sums and sizes: the changes per day.
    """
    plan, verse = close.plan, signal.verse
    if verse.type.family != "Drift" or signal.own_baseline or not len(plan.benchmark):
        return None
    inside, whole = (_change(signal, close, groups) for groups in (close.groups[signal.segment.text], close.base))
    return None if inside is None or not whole else inside / whole


def _change(signal: Signal, close: Close, groups: GroupSums) -> float | None:
    verse, plan = signal.verse, close.plan
    if not verse.type.has_metrics:
        parts = [groups.size[0, span.frames].sum() / plan.days(span) for span in (plan.target, plan.benchmark)]
        return float(parts[0] - parts[1])
    if signal.metric is None or verse.type.statistic not in (Statistic.AVERAGE, Statistic.SUM):
        return None
    m = close.metrics.index(signal.metric)
    offset = float(close.offsets[m])
    count, total = (
        [part[m, 0, s.frames].sum() for s in (plan.target, plan.benchmark)] for part in (groups.count, groups.total)
    )
    if verse.type.statistic is Statistic.SUM:
        per_day = [
            (t + offset * n) / plan.days(s) for t, n, s in zip(total, count, (plan.target, plan.benchmark), strict=True)
        ]
        return float(per_day[0] - per_day[1])
    if not count[0] or not count[1]:
        return None
    return float(total[0] - count[0] * total[1] / count[1])


def _mix(signal: Signal, close: Close) -> list[dict[str, Any]]:
    """Is the change one of values, or of who is there? By the field whose mix explains most; and values never seen."""
    verse, requests = signal.verse, close.plan.questions[0].axes
    beside = {request for request in axes_of(verse) if request.field not in (*signal.segment.fields, signal.metric)}
    numbers = [number for number, request in enumerate(requests) if request in beside]
    if not numbers:
        return []
    source = close.source.within(signal.segment)
    notes: list[dict[str, Any]] = []
    best = (0.0, "")
    for number, groups in zip(numbers, source.sums_of([(number,) for number in numbers]), strict=True):
        axis = source.axes[number]
        notes += _new_values(groups, close.plan, axis.field, axis.conditions)
        if signal.metric is not None and verse.type.statistic is Statistic.AVERAGE and not axis.overlapping:
            metric = close.metrics.index(signal.metric)
            share = mix_share(groups, close.plan.target, close.plan.benchmark, metric)
            if share is not None and share > best[0]:
                best = (share, axis.field)
    if best[0] >= TELLING:
        text = f"{words.share(min(best[0], 1.0))} of the change comes from another mix of {best[1]}"
        notes.insert(0, {"kind": "mix_shift", "text": text, "share": best[0]})
    elif signal.metric is not None and verse.type.statistic is Statistic.AVERAGE:
        text = "the values themselves changed, not who is in the segment"
        notes.insert(0, {"kind": "rate", "text": text, "share": 1 - best[0]})
    return notes


def mix_share(groups: GroupSums, target: Span, benchmark: Span, metric: int = 0) -> float | None:
    """Share of a change of means of a metric that comes from changed weights of the groups, the rest from changed means.

    Δ = Σ (w_t - w_b)·m̄ + Σ w̄·(m_t - m_b), over groups with values in both sets, each term at the middle of the other.
    """
    count = np.stack([groups.count_of(metric)[:, span.frames].sum(axis=1) for span in (target, benchmark)])
    total = np.stack([groups.total[metric][:, span.frames].sum(axis=1) for span in (target, benchmark)])
    if not (count.sum(axis=1) > 0).all():
        return None
    weight = count / count.sum(axis=1, keepdims=True)
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    mean = np.where(np.isnan(mean), mean[::-1], mean)  # a group of one set only: its weight changed, not its mean
    mean = np.nan_to_num(mean)
    change = float((weight[0] * mean[0]).sum() - (weight[1] * mean[1]).sum())
    if abs(change) < 1e-300:
        return None
    mixed = float(((weight[0] - weight[1]) * (mean[0] + mean[1]) / 2).sum())
    return mixed / change


def _new_values(groups: GroupSums, plan: Plan, field: str, conditions: Sequence[Any]) -> list[dict[str, Any]]:
    target, before = (groups.size[:, span.frames].sum(axis=1) for span in (plan.target, plan.benchmark))
    whole = max(float(target.sum()), 1.0)
    notes = []
    for row in np.flatnonzero((before == 0) & (target / whole >= NEW_SHARE)):
        condition = conditions[int(groups.codes[row, 0])]
        if condition != Equals(None):
            share = float(target[row]) / whole
            text = f"{condition.words(field)} is new: {words.share(share)} of the segment"
            notes.append({"kind": "new_value", "text": text, "share": share})
    return notes


def _missing(signal: Signal, close: Close, groups: GroupSums) -> list[dict[str, Any]]:
    if signal.metric is None:
        return []
    m = close.metrics.index(signal.metric)
    shares = []
    for span in (close.plan.target, close.plan.benchmark):
        size = float(groups.size[0, span.frames].sum())
        shares.append(1 - float(groups.count[m, 0, span.frames].sum()) / size if size else 0.0)
    change = shares[0] - shares[1]
    if abs(change) < MISSING_POINTS:
        return []
    text = f"{signal.metric} is missing in {words.share(shares[0])} of contexts instead of {words.share(shares[1])}"
    return [{"kind": "missing_values", "text": text, "share": change}]


def _volume(signal: Signal, close: Close, groups: GroupSums) -> list[dict[str, Any]]:
    if not signal.verse.type.has_metrics:
        return []
    plan = close.plan
    now, before = (float(groups.size[0, s.frames].sum()) / plan.days(s) for s in (plan.target, plan.benchmark))
    if not before or abs(now / before - 1) < VOLUME_CHANGE:
        return []
    text = f"the segment has {words.number(now)} contexts a day instead of {words.number(before)}"
    return [{"kind": "volume", "text": text, "share": now / before - 1}]


def _events(signal: Signal, plan: Plan, markers: Sequence[Marker]) -> list[dict[str, Any]]:
    """Markers within one frame of the beginning of the judged set; for sudden changes, of the last frame."""
    bounds = plan.bounds_ms
    if not len(bounds):
        return []
    frame = int(bounds[-1, 1] - bounds[-1, 0]) / 1000
    sudden = signal.verse.type.family == "SuddenChange"
    begin = bounds[-1, 0] / 1000 if sudden else plan.target_ms[0] / 1000
    notes = []
    for marker in markers:
        if marker.time_s < begin + 2 * frame and (marker.end_s or marker.time_s) >= begin - frame:
            notes.append(
                {"kind": "event", "text": f"{marker.kind}: {marker.title}", "share": None, "time": marker.time_s}
            )
    return notes
