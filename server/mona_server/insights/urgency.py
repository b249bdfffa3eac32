"""Which insights are urgent."""

from __future__ import annotations

from mona_server.detect.signal import Signal


def urgency(signal: Signal) -> str:
    """``high`` or ``normal``: ``default_urgency``, else one (or all) of the ``high_urgency_*`` thresholds that are set."""
    verse = signal.verse
    if verse["default_urgency"] == "high":
        return "high"
    reached = [value >= limit for limit, value in _criteria(signal)]
    limit = verse.get("high_urgency_threshold")
    if limit is not None:
        reached.append(signal.value > limit if verse["over_threshold"] else signal.value < limit)
    wanted = all if verse["high_urgency_require_all_criteria"] else any
    return "high" if reached and wanted(reached) else "normal"


def _criteria(signal: Signal) -> list[tuple[float, float]]:
    """(limit, number) of each threshold that is set."""
    numbers = {
        "min_segment_size": signal.size,
        "min_segment_size_fraction": signal.ratio,
        "baseline_min_segment_size": signal.baseline_size,
        "min_score": signal.score,
        "min_anomaly_level": signal.level,
        "min_culprit_size": signal.target_size,
        "target_min_segment_size": signal.target_size,
        "target_min_segment_size_fraction": signal.target_ratio or 0.0,
        "target_baseline_min_segment_size": signal.target_baseline or 0.0,
        "benchmark_min_segment_size": signal.benchmark_size,
        "benchmark_min_segment_size_fraction": signal.benchmark_ratio or 0.0,
        "benchmark_baseline_min_segment_size": signal.benchmark_baseline or 0.0,
    }
    limits = {name: signal.verse.get(f"high_urgency_{name}") for name in numbers}
    return [(limit, numbers[name]) for name, limit in limits.items() if limit is not None]
