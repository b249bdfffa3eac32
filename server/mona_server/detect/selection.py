"""One cause, one finding: which few segments explain all that moved. Pure linear algebra over U suspects.

Each suspect s has a change x_s. If segment h really moved by δ, every suspect moves by ``δ·G_sh`` (how much of h lies in
it); what is left is noise with covariance Σ, which suspects share as far as they share contexts. So hypotheses are
compared by generalised least squares over all suspects together: a parent of h is diluted, a child of h leaves the
change of its siblings unexplained, a quiet child does not win because it is quiet.

Findings are a set that maximises ``log likelihood + Σ (log prior - cost)``: the strongest is added, then sets are
improved by swapping and removing until nothing gains (a joint fit, so an early wrong choice is looked at again).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.chance import log_two_sided
from mona_server.detect.source import Floats

Mask = NDArray[np.bool_]

SAME = 0.8
"""Segments that share at least this part of their contexts (Jaccard) are one."""
NUGGET = 0.02
"""Share of each suspect's variance that no other one has: keeps Σ well away from singular."""
MAX_FINDINGS = 100
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Aspect:
    """One part of the change (mean or size) of U suspects, under H hypotheses."""

    change: Floats
    """(U,)"""
    covariance: Floats
    """(U, U)"""
    kernel: Floats
    """(U, H): change of each suspect when hypothesis h moves by one unit."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A hypothesis that stands, its effect per aspect, and its evidence."""

    hypothesis: int
    effects: tuple[float, ...]
    score: float


@dataclass(frozen=True, slots=True)
class _Information:
    """Score vector b = Gᵀ Σ⁻¹ x and information I = Gᵀ Σ⁻¹ G of one aspect."""

    score: Floats
    matrix: Floats


def information(aspect: Aspect) -> _Information:
    """Solve with a nugget on the diagonal of Σ."""
    covariance = aspect.covariance.copy()
    diagonal = np.diag_indices(len(covariance))
    covariance[diagonal] *= 1 + NUGGET
    solved = np.linalg.solve(covariance, aspect.kernel)
    return _Information(solved.T @ aspect.change, aspect.kernel.T @ solved)


def choose(
    aspects: Sequence[Aspect],
    log_prior: Floats,
    limit: float,
    allowed: Mask,
    jaccard: Floats,
    evidence: Callable[[Sequence[Floats]], Floats],
    fixed: Sequence[int] = (),
) -> list[Chosen]:
    """The hypotheses that stand, strongest first.

    ``log_prior`` (H,), ``limit`` the least score (:func:`chance.tail_score`), ``allowed`` (H,) hypotheses that may be
    named, ``jaccard`` (H, H), ``fixed`` hypotheses that are known already and explain without being named.
    ``evidence`` gives the scores (H,) of every hypothesis' own segment from the changes that are left per aspect.
    """
    parts = [information(aspect) for aspect in aspects]
    cost = limit
    chosen: list[int] = []

    def left(rest: Sequence[int]) -> tuple[Floats, list[Floats]]:
        """(H,) gain in log likelihood of adding each hypothesis to ``rest``, and the changes left per aspect."""
        gain = np.zeros(len(log_prior))
        remains = []
        for aspect, part in zip(aspects, parts, strict=True):
            g, r = _gain(aspect, part, rest)
            gain += g
            remains.append(r)
        return gain, remains

    def open_to(rest: Sequence[int]) -> Mask:
        free = allowed.copy()
        for h in rest:
            free &= jaccard[:, h] < SAME
            free[h] = False
        return free

    def beyond(gain: Floats) -> Floats:
        """``-log p`` of a gain: twice of it is chi square with one degree of freedom per aspect."""
        if len(parts) > 1:
            return gain
        return -log_two_sided(np.sqrt(2 * gain * (1 + NUGGET)))

    for _ in range(MAX_FINDINGS):
        known = [*fixed, *chosen]
        gain, remains = left(known)
        value = beyond(gain) + log_prior
        usable = open_to(known) & (value >= cost) & (evidence(remains) >= limit)
        if not usable.any():
            break
        chosen.append(int(np.argmax(np.where(usable, value, -np.inf))))
        chosen = _improve(chosen, list(fixed), left, open_to, beyond, evidence, log_prior, cost)
    return _described(chosen, fixed, parts, left, beyond, log_prior)


def _improve(
    chosen: list[int],
    fixed: list[int],
    left: Callable[[Sequence[int]], tuple[Floats, list[Floats]]],
    open_to: Callable[[Sequence[int]], Mask],
    beyond: Callable[[Floats], Floats],
    evidence: Callable[[Sequence[Floats]], Floats],
    log_prior: Floats,
    cost: float,
) -> list[int]:
    """Swap each choice for what explains better beside the others, and drop what the others explain.

    Only what is beyond chance beside the others is swapped in: where Σ is wrong, a joint fit can be sure of a segment
    that hardly moved itself.
    """
    for _ in range(ROUNDS):
        before = list(chosen)
        for h in before:
            if h not in chosen:
                continue
            rest = [c for c in chosen if c != h]
            gain, remains = left([*fixed, *rest])
            value = np.where(open_to([*fixed, *rest]), beyond(gain) + log_prior, -np.inf)
            supported = evidence(remains) >= cost
            supported[h] = True
            value = np.where(supported, value, -np.inf)
            best = int(np.argmax(value))
            if value[h] < cost and value[best] < cost:
                chosen = rest
            elif value[best] > value[h] + 1e-9:
                chosen[chosen.index(h)] = best
        if chosen == before:
            break
    return chosen


def _gain(aspect: Aspect, part: _Information, rest: Sequence[int]) -> tuple[Floats, Floats]:
    """(H,) gain of each hypothesis beside ``rest`` in one aspect, and the changes (U,) that ``rest`` leaves."""
    total = np.diag(part.matrix)
    if not rest:
        return np.where(total > 0, part.score**2 / np.maximum(total, 1e-300) / 2, 0.0), aspect.change
    index = list(rest)
    inner = part.matrix[np.ix_(index, index)]
    inner = inner + 1e-9 * np.diag(np.maximum(np.diag(inner), 1e-300))
    weights = np.linalg.solve(inner, part.matrix[index])
    score = part.score - weights.T @ part.score[index]
    own = total - np.einsum("ij,ij->j", part.matrix[index], weights)
    gain = np.where(own > 1e-3 * total, score**2 / np.maximum(own, 1e-300) / 2, 0.0)
    effects = np.linalg.solve(inner, part.score[index])
    return gain, aspect.change - aspect.kernel[:, index] @ effects


def _described(
    chosen: list[int],
    fixed: Sequence[int],
    parts: Sequence[_Information],
    left: Callable[[Sequence[int]], tuple[Floats, list[Floats]]],
    beyond: Callable[[Floats], Floats],
    log_prior: Floats,
) -> list[Chosen]:
    index = [*fixed, *chosen]
    effects = []
    for part in parts:
        inner = part.matrix[np.ix_(index, index)]
        inner = inner + 1e-9 * np.diag(np.maximum(np.diag(inner), 1e-300))
        effects.append(np.linalg.solve(inner, part.score[index]) if index else np.zeros(0))
    found = []
    for place, h in enumerate(chosen, start=len(fixed)):
        gain, _ = left([*fixed, *(c for c in chosen if c != h)])
        found.append(Chosen(h, tuple(float(e[place]) for e in effects), float(beyond(gain)[h] + log_prior[h])))
    return sorted(found, key=lambda c: (-float(f"{c.score:.12g}"), c.hypothesis))
