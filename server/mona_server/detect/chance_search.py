"""The second gate and the folding of one verse in one baseline: what is noise, and what says the same twice.

:mod:`chance_evidence` is fed the candidates, :mod:`chance_judging` learns dispersion and tails from all of them and scores
each, :mod:`chance_explaining` names the few that explain those beyond the limit. See ``docs/detection.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mona_server.detect import chance
from mona_server.detect.chance_evidence import Evidence
from mona_server.detect.chance_explaining import Explaining, Judged
from mona_server.detect.chance_judging import Judging
from mona_server.detect.source import SumsSource
from mona_server.segment import Segment

AIM = 0.8
"""Share of the tolerated rate that is used: p-values are estimates, too, and the rate has to hold."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one verse found in one baseline."""

    findings: tuple[Judged, ...]
    """One per cause, strongest first."""
    passed: tuple[Judged, ...]
    """All eligible candidates beyond chance, findings and explained ones."""
    chances: dict[tuple[int, Segment], Judged]
    """Everything looked at closely, also what did not pass."""
    tests: int
    limit: float
    placebos: int
    expected_false: float


def judge(
    evidence: Evidence, source: SumsSource, eligible: Callable[[int, Segment], bool], *, base_allowed: bool
) -> Verdict:
    """Judge all candidates. ``eligible(test, segment)``: did it pass the level, sizes and direction?

    ``source`` answers how suspects overlap; ``base_allowed``: the baseline itself ({}) is a candidate.
    """
    judging = Judging(evidence, source, base_allowed=base_allowed)
    setting = evidence.setting
    calibration = chance.calibrate(judging.placebo_maxima(), contaminated=len(setting.windows.target) == 1)
    limit = calibration.limit(setting.rate * AIM)
    if setting.strict:
        limit = max(limit, -np.log(setting.rate) + np.log1p(np.log(max(len(judging.size), 1))))
    findings: list[Judged] = []
    passed: list[Judged] = []
    chances: dict[tuple[int, Segment], Judged] = {}
    for test in range(len(judging.joined)):
        explained = Explaining(judging, test, eligible, limit, calibration, base_allowed=base_allowed).run()
        findings += explained[0]
        passed += explained[1]
        chances |= explained[2]
    findings.sort(key=lambda f: (float(f"{f.q:.12g}"), -float(f"{abs(f.z):.12g}"), f.test, f.segment.text))
    tests = len(judging.size) * len(judging.joined)
    return Verdict(tuple(findings), tuple(passed), chances, tests, limit, calibration.placebos, setting.rate)
