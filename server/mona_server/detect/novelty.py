"""New segments: is it chance that they were never seen before, and which of them says it shortest?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mona_server.detect.folding import relation, within
from mona_server.detect.gate import Inside
from mona_server.detect.signal import Chance, Finding, Related, Signal, strength

METHOD = "odds that all of its contexts came after the history, had they come at any time"
SAME = 0.8
ROWS_OF_A_FRAME = 30.0
"""Contexts of one frame are not independent: from so many on, more of them say no more."""


def judge(signals: Sequence[Signal], inside: Inside, rate: float, tests: int) -> list[Signal]:
    """The signals with their chance: weighted Bonferroni over all candidates, q = p · tests · depths.

    A segment whose n contexts could have come at any time lies wholly in the recent part with probability fⁿ, f being
    the baseline's recent share. Each number of conditions has the same share of the rate, as in :mod:`chance`.
    """
    plan = inside.plan
    size = inside.base.size[0]
    recent = float(size[plan.target.frames].sum())
    share = recent / max(float(size.sum()), 1.0)
    frames = max(len(plan.target), 1)
    judged = []
    for signal in signals:
        contexts = min(signal.size, ROWS_OF_A_FRAME * frames)
        log_p = contexts * np.log(max(share, 1e-300))
        p = float(np.exp(log_p))
        q = float(min(1.0, np.exp(log_p + np.log(max(tests, 1)))))
        passed = q <= rate
        reason = "" if passed else f"could be chance: {signal.size:.0f} contexts are few for something so rare"
        judged.append(replace(signal, chance=Chance(passed, METHOD, q, p, reason)))
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
    findings = []
    for k in kept:
        main = mains[k]
        related = [
            Related(replace(s, folded_into=main.id), relation(main, s)) for s in sorted(folded[main.id], key=strength)
        ]
        findings.append(Finding(main, tuple(related)))
    return tuple(sorted(findings, key=lambda finding: strength(finding.main)))
