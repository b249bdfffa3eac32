"""What a search finds: signals, and findings that hold one signal and those that only repeat it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from mona_server.detect.levels import INFINITE
from mona_server.detect.verses.base import Verse
from mona_server.segment import Segment

AVERAGE_EPSILON = 0.01
"""Emitted only for compatibility."""

Relation = Literal[
    "child", "parent", "overlap", "sibling", "adjacent", "same_segment_other_metric", "same_metric_other_verse"
]


@dataclass(frozen=True, slots=True)
class Chance:
    """The second gate: could the change be noise?"""

    passed: bool
    method: str
    """How it was judged, in words; ``off`` where the verse does not ask."""
    q_value: float | None = None
    """Expected share of false signals among those at least as strong; None where nothing was tested."""
    p_value: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One anomaly: one verse, metric, segment, baseline and T. Numbers as the formula gave them."""

    verse: Verse = field(repr=False)
    at_ms: int
    metric: str | None
    segment: Segment
    baseline: Segment
    """``baseline_segment`` together with the values of ``segment_baseline_by``."""
    level: float
    infinite: bool
    value: float
    benchmark: float
    std: float | None
    size: float
    ratio: float
    baseline_size: float
    target_size: float
    benchmark_size: float
    count: float
    min_level: float
    target_ratio: float | None = None
    benchmark_ratio: float | None = None
    target_baseline: float | None = None
    benchmark_baseline: float | None = None
    target_ms: tuple[int, int] = (0, 0)
    benchmark_ms: tuple[int, int] | None = None
    own_baseline: bool = False
    union: bool = False
    """A union of neighbouring buckets."""
    chance: Chance = Chance(passed=True, method="off")
    folded_into: str | None = None

    @property
    def desc(self) -> bool:
        return self.value < self.benchmark

    @property
    def score(self) -> float:
        """Level times the root of the size; 1e9 where the level is infinite."""
        return INFINITE if self.infinite else self.level * math.sqrt(self.size)

    @property
    def id(self) -> str:
        """Stable text for the same verse, metric, segment, baseline, direction and T."""
        parts = (self.verse.context_class, self.verse.stanza, self.verse.name, self.metric or "", self.segment.text)
        text = "\x1f".join((*parts, self.baseline.text, str(self.desc), str(self.at_ms)))
        return "sig_" + hashlib.sha256(text.encode()).hexdigest()[:20]

    def to_json(self, user_id: str = "") -> dict[str, Any]:
        """The signal object: original keys first."""
        verse = self.verse
        window: dict[str, int | None] = {"from": self.target_ms[0] // 1000, "to": self.target_ms[1] // 1000}
        begin, end = self.benchmark_ms or (None, None)
        window |= {
            "benchmark_from": None if begin is None else begin // 1000,
            "benchmark_to": None if end is None else end // 1000,
        }
        return {
            "user_id": user_id,
            "arc_class": verse.context_class,
            "stanza_name": verse.stanza,
            "verse_name": verse.name,
            "timestamp": self.at_ms // 1000,
            "signal_type": verse.type.signal_type,
            "is_desc": self.desc,
            "anomaly_level": self.level,
            "score": self.score,
            "is_score_inf": self.infinite,
            "value": self.value,
            "benchmark": self.benchmark,
            "std": self.std,
            "segment": self.segment.to_json(),
            "baseline_segment": self.baseline.to_json(),
            "segment_size": float(self.size),
            "segment_ratio": self.ratio,
            "kapi": self.metric,
            "params": {
                "MIN_SEGMENT_SIZE": verse["min_segment_size"],
                "MAX_SEGMENT_SIZE": verse["max_segment_size"],
                "STD_MULTIPLIER_THRESHOLD": verse["min_anomaly_level"],
                "AVERAGE_EPSILON": AVERAGE_EPSILON,
            },
            "verse": verse.resolved(),
            "signal_id": self.id,
            "target_size": int(self.target_size),
            "benchmark_size": int(self.benchmark_size),
            "metric_count": int(self.count),
            "baseline_size": int(self.baseline_size),
            "gates": {
                "level": {"value": self.level, "min": self.min_level, "passed": True},
                "chance": {
                    "q_value": self.chance.q_value,
                    "p_value": self.chance.p_value,
                    "max": verse["max_false_discovery_rate"],
                    "passed": self.chance.passed,
                    "method": self.chance.method,
                    "reason": self.chance.reason,
                },
                "folded_into": self.folded_into,
            },
            "window": window,
        }


@dataclass(frozen=True, slots=True)
class Related:
    """A signal that repeats another one, and how it is related to it."""

    signal: Signal
    relation: Relation


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause: the signal that names it, and the signals folded under it, strongest first."""

    main: Signal
    related: tuple[Related, ...] = ()
    explanations: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a search looked at."""

    candidates: int = 0
    pruned: int = 0
    tests: int = 0
    passed_level: int = 0
    passed_chance: int = 0
    max_depth_used: int = 0
    expected_false: float | None = None
    """Expected number of false findings of this run; None with the chance gate off."""
    target_size: float = 0
    benchmark_size: float = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Findings, strongest first; what passed the level but could be chance; and what was looked at."""

    at_ms: int
    findings: tuple[Finding, ...]
    held_back: tuple[Signal, ...]
    report: Report

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals that name the findings."""
        return tuple(finding.main for finding in self.findings)


def strength(signal: Signal) -> tuple[Any, ...]:
    """Sort key, strongest first: score, then fewer fields, larger segment, text order of the segment.

    Scores count to 12 significant digits, so that the order does not hang on the last bits.
    """
    return (-float(f"{signal.score:.12g}"), len(signal.segment), -signal.size, signal.segment.text, signal.metric or "")
