"""The second gate of a verse: which of the signals that pass the level are no chance, and which say the same twice.

How that is judged depends on the verse: changes and outliers by :mod:`chance_search` (frames as evidence, joint
explanation), new segments by how odd it is that they were never seen before, hard limits not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mona_server.detect import folding, novelty
from mona_server.detect.candidates import Block
from mona_server.detect.chance_search import Evidence, Judged, Setting
from mona_server.detect.chance_series import Windows
from mona_server.detect.expected import fit_effects
from mona_server.detect.gate import Inside
from mona_server.detect.parameters import DAY_MS, HOUR_MS
from mona_server.detect.signal import Chance, Finding, Related, Signal, strength
from mona_server.detect.verses.base import Statistic, Verse
from mona_server.detect.verses.threshold import beyond
from mona_server.detect.windows import Plan
from mona_server.segment import Segment

FRAMES = "variation between frames, pooled over segments, with placebo windows"
OFF = "off"
HARD_LIMIT = "a hard limit needs no evidence"
SHAPE = "sampling noise of the distribution is taken off the level"


@dataclass(frozen=True, slots=True)
class Settled:
    """What is left of the signals of one baseline."""

    findings: tuple[Finding, ...]
    held_back: tuple[Signal, ...] = ()
    tests: int | None = None
    """How many tests the rate was held over; None where nothing was tested."""
    expected_false: float | None = None
    notes: tuple[str, ...] = ()


class Gate(Protocol):
    """Sees every block of candidates, then settles the signals that passed the first gate."""

    inside: Inside
    """Where the candidates have to be read."""

    def add(self, block: Block) -> None: ...

    def settle(self, signals: Sequence[Signal]) -> Settled: ...


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
        return PlainGate(inside, SHAPE)
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

    def settle(self, signals: Sequence[Signal]) -> Settled:
        kept = [replace(signal, chance=Chance(passed=True, method=self.method)) for signal in signals]
        if not self.inside.verse["fold_redundant"]:
            return Settled(tuple(Finding(signal) for signal in kept))
        return Settled(folding.fold(kept, self.inside))


@dataclass(slots=True)
class NewGate:
    """New segments: how odd is it that all contexts came after the history, if they could have come at any time?"""

    inside: Inside
    rate: float
    _sizes: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, block: Block) -> None:
        recent = block.groups.size[:, self.inside.plan.target.frames]
        self._sizes.append((recent > 0).sum(axis=1).astype(np.float64))

    def settle(self, signals: Sequence[Signal]) -> Settled:
        tests = sum(len(sizes) for sizes in self._sizes)
        judged = novelty.judge(signals, self.inside, self.rate, tests)
        passed = [signal for signal in judged if signal.chance.passed]
        findings = (
            novelty.fold(passed, self.inside)
            if self.inside.verse["fold_redundant"]
            else tuple(Finding(signal) for signal in passed)
        )
        held_back = tuple(signal for signal in judged if not signal.chance.passed)
        return Settled(findings, held_back, tests, self.rate if tests else 0.0)


@dataclass(slots=True)
class FrameGate:
    """Changes and outliers, judged by the variation between frames."""

    inside: Inside
    setting: Setting
    _evidence: Evidence

    @classmethod
    def of(cls, inside: Inside, setting: Setting) -> FrameGate:
        """Residuals stand beside the metrics where the segment is compared with its own past."""
        if setting.comparison == "reference" and setting.metrics:
            learn = setting.windows.reference
            effects = fit_effects(inside.source, inside.segment_axes, inside.base, learn, setting.metrics)
            source = inside.source.residual(effects)
            inside = replace(inside, source=source, base=source.sums(()))
            first = len(inside.source.metrics)
            setting = replace(setting, residuals=tuple(range(first, first + len(setting.metrics))))
        return cls(inside, setting, Evidence(setting, inside.base))

    def add(self, block: Block) -> None:
        self._evidence.add(block)

    def settle(self, signals: Sequence[Signal]) -> Settled:
        inside, setting = self.inside, self.setting
        names: list[str | None] = [inside.source.metrics[m] for m in setting.metrics] or [None]
        by_key = {(names.index(signal.metric), signal.segment): signal for signal in signals if signal.metric in names}
        verdict = self._evidence.judge(
            inside.source,
            lambda test, segment: (test, segment) in by_key,
            base_allowed=setting.comparison == "reference" and inside.verse.type.with_baseline,
        )
        fold = inside.verse["fold_redundant"]
        passed = {(one.test, one.segment): one for one in (*verdict.passed, *verdict.findings)}
        findings: list[Finding] = []
        related: dict[tuple[int, Segment], list[Signal]] = {}
        mains = {(one.test, one.segment) for one in verdict.findings}
        for key, one in passed.items():
            signal = _with_chance(by_key[key], one)
            if fold and key not in mains and one.explained_by is not None:
                related.setdefault((one.test, one.explained_by), []).append(signal)
            elif not fold or key in mains:
                findings.append(Finding(signal))
        findings = [
            _with_related(finding, related.get((names.index(finding.main.metric), finding.main.segment), ()))
            for finding in findings
        ]
        held_back = [
            _held_back(signal, verdict.chances.get(key), inside.verse)
            for key, signal in by_key.items()
            if key not in passed
        ]
        exempt = [signal for signal in held_back if signal.own_baseline and inside.verse.type.family == "Threshold"]
        findings += [Finding(replace(s, chance=Chance(passed=True, method=HARD_LIMIT))) for s in exempt]
        findings.sort(key=lambda finding: strength(finding.main))
        held_back = sorted((s for s in held_back if s not in exempt), key=strength)
        return Settled(tuple(findings), tuple(held_back), verdict.tests, verdict.expected_false)


def setting_of(inside: Inside, rate: float, known: Sequence[Segment] = ()) -> Setting | None:
    """What is asked of the evidence; None where frames cannot tell: hard limits on totals, or too few frames."""
    verse, plan = inside.verse, inside.plan
    metrics = tuple(range(len(verse.metrics))) if verse.type.has_metrics else ()
    windows = windows_of(plan, verse)
    common = {"metrics": metrics, "residuals": metrics, "rate": rate, "strict": bool(verse["significance_strict"])}
    statistic = verse.type.statistic
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


def _with_chance(signal: Signal, one: Judged) -> Signal:
    return replace(signal, chance=Chance(passed=True, method=FRAMES, q_value=one.q, p_value=one.p))


def _held_back(signal: Signal, one: Judged | None, verse: Verse) -> Signal:
    limit = verse["max_false_discovery_rate"]
    reason = f"could be chance: no more than {limit:g} of signals as strong may be false"
    chance = Chance(passed=False, method=FRAMES, reason=reason)
    if one is not None:
        chance = replace(chance, q_value=one.q, p_value=one.p)
    return replace(signal, chance=chance)


def _with_related(finding: Finding, signals: Iterable[Signal]) -> Finding:
    main = finding.main
    related = [
        Related(replace(signal, folded_into=main.id), folding.relation(main, signal))
        for signal in sorted(signals, key=strength)
    ]
    return replace(finding, related=tuple(related))
