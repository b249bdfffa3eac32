"""The search: every segment of every intersection, by exact formulas, then by chance, then one finding per cause.

Pure: arrays in, findings out. ``source_for`` opens what a question asks for, time is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mona_server.detect.baselines import baselines
from mona_server.detect.candidates import Block, Limits, Tally, blocks
from mona_server.detect.gate import Count, Inside, passing
from mona_server.detect.passers import Passers
from mona_server.detect.second_gate import Gate, Settled, open_gate
from mona_server.detect.signal import Report, SearchResult, strength
from mona_server.detect.sliced import StackedSource
from mona_server.detect.source import SumsSource
from mona_server.detect.verses.base import Statistic, Verse
from mona_server.detect.windows import Look, Plan, window_end
from mona_server.segment import Segment

MAX_CANDIDATES = 2_000_000
NOTHING = "there is no data to judge in the windows"
LOWERED = "the depth was lowered, because there were too many candidates"


def search(
    verse: Verse,
    source_for: Look,
    now: datetime,
    *,
    data_start_ms: int,
    max_candidates: int = MAX_CANDIDATES,
    known: Sequence[Segment] = (),
) -> SearchResult:
    """Findings of one verse for the window end at or before ``now``.

    ``data_start_ms`` is the time of the first context of the class on the verse's time axis. ``known``: new segments
    that another verse tells of; a size or sum that they enlarge is no finding of its own. Raises
    :class:`BadRequest` where the windows need too many frames, or the source does not know a field.
    """
    at_ms = int(window_end(verse["cadence"], now).timestamp() * 1000)
    plan = verse.type.plan(verse, at_ms, data_start_ms, source_for)
    if plan is None or not len(plan.target):
        return SearchResult(at_ms, (), (), Report(notes=(NOTHING,)))
    source = opened(plan, source_for)
    tally, count = Tally(), Count()
    places = list(baselines(verse, plan, source))
    rate = float(verse["max_false_discovery_rate"]) / max(len(places), 1)
    settled: list[Settled] = []
    sizes = [0.0, 0.0]
    passed = 0
    for place in places:
        gate = open_gate(place, rate, known)
        passers = _level_gate(gate, tally, count, max_candidates)
        passed += len(passers)
        settled.append(gate.settle(passers))
        sizes[0] += float(place.base.size[:, plan.target.frames].sum())
        sizes[1] += float(place.base.size[:, plan.benchmark.frames].sum())
    findings = sorted((f for one in settled for f in one.findings), key=lambda finding: strength(finding.main))
    held_back = sorted((signal for one in settled for signal in one.held_back), key=strength)
    tested = [one.tests for one in settled if one.tests is not None]
    notes = (LOWERED,) if tally.lowered else ()
    if not sizes[0]:
        notes = (NOTHING,)
    report = Report(
        candidates=tally.candidates,
        pruned=tally.pruned,
        tests=sum(tested) if tested else count.tests,
        passed_level=passed,
        passed_chance=passed - sum(one.kept_back for one in settled),
        max_depth_used=tally.max_depth_used,
        expected_false=sum(one.expected_false or 0.0 for one in settled) if tested else None,
        target_size=sizes[0],
        benchmark_size=sizes[1],
        notes=notes,
    )
    return SearchResult(at_ms, tuple(findings), tuple(held_back), report)


def opened(plan: Plan, source_for: Look) -> SumsSource:
    """The source of a plan: two questions are read as one."""
    parts = [source_for(question) for question in plan.questions]
    return parts[0] if len(parts) == 1 else StackedSource(parts[0], parts[1])


def limits_of(inside: Inside, max_candidates: int = MAX_CANDIDATES) -> Limits:
    """Which candidates of a baseline are worth summing: the smallest size that can still pass all filters."""
    verse, plan = inside.verse, inside.plan
    target = float(inside.base.size[:, plan.target.frames].sum())
    benchmark = float(inside.base.size[:, plan.benchmark.frames].sum())
    fraction, least = verse["min_segment_size_fraction"], float(verse["min_segment_size"])
    if verse.type.family == "Drift":
        # Where the sets overlap, a context counts in both.
        times = 2 if plan.overlap else 1
        least = max(
            least / times,
            fraction * min(target, benchmark) / times,  # the ratio is a mean of both shares
            float(verse["target_min_segment_size"] + verse["benchmark_min_segment_size"]) / times,
            verse["target_min_segment_size_fraction"] * target,
            verse["benchmark_min_segment_size_fraction"] * benchmark,
            4.0 / times,
        )
    elif verse.type.family != "New":
        least = max(least, fraction * target, 2.0)
    plain = verse.type.family == "New" or verse.type.statistic is Statistic.DISTRIBUTION
    siblings = verse.type.type == "SegmentSizeOutlier"
    return Limits(
        depth=int(verse["max_segment_depth"]),
        min_size=least * (1 - 1e-9),
        avoid_missing=bool(verse["avoid_segmenting_on_missing"]),
        unions=bool(verse["create_extra_adjacent_signals"]) and not plain and not siblings,
        drop_repeats=bool(verse["fold_redundant"]),
        max_candidates=max_candidates,
    )


def _level_gate(gate: Gate, tally: Tally, count: Count, max_candidates: int) -> Passers:
    """All that passes gate 1 in one baseline; the second gate sees every candidate on the way."""
    inside = gate.inside
    found = Passers()
    if inside.verse.type.with_baseline:
        tally.candidates += 1
        found.parts += passing(inside, Block(inside.base, ()), count, own_baseline=True)
    for block in blocks(inside.source, inside.segment_axes, inside.base, limits_of(inside, max_candidates), tally):
        gate.add(block)
        found.parts += passing(inside, block, count)
    return found
