"""Redundancy without a test: which signals only repeat a stronger one, by sizes and levels alone.

Used where the chance gate is off, and for hard limits. Same metric, same direction:

- segments that share at least 80 % of their contexts are one, the shorter description stands;
- a child whose change is no larger than its parent's says nothing new;
- a parent, or any segment that shares contexts, whose change is gone without them is a shadow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.gate import Inside
from mona_server.detect.levels import Scene, round12
from mona_server.detect.overlaps import Overlaps
from mona_server.detect.signal import Finding, Related, Relation, Signal, strength
from mona_server.detect.source import AtomSums, GroupSums
from mona_server.detect.verses.base import Statistic
from mona_server.segment import Segment

SAME = 0.8
MORE = 1.25
"""A child's level must be so much larger than its parent's to be a finding of its own."""
MOST = 400
"""Weaker signals than these are folded by their description alone."""


def relation(main: Signal, other: Signal) -> Relation:
    """How a folded signal is related to the one that stands."""
    if main.verse.name != other.verse.name:
        return "same_metric_other_verse"
    if main.metric != other.metric:
        return "same_segment_other_metric"
    if other.union:
        return "adjacent"
    if within(other.segment, main.segment):
        return "child"
    if within(main.segment, other.segment):
        return "parent"
    return "sibling" if main.segment.fields == other.segment.fields else "overlap"


def within(inner: Segment, outer: Segment) -> bool:
    """Does the inner segment have all conditions of the outer one?"""
    return set(outer.conditions) <= set(inner.conditions)


class Outer:
    """Segments by their conditions: which of them holds another one is looked up, however many they are."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._place: dict[Any, int] = {}
        for place, segment in enumerate(segments):
            self._place.setdefault(segment.conditions, place)

    def of(self, inner: Segment) -> int | None:
        """The place of the first one that ``inner`` is within; None where there is none."""
        parts = (part for few in range(len(inner) + 1) for part in combinations(inner.conditions, few))
        return min((self._place[part] for part in parts if part in self._place), default=None)


def fold(signals: Sequence[Signal], inside: Inside) -> tuple[Finding, ...]:
    """Findings, strongest first, each with the signals that only repeat it."""
    ordered = sorted(signals, key=strength)
    groups: dict[tuple[str | None, bool], list[Signal]] = {}
    for signal in ordered:
        groups.setdefault((signal.metric, signal.desc), []).append(signal)
    findings = [one for group in groups.values() for one in _fold_group(group, inside)]
    return tuple(sorted(findings, key=lambda one: strength(one.main)))


def _fold_group(signals: list[Signal], inside: Inside) -> list[Finding]:
    if len(signals) == 1:
        return [Finding(signals[0])]
    near = signals[:MOST]
    atoms = inside.source.atoms([signal.segment for signal in near], None)
    overlaps = Overlaps(atoms.member)
    jaccard = overlaps.jaccard(atoms.size.sum(axis=1))
    mains: list[int] = []
    folded: dict[int, list[Signal]] = {}
    for k, signal in enumerate(near):
        into = next(
            (
                m
                for m in mains
                if _repeats(near[m], signal, jaccard[m, k], atoms, partial(overlaps.outside, k, m), inside)
            ),
            None,
        )
        if into is None:
            mains.append(k)
            folded[k] = []
        else:
            folded[into].append(signal)
    outer = Outer(near[m].segment for m in mains)
    for signal in signals[MOST:]:
        folded[mains[outer.of(signal.segment) or 0]].append(signal)
    return [_shortest(near[m], folded[m], [jaccard[m, k] >= SAME for k in range(len(near))], near) for m in mains]


def _repeats(
    main: Signal,
    other: Signal,
    jaccard: float,
    atoms: AtomSums,
    outside: Callable[[], NDArray[np.intp]],
    inside: Inside,
) -> bool:
    """``outside`` gives the atoms of the other signal that are not in the main one."""
    if jaccard >= SAME:
        return True
    if within(other.segment, main.segment):
        return other.level <= MORE * main.level
    if jaccard <= 0:
        return False
    # Does a parent still pass its level when the contexts of the stronger one (the child) are taken out?
    return inside.verse.type.statistic is Statistic.DISTRIBUTION or not _stands(other, atoms, outside(), inside)


def _stands(parent: Signal, atoms: AtomSums, rest: NDArray[np.intp], inside: Inside) -> bool:
    """Do these atoms alone pass the level, in the direction of the signal?"""
    verse = inside.verse
    count, total, square = (part[:, rest].sum(axis=1)[:, None, :] for part in (atoms.count, atoms.total, atoms.square))
    size = atoms.size[rest].sum(axis=0)[None, :]
    groups = GroupSums.of((), np.zeros((1, 0), dtype=np.int32), size, count, total, square)
    sizes = verse.type.sizes(verse, inside.plan, groups, inside.base)
    m = 0 if parent.metric is None else inside.source.metrics.index(parent.metric)
    offset = float(inside.source.offsets[m]) if parent.metric is not None else 0.0
    levels = verse.type.levels(Scene(verse, inside.plan, groups, inside.base, sizes, m, offset))
    if not levels.usable[0] or levels.desc[0] != parent.desc:
        return False
    return bool(round12(levels.level)[0] >= parent.min_level)


def adopt(findings: list[Finding], held_back: Sequence[Signal]) -> tuple[list[Finding], list[Signal]]:
    """Signals without a change of their own inside of what did change are folded under it, not kept back as chance."""
    left: list[Signal] = []
    adopted: dict[str, list[Signal]] = {}
    alike: dict[tuple[str | None, bool], list[Signal]] = {}
    for one in findings:
        alike.setdefault((one.main.metric, one.main.desc), []).append(one.main)
    outer = {kind: Outer(main.segment for main in mains) for kind, mains in alike.items()}
    for signal in held_back:
        kind = signal.metric, signal.desc
        place = outer[kind].of(signal.segment) if kind in outer else None
        if place is None:
            left.append(signal)
        else:
            adopted.setdefault(alike[kind][place].id, []).append(signal)
    joined = [_joined(one, adopted[one.main.id]) if one.main.id in adopted else one for one in findings]
    return joined, left


def finding(main: Signal, folded: Sequence[Signal]) -> Finding:
    """A signal with those that repeat it, strongest first."""
    related = [Related(replace(s, folded_into=main.id), relation(main, s)) for s in sorted(folded, key=strength)]
    return Finding(main, tuple(related))


def _joined(one: Finding, more: Sequence[Signal]) -> Finding:
    return replace(
        finding(one.main, [*(related.signal for related in one.related), *more]), explanations=one.explanations
    )


def _shortest(main: Signal, folded: list[Signal], same: list[bool], near: list[Signal]) -> Finding:
    """The shortest description of the same contexts stands for the group."""
    twins = [signal for signal, equal in zip(near, same, strict=True) if equal and signal in folded]
    shortest = min([main, *twins], key=lambda signal: (len(signal.segment), strength(signal)))
    return finding(shortest, [signal for signal in (main, *folded) if signal is not shortest])
