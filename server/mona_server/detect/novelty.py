"""New segments: is it chance that they were never seen before, and which of them says it shortest?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mona_server.detect.folding import finding, within
from mona_server.detect.gate import Inside
from mona_server.detect.signal import Chance, Finding, Signal, strength
from mona_server.detect.source import Floats

METHOD = "odds that all of its contexts came after the history, had they come at any time"
SAME = 0.8
KNOWN_CONTEXTS = 50.0
LEAST_BURST = 2.0
"""Contexts come in bursts at least so large that this many say no more than one."""


def bursts(size: Floats, base: Floats) -> Floats:
    """How much larger than Poisson the counts per period vary, for segments (S, K) with enough contexts."""
    total = size.sum(axis=1)
    known = total >= KNOWN_CONTEXTS
    if not known.any() or len(base) < 3:
        return np.zeros(0)
    expected = total[known][:, None] * (base / max(float(base.sum()), 1.0))
    seen = expected > 0
    square = np.divide((size[known] - expected) ** 2, expected, out=np.zeros_like(expected), where=seen)
    return np.asarray(square.sum(axis=1) / np.maximum(seen.sum(axis=1) - 1, 1), np.float64)


def judge(signals: Sequence[Signal], inside: Inside, rate: float, tests: int, burst: Floats) -> list[Signal]:
    """The signals with their chance.

    A segment whose n contexts could have come at any time lies wholly in the recent part with probability fⁿ, f being
    the baseline's recent share. n counts bursts: contexts over the usual variance of counts per period. Every candidate
    is a test (Bonferroni).
    """
    plan = inside.plan
    size = inside.base.size[0]
    recent = float(size[plan.target.frames].sum())
    share = recent / max(float(size.sum()), 1.0)
    together = max(float(np.median(burst)) if len(burst) else 0.0, LEAST_BURST)
    judged = []
    for signal in signals:
        log_p = signal.size / together * np.log(max(share, 1e-300))
        q = float(np.exp(min(0.0, log_p + np.log(max(tests, 1)))))
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
    member = atoms.member.astype(np.float64)
    shared = member.T @ (atoms.size[:, :1] * member)
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
