"""The second gate and the folding of one verse in one baseline: what is noise, and what says the same twice.

:mod:`chance_evidence` is fed the candidates, :mod:`chance_judging` learns dispersion and tails from all of them and scores
each, :mod:`chance_explaining` names the few that explain those beyond the limit, :mod:`chance_looks` looks again beside them. See ``docs/detection.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mona_server.detect.chance_calming import Moved
from mona_server.detect.chance_evidence import Evidence
from mona_server.detect.chance_explaining import Judged
from mona_server.detect.chance_judging import Judging
from mona_server.detect.chance_looks import Explained, Looks
from mona_server.detect.source import SumsSource
from mona_server.detect.verses.base import Statistic
from mona_server.segment import Segment
from mona_server.threads import in_threads


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one verse found in one baseline."""

    findings: tuple[Judged, ...]
    """One per cause, strongest first."""
    passed: tuple[Judged, ...]
    """All eligible candidates beyond chance, findings and explained ones."""
    chance_of: Callable[[int, Segment], Judged | None]
    """The chance of any candidate of a test alone, also of what did not pass; None for what is no candidate."""
    tests: int
    expected_false: float


def judge(
    evidence: Evidence, source: SumsSource, eligible: Callable[[int, Segment], bool], *, base_allowed: bool
) -> Verdict:
    """Judge all candidates. ``eligible(test, segment)``: did it pass the level, sizes and direction?

    ``source`` answers how suspects overlap; ``base_allowed``: the baseline itself ({}) is a candidate.
    """
    judging = Judging(evidence, source, base_allowed=base_allowed)
    setting, metrics = evidence.setting, range(len(judging.joined))
    looks = Looks(judging, eligible, base_allowed=base_allowed)
    each = in_threads(looks.first, metrics, evidence.threads)
    if setting.statistic is Statistic.SUM and len(metrics) > 1:
        # Contexts are the same for all metrics: what grew or shrank by them in one of them did so in the others.
        grown = [{moved.segment: moved.by[0] for moved in one.moved} for one, _, _ in each]

        def beside(test: int) -> Explained:
            others = {segment: by for other in grown for segment, by in other.items() if segment not in grown[test]}
            told = [Moved(segment, (by, 0.0)) for segment, by in others.items()]
            return looks.again(each[test], told) if told else each[test]

        each = in_threads(beside, metrics, evidence.threads)
    findings = [one for _, found, _ in each for one in found]
    passed = [one for _, _, beyond in each for one in beyond]
    findings.sort(key=lambda f: (float(f"{f.q:.12g}"), -float(f"{abs(f.z):.12g}"), f.test, f.segment.text))
    tests = len(judging.size) * len(judging.joined)

    def chance_of(test: int, segment: Segment) -> Judged | None:
        candidate = judging.candidate(segment)
        return None if candidate is None else each[test][0].judged(candidate)

    return Verdict(tuple(findings), tuple(passed), chance_of, tests, setting.rate)
