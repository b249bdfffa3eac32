"""New segments: is it chance that they were never seen before, and which of them says it shortest?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mona_server.detect.candidates import Block
from mona_server.detect.folding import finding, within
from mona_server.detect.gate import Inside
from mona_server.detect.overlaps import Overlaps
from mona_server.detect.signal import Chance, Finding, Signal, strength
from mona_server.detect.source import Floats
from mona_server.segment import Segment

METHOD = "odds that all of its contexts came after the history, had they come at any time; bursts count once"
SAME = 0.8
KNOWN_CONTEXTS = 50.0
MIN_CONTEXTS = 5.0
"""With fewer contexts the burst of a segment of its own tells nothing."""
LEAST_BURST = 2.0
"""Contexts come in bursts at least so large that this many say no more than one."""


def bursts(size: Floats, base: Floats) -> Floats:
    """(S,) how much larger than Poisson the counts ``size`` (S, K) vary over frames; NaN where one frame tells nothing.

    ``Σ (n_k - e_k)²/e_k / (K - 1)`` with e_k the segment's contexts spread as those of everybody, ``base`` (K,). A segment
    whose n contexts all stand in one of many like frames has about n: they say no more than one context.
    """
    seen = base > 0
    frames = int(seen.sum())
    if frames < 2:
        return np.full(len(size), np.nan)
    expected = size.sum(axis=1, keepdims=True) * (base[seen] / base.sum())
    square = np.divide((size[:, seen] - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    return np.asarray(square.sum(axis=1) / (frames - 1), np.float64)


@dataclass(slots=True)
class Usual:
    """What is learnt from all candidates: how large bursts are, of each new one and usually, and how many are tested."""

    inside: Inside
    tests: dict[int, int] = field(default_factory=dict)
    """Number of conditions → candidates."""
    _own: dict[Segment, tuple[float, int]] = field(default_factory=dict)
    """New segment → its burst, and in how many frames it is."""
    _known: list[Floats] = field(default_factory=list)

    def add(self, block: Block) -> None:
        """Take the numbers of one block of candidates."""
        depth = len(block.widths)
        self.tests[depth] = self.tests.get(depth, 0) + len(block)
        plan, size, base = self.inside.plan, block.groups.size, self.inside.base.size[0]
        recent = size[:, plan.target.frames]
        for counts, everybody in ((size, base), (recent, base[plan.target.frames])):
            self._known.append(bursts(counts[counts.sum(axis=1) >= KNOWN_CONTEXTS], everybody))
        total = recent.sum(axis=1)
        new = np.flatnonzero((total >= MIN_CONTEXTS) & (total == size.sum(axis=1)))
        own = bursts(recent[new], base[plan.target.frames])
        for row, burst in zip(new, own, strict=True):
            if depth == 1:
                # A value of its own is a new thing rather than a coincidence: its frames count from the first that has it.
                first = int(np.argmax(recent[row] > 0))
                burst = bursts(recent[row, None, first:], base[plan.target.frames][first:])[0]
            days = int(np.count_nonzero(recent[row]))
            self._own[block.segment(int(row), self.inside.source.axes)] = float(np.nan_to_num(burst)), days

    def usual_burst(self) -> float:
        """The median over segments, at least :data:`LEAST_BURST`."""
        known = np.concatenate(self._known) if self._known else np.zeros(0)
        known = known[np.isfinite(known)]
        return max(float(np.median(known)) if len(known) else 0.0, LEAST_BURST)

    def events(self, segment: Segment, size: float, burst: float) -> float:
        """How many independent events ``size`` contexts of a new segment stand for: at least one in each of its frames."""
        own, frames = self._own.get(segment, (0.0, 0))
        return max(size / max(own, burst), float(frames))

    def log_prior(self, depth: int) -> float:
        """Each number of conditions has the same mass, shared evenly by its candidates."""
        return -float(np.log(max(len(self.tests), 1) * max(self.tests.get(depth, 1), 1)))


def judge(signals: Sequence[Signal], usual: Usual, rate: float) -> list[Signal]:
    """The signals with their chance.

    A segment whose n contexts could have come at any time lies wholly in the recent part with probability fⁿ, f being
    the baseline's recent share. n counts bursts: contexts over the usual variance of counts, or over the segment's own
    between the recent frames where that is larger, because what one customer does on one day is one event. Every
    candidate is a test (weighted Bonferroni).
    """
    plan, everybody = usual.inside.plan, usual.inside.base.size[0]
    share = float(everybody[plan.target.frames].sum()) / max(float(everybody.sum()), 1.0)
    burst = usual.usual_burst()
    judged = []
    for signal in signals:
        log_p = usual.events(signal.segment, signal.size, burst) * np.log(max(share, 1e-300))
        q = float(np.exp(min(0.0, log_p - usual.log_prior(len(signal.segment)))))
        reason = "" if q <= rate else f"could be chance: {signal.size:.0f} contexts are few for something so rare"
        chance = Chance(q <= rate, METHOD, q, float(np.exp(log_p)), reason)
        judged.append(replace(signal, chance=chance))
    return judged


def fold(signals: Sequence[Signal], inside: Inside) -> tuple[Finding, ...]:
    """One finding per cause: what lies inside of a new segment is new, too; segments with the same contexts are one."""
    ordered = sorted(signals, key=lambda signal: (len(signal.segment), strength(signal)))
    if not ordered:
        return ()
    mains: list[Signal] = []
    folded: dict[str, list[Signal]] = {}
    for signal in ordered:
        into = next((main for main in mains if within(signal.segment, main.segment)), None)
        if into is None:
            mains.append(signal)
            folded[signal.id] = []
        else:
            folded[into.id].append(signal)
    spans = [(0, inside.plan.frames)]
    atoms = inside.source.atoms([main.segment for main in mains], spans)
    shared = Overlaps(atoms.member).weigh(atoms.size[:, 0])
    own = np.diag(shared)
    kept: list[int] = []
    for k, main in enumerate(mains):
        inner = next((j for j in kept if shared[j, k] >= SAME * max(own[k], 1.0)), None)
        if inner is None:
            kept.append(k)
        else:
            folded[mains[inner].id] += [main, *folded.pop(main.id)]
    findings = [finding(mains[k], folded[mains[k].id]) for k in kept]
    return tuple(sorted(findings, key=lambda one: strength(one.main)))
