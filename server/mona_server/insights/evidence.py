"""The sums behind a main signal, kept with the insight: charts are drawn and the level is computed again from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.levels import Levels, Scene
from mona_server.detect.parameters import period_ms
from mona_server.detect.signal import Signal
from mona_server.detect.source import AtomSums, GroupSums, SourceQuestion, SumsSource
from mona_server.detect.verses import VERSES, Statistic, Verse, resolve
from mona_server.detect.windows import Plan, Span
from mona_server.errors import BadRequest

FORMAT = 1


def of_atoms(atoms: AtomSums, column: int | None) -> GroupSums:
    """One segment of a scan as sums of a single group; ``None`` = everybody."""
    inside = np.ones(len(atoms.member), dtype=bool) if column is None else atoms.member[:, column]
    count, total, square = (
        part[:, inside].sum(axis=1)[:, None, :] for part in (atoms.count, atoms.total, atoms.square)
    )
    size = atoms.size[inside].sum(axis=0)[None, :]
    return GroupSums.of((), np.zeros((1, 0), dtype=np.int32), size, count, total, square)


def record(signal: Signal, plan: Plan, source: SumsSource, groups: GroupSums, base: GroupSums) -> dict[str, Any] | None:
    """What has to be kept of a signal's segment.

    Of distributions only the means are kept, for the chart (``exact`` false); None where the metric is no number.
    """
    metric = source.metrics.index(signal.metric) if signal.metric is not None else None
    exact = signal.verse.type.statistic is not Statistic.DISTRIBUTION
    if not exact and (metric is None or not groups.square[metric].any()):
        return None
    siblings = None
    if signal.verse.type.type == "SegmentSizeOutlier":
        siblings = {"mean": signal.benchmark, "std": signal.std}
    return {
        "format": FORMAT,
        "exact": exact,
        "at_ms": plan.at_ms,
        "bounds_ms": plan.bounds_ms.tolist(),
        "data_start_ms": plan.data_start_ms,
        "target": [plan.target.first, plan.target.last],
        "benchmark": [plan.benchmark.first, plan.benchmark.last],
        "whole": list(plan.whole),
        "target_ms": list(plan.target_ms),
        "benchmark_ms": list(plan.benchmark_ms) if plan.benchmark_ms else None,
        "offset": 0.0 if metric is None else float(source.offsets[metric]),
        "own_baseline": signal.own_baseline,
        "siblings": siblings,
        "segment": _sums_json(groups, metric),
        "baseline": _sums_json(base, metric),
    }


def recompute(verse: Verse, evidence: Mapping[str, Any]) -> Levels:
    """The level of the main signal from its kept sums, S = 1. Raises BadRequest for evidence of another format."""
    if evidence.get("format") != FORMAT:
        raise BadRequest(f"evidence of format {evidence.get('format')!r} cannot be read", hint=f"known is {FORMAT}")
    bounds = np.array(evidence["bounds_ms"], dtype=np.int64)
    plan = Plan(
        questions=_questions(bounds),
        at_ms=evidence["at_ms"],
        target=Span(*evidence["target"]),
        benchmark=Span(*evidence["benchmark"]),
        whole=tuple(evidence["whole"]),
        target_ms=tuple(evidence["target_ms"]),
        benchmark_ms=tuple(evidence["benchmark_ms"]) if evidence["benchmark_ms"] else None,
        data_start_ms=evidence["data_start_ms"],
    )
    groups, base = (_sums_of(evidence[name]) for name in ("segment", "baseline"))
    if evidence.get("siblings"):
        return _among_siblings(groups, plan, evidence["siblings"])
    sizes = verse.type.sizes(verse, plan, groups, base)
    scene = Scene(verse, plan, groups, base, sizes, 0, evidence["offset"], evidence["own_baseline"])
    return verse.type.levels(scene)


def series(verse: Verse, evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chart of an insight: per frame the statistic in the segment and in the baseline, and both sizes.

    New segments are judged by days and shown by their verse's periods.
    """
    groups, base = (_sums_of(evidence[name]) for name in ("segment", "baseline"))
    bounds = np.array(evidence["bounds_ms"], dtype=np.int64)
    if verse.type.family == "New":
        period = (bounds[:, 0] - evidence["at_ms"]) // period_ms(verse["time_period"])
        starts = np.flatnonzero(np.diff(period, prepend=period[0] - 1))
        groups, base = (
            replace(part, contexts=np.add.reduceat(part.contexts, starts, axis=2)) for part in (groups, base)
        )
        bounds = np.stack([bounds[starts, 0], bounds[np.append(starts[1:], len(bounds)) - 1, 1]], axis=1)
    inside, whole = (per_frame(verse, part, evidence["offset"]) for part in (groups, base))
    return [
        {
            "from": begin // 1000,
            "to": end // 1000,
            "value": _plain(inside[k]),
            "size": float(groups.size[0, k]),
            "baseline_value": _plain(whole[k]),
            "baseline_size": float(base.size[0, k]),
        }
        for k, (begin, end) in enumerate(bounds.tolist())
    ]


def per_frame(verse: Verse, groups: GroupSums, offset: float, metric: int = 0) -> NDArray[np.float64]:
    """(K,): the verse's statistic of one group in each frame; NaN where there is none."""
    size, statistic = groups.size[0], verse.type.statistic
    if not verse.type.has_metrics:
        return np.asarray(size, dtype=np.float64)
    count, total, square = (part[metric, 0] for part in (groups.count, groups.total, groups.square))
    with np.errstate(divide="ignore", invalid="ignore"):
        if statistic is Statistic.RATIO:
            return np.asarray(np.where(size > 0, count / size, np.nan), dtype=np.float64)
        if statistic is Statistic.SUM:
            return np.asarray(total + offset * count, dtype=np.float64)
        if statistic is Statistic.STD:
            return np.asarray(np.sqrt(np.maximum(square / count - (total / count) ** 2, 0.0)), dtype=np.float64)
        return np.asarray(offset + total / count, dtype=np.float64)


def verse_of(resolved: Mapping[str, Any], stanza: str) -> Verse:
    """The verse of a signal's ``verse`` object. Raises BadRequest where this version does not know it."""
    verse_type = VERSES.get(str(resolved.get("type")))
    if verse_type is None:
        raise BadRequest(f"unknown verse type {resolved.get('type')!r}")
    given = {key: value for key, value in resolved.items() if key not in ("arc_class", "type")}
    verse, problems = resolve(verse_type, given, context_class=str(resolved["arc_class"]), stanza=stanza)
    if verse is None:
        raise BadRequest("; ".join(f"{problem.path}: {problem.message}" for problem in problems))
    return verse


def _sums_json(groups: GroupSums, metric: int | None) -> dict[str, list[float]]:
    kept = {"size": groups.size[0].tolist()}
    if metric is not None:
        for name in ("count", "total", "square"):
            kept[name] = getattr(groups, name)[metric, 0].tolist()
    return kept


def _sums_of(kept: Mapping[str, Sequence[float]]) -> GroupSums:
    size = np.array([kept["size"]], dtype=np.float64)
    count, total, square = (
        np.array([[kept.get(name, kept["size"])]], dtype=np.float64) for name in ("count", "total", "square")
    )
    return GroupSums.of((), np.zeros((1, 0), dtype=np.int32), size, count, total, square)


def _questions(bounds: NDArray[np.int64]) -> tuple[SourceQuestion, ...]:
    """Questions whose frames are these: cut where a frame does not begin at the end of the one before."""
    cuts = [0, *(int(k) + 1 for k in np.flatnonzero(bounds[1:, 0] != bounds[:-1, 1])), len(bounds)]
    runs = (bounds[a:b] for a, b in pairwise(cuts))
    return tuple(SourceQuestion((), (), (*(int(t) for t in run[:, 0]), int(run[-1, 1]))) for run in runs)


def _among_siblings(groups: GroupSums, plan: Plan, siblings: Mapping[str, float]) -> Levels:
    """A size among sizes that are kept as mean and std only."""
    from mona_server.detect.levels import level

    size = groups.size[:, plan.target.frames].sum(axis=1)
    mean, std = (np.array([siblings[name]], dtype=np.float64) for name in ("mean", "std"))
    levels, infinite = level(size, mean, std)
    return Levels(size, mean, std, levels, infinite, size >= 2, size)


def _plain(number: float) -> float | None:
    return None if np.isnan(number) else float(number)
