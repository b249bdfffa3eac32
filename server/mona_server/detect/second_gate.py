"""The second gate of a verse: which of the signals that pass the level are no chance, and which say the same twice.

How that is judged depends on the verse: changes and outliers by :mod:`chance_search` (frames as evidence, joint
explanation), new segments by how odd it is that they were never seen before, hard limits not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from mona_server.detect import chance_search, folding, novelty, siblings, size_outliers
from mona_server.detect.candidates import Block
from mona_server.detect.chance_evidence import Evidence, Setting
from mona_server.detect.chance_explaining import Judged
from mona_server.detect.chance_setting import law_of_rows, mature_target, setting_of, stretches_of
from mona_server.detect.expected import fit_level
from mona_server.detect.gate import Inside
from mona_server.detect.passers import Passers
from mona_server.detect.signal import Chance, Finding, Signal, strength
from mona_server.detect.source import Effects, GroupSums
from mona_server.detect.verses.base import Statistic, Verse
from mona_server.detect.windowed import effects_of
from mona_server.segment import Segment

Key = tuple[int, Segment]
"""Number of the metric among the tested ones, and segment."""

FRAMES = "variation between frames, pooled over segments, with placebo windows"
OFF = "off"
HARD_LIMIT = "a hard limit needs no evidence"
SHAPE = "chi-square law of the divergence, widened by what halves of the benchmark differ"
MOST_HELD_BACK = 300
"""So many signals that could be chance are named, the strongest."""
OWN_ERRORS = 4.0
"""Least standard errors of its own judged rows by which a child must differ from its parent."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What is left of the signals of one baseline."""

    findings: tuple[Finding, ...]
    held_back: tuple[Signal, ...] = ()
    """The strongest of those kept back."""
    kept_back: int = 0
    """How many were."""
    tests: int | None = None
    """How many tests the rate was held over; None where nothing was tested."""
    expected_false: float | None = None
    notes: tuple[str, ...] = ()


class Gate(Protocol):
    """Sees every block of candidates, then settles the signals that passed the first gate."""

    inside: Inside
    """Where the candidates have to be read."""

    def add(self, block: Block) -> None: ...

    def settle(self, signals: Passers) -> Settled: ...


def open_gate(inside: Inside, rate: float, known: Sequence[Segment] = ()) -> Gate:
    """The second gate of a verse inside of one baseline; ``rate`` is what this baseline may use of the verse's rate.

    ``known``: segments whose change is told elsewhere (new ones); they explain size changes and are not named.
    """
    verse = inside.verse
    if verse["max_false_discovery_rate"] >= 1:
        return PlainGate(inside, OFF)
    if verse.type.family == "New":
        return NewGate(inside, rate)
    if verse.type.statistic is Statistic.DISTRIBUTION:
        return ShapeGate(inside, rate)
    if verse.type.type == "SegmentSizeOutlier":
        return SiblingGate(inside, rate)
    setting = setting_of(inside, rate, known)
    if setting is None:
        return PlainGate(inside, HARD_LIMIT if verse.type.family == "Threshold" else "too few frames to tell")
    return FrameGate.of(inside, setting)


@dataclass(slots=True)
class PlainGate:
    """No evidence is asked for; redundancy is folded by sizes and levels alone."""

    inside: Inside
    method: str

    def add(self, block: Block) -> None:
        """Nothing is learnt from candidates."""

    def settle(self, signals: Passers) -> Settled:
        kept = [replace(signal, chance=Chance(passed=True, method=self.method)) for signal in signals]
        if not self.inside.verse["fold_redundant"]:
            return Settled(tuple(Finding(signal) for signal in kept))
        return Settled(tuple(siblings.merge(folding.fold(kept, self.inside), self.inside)))


@dataclass(slots=True)
class NewGate:
    """New segments: how odd is it that all contexts came after the history, if they could have come at any time?"""

    inside: Inside
    rate: float
    _usual: novelty.Usual = field(init=False)

    def __post_init__(self) -> None:
        self._usual = novelty.Usual(self.inside)

    def add(self, block: Block) -> None:
        self._usual.add(block)

    def settle(self, signals: Passers) -> Settled:
        judged = novelty.judge(list(signals), self._usual, self.rate)
        return _settled(self.inside, judged, novelty.fold, sum(self._usual.tests.values()), self.rate)


@dataclass(slots=True)
class SiblingGate:
    """Sizes among those of siblings: how odd is it, were all as large as their mean?"""

    inside: Inside
    rate: float
    _counts: size_outliers.Counts = field(init=False)

    def __post_init__(self) -> None:
        self._counts = size_outliers.Counts(self.inside)

    def add(self, block: Block) -> None:
        self._counts.add(block)

    def settle(self, signals: Passers) -> Settled:
        judged = self._counts.judge(list(signals), self.rate)
        return _settled(self.inside, judged, folding.fold, sum(self._counts.tests.values()), self.rate)


@dataclass(slots=True)
class ShapeGate:
    """Distributions: the p that the formula gives, corrected for the number of candidates."""

    inside: Inside
    rate: float
    _tests: int = 1

    def add(self, block: Block) -> None:
        self._tests += len(block)

    def settle(self, signals: Passers) -> Settled:
        tests = self._tests * len(self.inside.verse.metrics)
        judged = []
        for signal in signals:
            p = signal.chance.p_value
            q = 1.0 if p is None else min(1.0, p * tests)
            reason = "" if q <= self.rate else "could be chance: a sample of this size may differ so much"
            judged.append(replace(signal, chance=Chance(q <= self.rate, SHAPE, q, p, reason)))
        return _settled(self.inside, judged, folding.fold, tests, self.rate)


def _settled(
    inside: Inside,
    judged: Sequence[Signal],
    fold: Callable[[Sequence[Signal], Inside], tuple[Finding, ...]],
    tests: int,
    rate: float,
) -> Settled:
    """Signals that were judged one by one, folded where the verse asks for it."""
    good = [signal for signal in judged if signal.chance.passed]
    bad = [signal for signal in judged if not signal.chance.passed]
    if inside.verse["fold_redundant"]:
        findings, bad = folding.adopt(list(fold(good, inside)), bad)
    else:
        findings = [Finding(signal) for signal in good]
    return Settled(tuple(findings), tuple(bad), len(bad), tests, rate if tests else 0.0)


@dataclass(slots=True)
class FrameGate:
    """Changes and outliers, judged by the variation between frames."""

    inside: Inside
    setting: Setting
    _evidence: Evidence
    note: str = ""
    """What every signal of it has to say."""

    @classmethod
    def of(cls, inside: Inside, setting: Setting) -> FrameGate:
        """Residuals stand beside the metrics where the segment is compared with its own past.

        Judged frames whose values are still arriving are no evidence.
        """
        mature = mature_target(inside, setting)
        note = ""
        if len(mature) < len(setting.windows.target):
            left_out = len(setting.windows.target) - len(mature)
            note = f"{left_out} judged frames left out, whose values are still arriving"
            setting = replace(setting, windows=replace(setting.windows, target=mature))
        unfitted: GroupSums | None = None
        if setting.comparison == "reference" and setting.metrics:
            learn = setting.windows.reference
            if setting.statistic is Statistic.STD:
                level = fit_level(inside.source, inside.base, learn, setting.metrics)
                unfitted = inside.source.residual(level).sums(())
            effects = effects_of(inside.source, inside.segment_axes, inside.base, learn, setting.metrics)
            source = inside.source.residual(effects)
            inside = replace(inside, source=source.coarser(stretches_of(inside, setting)), base=source.sums(()))
            first = len(inside.source.metrics)
            fresh = tuple(1 + 2 * effects[m].leverage for m in setting.metrics)
            setting = replace(setting, residuals=tuple(range(first, first + len(setting.metrics))), fresh=fresh)
        elif setting.comparison != "reference":
            cut: dict[int, Effects] = {}
            if setting.comparison == "everybody" and setting.statistic is Statistic.AVERAGE:
                cut = fit_level(inside.source, inside.base, setting.windows.target, setting.metrics)
            setting = replace(
                setting, shapes=tuple(law_of_rows(inside, setting, m, cut.get(m)) for m in setting.metrics)
            )
            if cut:
                source = inside.source.residual(cut)
                inside = replace(inside, source=source, base=source.sums(()))
                first = len(inside.source.metrics)
                setting = replace(setting, residuals=tuple(range(first, first + len(setting.metrics))))
        return cls(inside, setting, Evidence(setting, inside.base, unfitted, threads=inside.source.threads), note)

    def add(self, block: Block) -> None:
        self._evidence.add(block)

    def settle(self, signals: Passers) -> Settled:
        inside, setting = self.inside, self.setting
        names: list[str | None] = [inside.source.metrics[m] for m in setting.metrics] or [None]
        verdict = chance_search.judge(
            self._evidence,
            inside.source,
            lambda test, segment: signals.find((names[test], segment)) is not None,
            base_allowed=setting.comparison == "reference" and inside.verse.type.with_baseline,
        )
        passed = {(one.test, one.segment): one for one in (*verdict.passed, *verdict.findings)}
        good: dict[Key, Signal] = {}
        for key, one in passed.items():
            signal = signals.find((names[key[0]], key[1]))
            if signal is not None:
                good[key] = _with_chance(signal, one, self.note)
        strongest = signals.strongest(MOST_HELD_BACK, {(names[test], segment) for test, segment in good})
        bad = [
            _held_back(signal, verdict.chance_of(names.index(signal.metric), signal.segment), inside.verse)
            for signal in strongest
        ]
        more = len(signals) - len(good) - len(bad)
        limits = [s for s in bad if s.own_baseline and inside.verse.type.family == "Threshold"]
        bad = [signal for signal in bad if signal not in limits]
        findings = [Finding(replace(s, chance=Chance(passed=True, method=HARD_LIMIT))) for s in limits]
        if inside.verse["fold_redundant"]:
            passed = {key: one for key, one in passed.items() if key in good}
            found, swollen = self._folded([f for f in verdict.findings if (f.test, f.segment) in good], passed, good)
            findings, bad = folding.adopt(findings + siblings.merge(found, inside), [*bad, *swollen])
        else:
            findings += [Finding(signal) for signal in good.values()]
        findings.sort(key=lambda finding: strength(finding.main))
        kept = tuple(sorted(bad, key=strength))
        return Settled(tuple(findings), kept, len(kept) + more, verdict.tests, verdict.expected_false)

    def _folded(
        self,
        mains: Sequence[Judged],
        passed: Mapping[Key, Judged],
        good: Mapping[Key, Signal],
    ) -> tuple[list[Finding], list[Signal]]:
        """The joint explanation's findings with what they explain; what it left alone is folded by levels.

        And the signals that only hold what is new: where that is all that the explanation needs, another verse tells of it.
        """
        named = {(one.test, one.segment): one for one in mains}
        related: dict[Key, list[Signal]] = {key: [] for key in named}
        alone = []
        for key, one in passed.items():
            if key in named:
                continue
            if one.explained_by is not None and (one.test, one.explained_by) in named:
                related[one.test, one.explained_by].append(good[key])
            else:
                alone.append(good[key])
        pairs = _nested(named, good)
        if self.setting.comparison != "reference":
            _drop_weaker(pairs, related, good)
        elif self.inside.verse.type.statistic is Statistic.AVERAGE:
            self._drop_swollen(pairs, named, related, good)
        elif self.inside.verse.type.statistic in (Statistic.SIZE, Statistic.SUM):
            _drop_diluted(pairs, related, good)
        found = [folding.finding(good[key], rest) for key, rest in related.items()]
        if not self.setting.known:
            return found + list(folding.fold(alone, self.inside)), []
        told = "grew only by what is new, which is told once"
        return found, [replace(s, chance=replace(s.chance, passed=False, reason=told)) for s in alone]

    def _drop_swollen(
        self,
        pairs: Sequence[tuple[Key, Key]],
        named: Mapping[Key, Judged],
        related: dict[Key, list[Signal]],
        good: Mapping[Key, Signal],
    ) -> None:
        """Fold children whose change beyond their parent's is within the noise of the judged rows themselves.

        Where a whole population jumps, its values spread wider than they ever did in the frames that noise was learnt
        from. So a child must also move by :data:`OWN_ERRORS` standard errors of its own judged rows.
        """
        if not pairs:
            return
        inside, target = self.inside, self.setting.windows.target
        span = (int(target[0]), int(target[-1]) + 1)
        children = list(dict.fromkeys(key for key, _ in pairs))
        atoms = inside.source.atoms([segment for _, segment in children], [span])
        for column, key in enumerate(children):
            m = self.setting.metrics[key[0]]
            rows = atoms.member[:, column]
            count, total, square = (float(part[m, rows, 0].sum()) for part in (atoms.count, atoms.total, atoms.square))
            if count < 2:
                continue
            error = np.sqrt(max(square / count - (total / count) ** 2, 0.0) / count)
            outer = next((outer for inner, outer in pairs if inner == key and outer in related), None)
            if outer is not None and abs(named[key].effect) < OWN_ERRORS * error:
                related[outer] += [good[key], *related.pop(key)]


def _nested(named: Mapping[Key, Judged], good: Mapping[Key, Signal]) -> list[tuple[Key, Key]]:
    """(child, parent) among findings of one metric and direction."""
    return [
        (inner, outer)
        for inner in named
        for outer in named
        if inner[0] == outer[0]
        and inner[1] != outer[1]
        and folding.within(inner[1], outer[1])
        and good[inner].desc == good[outer].desc
    ]


def _drop_diluted(
    pairs: Sequence[tuple[Key, Key]], related: dict[Key, list[Signal]], good: Mapping[Key, Signal]
) -> None:
    """Fold children that grew or shrank by about the same share as their parent: they follow from it."""
    for inner, outer in pairs:
        changes = [abs(s.value / s.benchmark - 1) if s.benchmark else np.inf for s in (good[inner], good[outer])]
        if inner in related and outer in related and changes[0] <= folding.MORE * changes[1]:
            related[outer] += [good[inner], *related.pop(inner)]


def _drop_weaker(
    pairs: Sequence[tuple[Key, Key]], related: dict[Key, list[Signal]], good: Mapping[Key, Signal]
) -> None:
    """Fold children that stand no further out than their parent."""
    for inner, outer in pairs:
        weaker = good[inner].level <= folding.MORE * good[outer].level
        if inner in related and outer in related and weaker:
            related[outer] += [good[inner], *related.pop(inner)]


def _with_chance(signal: Signal, one: Judged, note: str) -> Signal:
    return replace(signal, chance=Chance(True, FRAMES, q_value=one.q, p_value=one.p, reason=note))


def _held_back(signal: Signal, one: Judged | None, verse: Verse) -> Signal:
    limit = verse["max_false_discovery_rate"]
    reason = f"could be chance: no more than {limit:g} of signals as strong may be false"
    if one is not None and one.alone:
        reason = "one frame alone makes this change: too little of it is seen in the other judged ones"
    q, p = (None, None) if one is None else (one.q, one.p)
    return replace(signal, chance=Chance(False, FRAMES, q_value=q, p_value=p, reason=reason))
