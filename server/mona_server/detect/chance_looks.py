"""What is found in each metric, looked at again beside what was found: turmoil that findings explain hides nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mona_server.detect import chance
from mona_server.detect.chance_calming import WORTH, Counted, Moved, calmed
from mona_server.detect.chance_explaining import Explaining, Judged
from mona_server.detect.chance_judging import Judging
from mona_server.segment import Segment
from mona_server.threads import in_threads

AIM = 0.6
"""Share of the tolerated rate that is used. The rate has to hold, and p-values are estimates, too: where 4 % of unchanged tables were
aimed at, about 6 % of them spoke."""
LOOKS = 3
"""What was found makes the rest look less stormy, so more may be found; at most so many times."""

Explained = tuple[Explaining, list[Judged], list[Judged]]
"""One metric, its findings, and all of it that is beyond chance."""


class Looks:
    """Explanations of each metric of a verse; ``judging.joined`` holds the turmoil that the last one left."""

    def __init__(self, judging: Judging, eligible: Callable[[int, Segment], bool], *, base_allowed: bool) -> None:
        self._judging, self._eligible, self._base_allowed = judging, eligible, base_allowed
        tests, single = range(len(judging.joined)), len(judging.setting.windows.target) == 1
        self._counted: list[Counted] = [{} for _ in tests]

        def calibrated(test: int) -> chance.Calibration:
            return chance.calibrate(judging.placebo_maxima(test), len(tests), contaminated=single)

        self._calibrations = in_threads(calibrated, tests, judging.evidence.threads)

    def first(self, test: int) -> Explained:
        """The findings of one metric, looked at as often as turmoil falls beside them."""
        found = self._explained(test)
        parts = self._judging.joined[test]
        if not found[0].moved and any(part.turmoil.max(initial=1.0) >= 1 + WORTH for part in parts):
            found = self._supposing(test) or found
        return self.again(found, [])

    def again(self, found: Explained, told: Sequence[Moved]) -> Explained:
        """The same beside the findings and beside what else is told to have moved."""
        for _ in range(LOOKS):
            calmer = self._beside(found[0].test, [*found[0].moved, *told])
            if calmer is None:
                break
            found = calmer
        return found

    def _explained(self, test: int) -> Explained:
        setting, calibration = self._judging.setting, self._calibrations[test]
        limit = calibration.limit(setting.rate * AIM)
        if setting.strict:
            limit = max(limit, -np.log(setting.rate) + np.log1p(np.log(max(len(self._judging.size), 1))))
        one = Explaining(self._judging, test, self._eligible, limit, calibration, base_allowed=self._base_allowed)
        return one, *one.run()

    def _beside(self, test: int, moved: Sequence[Moved]) -> Explained | None:
        """With the turmoil that is left beside what moved; None where that is no less."""
        calmer = calmed(self._judging, test, moved, self._counted[test])
        if calmer is None:
            return None
        self._judging.joined[test] = calmer
        return self._explained(test)

    def _supposing(self, test: int) -> Explained | None:
        """A large change may hide in the turmoil that it makes itself: what is found if the strongest one does.

        None, and all as it was, where those findings do not make turmoil as small themselves: then it is a storm.
        """
        joined = self._judging.joined
        stormy = joined[test]
        joined[test] = [replace(part, turmoil=np.ones_like(part.turmoil)) for part in stormy]
        supposed, _, _ = self._explained(test)
        joined[test] = stormy
        tried = self._beside(test, supposed.moved[:1])
        joined[test] = stormy
        sure = self._beside(test, tried[0].moved) if tried else None
        if sure and sure[0].moved:
            return sure
        joined[test] = stormy
        return None
