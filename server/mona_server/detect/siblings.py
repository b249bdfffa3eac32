"""Siblings with the same change are one finding: a set of values of one field, or their parent where they cover it.

Siblings have all conditions in common but the value of one field. Only changes are merged (drifts and sudden changes): that
several values are outliers, or new, says something of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mona_server.detect.candidates import Block
from mona_server.detect.folding import MORE, SAME, finding
from mona_server.detect.gate import Count, Inside, passing
from mona_server.detect.signal import Finding, Signal
from mona_server.detect.source import Axis, GroupSums
from mona_server.detect.verses.base import Statistic
from mona_server.segment import ALL, Condition, Equals, OneOf, Segment

ALIKE = 0.01
"""Changes are the same unless their differences are rarer than this by chance (or, for exact ones, within MORE)."""

Key = tuple[str | None, bool, tuple[tuple[str, tuple[Condition, ...]], ...], str]
"""Metric, direction, the common conditions, and the field that differs."""


@dataclass(frozen=True, slots=True)
class _Union(Block):
    """A block of one segment that no list of codes describes."""

    name: Segment = ALL

    def segment(self, row: int, axes: Sequence[Axis]) -> Segment:
        del row, axes
        return self.name


def merge(findings: Sequence[Finding], inside: Inside) -> list[Finding]:
    """The findings, with those of siblings that changed alike as one each; the largest groups first."""
    verse = inside.verse
    left = list(findings)
    plain = verse.type.statistic is Statistic.DISTRIBUTION or verse.type.family not in ("Drift", "SuddenChange")
    if plain or not verse["create_extra_adjacent_signals"]:
        return left
    tried: set[tuple[Segment, ...]] = set()
    while True:
        groups = [(key, alike) for key, group in _groups(left).items() if len(alike := _alike(group)) > 1]
        groups = [(key, group) for key, group in groups if _names(group) not in tried]
        if not groups:
            return left
        key, group = max(groups, key=lambda one: (len(one[1]), [f.main.segment.text for f in one[1]]))
        tried.add(_names(group))
        main = _together(key, [one.main for one in group], inside)
        if main is not None:
            repeats = [*(one.main for one in group), *(related.signal for one in group for related in one.related)]
            left = [one for one in left if one not in group]
            same = next(
                (one for one in left if one.main.segment == main.segment and one.main.metric == main.metric), None
            )
            if same is None:
                left.append(finding(main, repeats))
            else:
                left[left.index(same)] = finding(same.main, [*(r.signal for r in same.related), *repeats])


def _names(group: Sequence[Finding]) -> tuple[Segment, ...]:
    return tuple(one.main.segment for one in group)


def _groups(findings: Sequence[Finding]) -> dict[Key, list[Finding]]:
    """Findings by all but one of their conditions; a finding is in as many groups as it has conditions."""
    groups: dict[Key, list[Finding]] = {}
    for one in findings:
        main = one.main
        for name, options in main.segment.conditions:
            if main.own_baseline or main.infinite or not all(isinstance(o, Equals | OneOf) for o in options):
                continue
            rest = tuple(condition for condition in main.segment.conditions if condition[0] != name)
            groups.setdefault((main.metric, main.desc, rest, name), []).append(one)
    return groups


def _change(signal: Signal) -> float:
    """How far it moved: of sizes and totals by which share, else by how much."""
    if signal.verse.type.statistic in (Statistic.SIZE, Statistic.SUM):
        return signal.value / signal.benchmark - 1 if signal.benchmark else np.inf
    return signal.value - signal.benchmark


def _alike(group: Sequence[Finding]) -> list[Finding]:
    """Those that changed alike: the one furthest from the mean is left out until the rest agree."""
    from scipy.special import chdtrc, ndtri

    left = sorted((f for f in group if np.isfinite(_change(f.main))), key=lambda one: one.main.segment.text)
    while len(left) > 1:
        changes = np.array([_change(one.main) for one in left])
        p = np.array([1e-300 if one.main.chance.p_value is None else one.main.chance.p_value for one in left])
        errors = np.abs(changes) / np.maximum(-ndtri(np.clip(p, 1e-300, 1.0) / 2), 0.1)
        weights = 1 / np.maximum(errors, 1e-60) ** 2
        away = changes - float(weights @ changes) / float(weights.sum())
        close = np.abs(changes).max() <= MORE * np.abs(changes).min()
        if close or chdtrc(len(left) - 1, float(weights @ away**2)) >= ALIKE:
            break
        left.pop(int(np.argmax(weights * away**2)))
    return left


def _together(key: Key, signals: Sequence[Signal], inside: Inside) -> Signal | None:
    """The signal of all contexts of the siblings, by the exact formula; None where it does not pass its level."""
    metric, desc, rest, name = key
    values = dict.fromkeys(value for signal in signals for value in _values(signal.segment, name))
    parent = Segment(rest)
    atoms = inside.source.atoms([*(signal.segment for signal in signals), *([parent] if parent else [])])
    some = atoms.member[:, : len(signals)].any(axis=1)
    whole = atoms.member[:, -1] if parent else np.ones(len(atoms.member), np.bool_)
    segment = Segment((*rest, (name, (OneOf(tuple(sorted(values, key=str))),))))
    covered = float(atoms.size[some].sum()) > SAME * float(atoms.size[whole].sum())
    if covered and (parent or inside.verse.type.with_baseline):
        some, segment = whole, parent
    count, total, square = (part[:, some].sum(axis=1)[:, None, :] for part in (atoms.count, atoms.total, atoms.square))
    groups = GroupSums.of((), np.zeros((1, 0), np.int32), atoms.size[some].sum(axis=0)[None], count, total, square)
    if not segment:
        groups = inside.base
    for part in passing(inside, _Union(groups, (), segment), Count(), own_baseline=not segment):
        signal = replace(part.signal(0), segment=segment)
        if part.metric == metric and signal.desc == desc:
            strongest = min(signals, key=lambda one: (one.chance.q_value is None, one.chance.q_value))
            return replace(signal, chance=strongest.chance)
    return None


def _values(segment: Segment, name: str) -> list[str | int | float | bool | None]:
    found: list[str | int | float | bool | None] = []
    for option in dict(segment.conditions)[name]:
        found += (
            list(option.values) if isinstance(option, OneOf) else [option.value] if isinstance(option, Equals) else []
        )
    return found
