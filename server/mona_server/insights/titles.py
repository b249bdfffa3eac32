"""One sentence that says what happened: the same in mail, chat, page and terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mona_server import words
from mona_server.segment import Segment

_STATISTICS = {
    "StandardDeviation": "standard deviation",
    "ExistenceRatio": "share of values",
    "Sum": "sum",
    "Average": "average",
    "SegmentSize": "",
    "Distribution": "distribution",
}


def statistic_of(verse_type: str) -> str:
    """The statistic that a verse type follows, in words; empty for sizes.

    >>> statistic_of("SumSuddenChange")
    'sum'
    """
    return next((name for prefix, name in _STATISTICS.items() if verse_type.startswith(prefix)), "")


def title(signal: Mapping[str, Any]) -> str:
    """``<metric> <statistic> <rose|fell> from <b> to <t> (<±x %>) where <segment> (<n> contexts, <ratio> of <baseline>)``."""
    verse_type = str(signal["verse"]["type"])
    segment, baseline = Segment.parse(signal["segment"]), Segment.parse(signal["baseline_segment"])
    where = f" where {segment}" if segment else ""
    size = f"{words.count(signal['segment_size'])} contexts"
    share = f", {words.share(signal['segment_ratio'])} of {baseline or 'all data'}" if segment else ""
    statistic = statistic_of(verse_type)
    subject = f"{signal['kapi']} {statistic}".strip() if signal["kapi"] else "Number of contexts"
    return f"{_what(verse_type, subject, signal)}{where} ({size}{share})"


def _what(verse_type: str, subject: str, signal: Mapping[str, Any]) -> str:
    value, benchmark = words.number(signal["value"]), words.number(signal["benchmark"])
    lower = signal["is_desc"]
    if verse_type == "NewSegments":
        return "New segment"
    if verse_type == "DistributionDrift":
        return f"{subject} changed by {words.number(signal['anomaly_level'])}"
    if verse_type.endswith("Threshold"):
        limit = words.number(signal["verse"]["threshold"])
        return f"{subject} is {value}, {'above' if signal['verse']['over_threshold'] else 'below'} the limit of {limit}"
    if verse_type.endswith("Outlier"):
        among = "other segments" if verse_type.startswith("SegmentSize") else "everybody"
        return f"{subject} is {value}, {'below' if lower else 'above'} {benchmark} of {among}"
    if verse_type.endswith("SuddenChange"):
        return f"{subject} suddenly {'fell' if lower else 'rose'} to {value}, beyond the usual {benchmark}"
    if verse_type == "SegmentSizeDrift":
        subject = "Number of contexts" if not signal["verse"]["use_relative_sizes"] else "Share of contexts"
    relative = _relative(signal["value"], signal["benchmark"])
    return f"{subject} {'fell' if lower else 'rose'} from {benchmark} to {value}{relative}"


def _relative(value: float, benchmark: float) -> str:
    if not benchmark or (value < 0) != (benchmark < 0):
        return ""
    change = (value - benchmark) / abs(benchmark) * 100
    return f" ({'+' if change > 0 else '-'}{words.number(abs(change))}{words.THIN}%)"
