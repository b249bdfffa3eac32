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
ALIKE = 0.95
"""Evidence is known to a few percent: of two segments that are one the simpler is named if it has this share of the other's."""
NUGGET = 0.02
"""Share of each suspect's variance that no other one has: keeps Σ well away from singular."""
MAX_FINDINGS = 100
ROUNDS = 20
RIVALS = 10
"""So many of the strongest are compared with a choice."""


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


def best_gain(aspects: Sequence[Aspect]) -> float:
    """The gain in log likelihood of the one hypothesis that explains most."""
    gain = sum(_gain(aspect, information(aspect), ())[0] for aspect in aspects)
    return float(np.max(gain, initial=0.0))


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What could be added to a set: the hypothesis, or none; its value and the score of its own segment beyond the cost."""

    more: tuple[int, ...]
    value: float
    own: float


NOTHING = _Ahead((), 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Fit:
    """What sets of hypotheses are compared by; the arguments of :func:`choose`."""

    aspects: Sequence[Aspect]
    log_prior: Floats
    limit: float
    allowed: Mask
    jaccard: Floats
    evidence: Callable[[Sequence[Floats]], Floats]
    fixed: Sequence[int]
    conditions: NDArray[np.intp]
    parts: Sequence[_Information]

    def left(self, rest: Sequence[int]) -> tuple[Floats, list[Floats]]:
        """(H,) evidence that each hypothesis adds to ``rest`` and the known ones, and the changes left per aspect."""
        gain = np.zeros(len(self.log_prior))
        remains = []
        for aspect, part in zip(self.aspects, self.parts, strict=True):
            g, r = _gain(aspect, part, [*self.fixed, *rest])
            gain += g
            remains.append(r)
        # -log p of a gain: twice of it is chi square with one degree of freedom per aspect.
        beyond = gain if len(self.parts) > 1 else -log_two_sided(np.sqrt(2 * gain * (1 + NUGGET)))
        return beyond + self.log_prior, remains

    def worth(self, rest: Sequence[int], also: int | None = None) -> tuple[Floats, Floats]:
        """(H,) what each hypothesis adds to ``rest``, ``-inf`` where it may not be named or is chance beside the others,
        and the score of its own segment beside them.

        Where Σ is wrong, a joint fit can be sure of a segment that hardly moved itself; ``also`` is not asked for that.
        """
        value, remains = self.left(rest)
        own = self.evidence(remains)
        named = own >= self.limit
        if also is not None:
            named[also] = True
        named &= self.allowed
        for h in [*self.fixed, *rest]:
            named &= self.jaccard[:, h] < SAME
            named[h] = False
        return np.where(named, value, -np.inf), own

    def ahead(self, rest: Sequence[int]) -> _Ahead:
        """The best further hypothesis beside ``rest``; none where none is worth its cost."""
        value, own = self.worth(rest)
        best = int(np.argmax(value))
        if value[best] < self.limit:
            return NOTHING
        return _Ahead((best,), float(value[best] - self.limit), float(own[best] - self.limit))


def choose(
    aspects: Sequence[Aspect],
    log_prior: Floats,
    limit: float,
    allowed: Mask,
    jaccard: Floats,
    evidence: Callable[[Sequence[Floats]], Floats],
    conditions: NDArray[np.intp],
    fixed: Sequence[int] = (),
) -> list[Chosen]:
    """The hypotheses that stand, strongest first.

    ``log_prior`` (H,), ``limit`` the least score (:func:`chance.tail_score`), ``allowed`` (H,) hypotheses that may be
    named, ``jaccard`` (H, H), ``conditions`` (H,) how many each segment has, ``fixed`` hypotheses that are known already
    and explain without being named. ``evidence`` gives the scores (H,) of every hypothesis' own segment from the changes
    that are left per aspect.
    """
    parts = [information(aspect) for aspect in aspects]
    fit = _Fit(aspects, log_prior, limit, allowed, jaccard, evidence, tuple(fixed), conditions, parts)
    chosen: list[int] = []
    for _ in range(MAX_FINDINGS):
        more = fit.ahead(chosen).more
        if not more:
            break
        chosen = _improve([*chosen, *more], fit)
    return _described(_pruned(_simpler(chosen, fit), fit), fit)


def _simpler(chosen: list[int], fit: _Fit) -> list[int]:
    """Each choice, or what has fewer conditions and about the same contexts, if that explains as much or hardly less.

    Never everybody, beside whom all others are measured.
    """
    for h in list(chosen):
        value, _ = fit.worth([c for c in chosen if c != h], also=h)
        near = (fit.jaccard[:, h] >= SAME) & (value >= ALIKE * value[h])
        simpler = np.flatnonzero(near & (fit.conditions > 0) & (fit.conditions < fit.conditions[h]))
        if len(simpler):
            best = int(min(simpler, key=lambda r: (fit.conditions[r], -value[r], r)))
            chosen = [best if c == h else c for c in chosen]
    return chosen


def _improve(chosen: list[int], fit: _Fit) -> list[int]:
    """Swap each choice for what explains better beside the others, and drop what the others explain.

    A segment between two that moved explains a part of both, and then neither has enough left to be added. So the
    strongest rivals of a choice are compared together with the best that can stand beside each. One finding becomes two
    only where these stand out more by their own scores, too: a sure joint fit cuts a large change into fragments.
    """
    for _ in range(ROUNDS):
        before = list(chosen)
        for h in before:
            if h not in chosen:
                continue
            rest = [c for c in chosen if c != h]
            value, own = fit.worth(rest, also=h)
            rivals = [int(r) for r in np.argsort(-value, kind="stable")[:RIVALS] if value[r] >= fit.limit]
            if not rivals:
                chosen = rest
                continue
            mine = fit.ahead([*rest, h])
            best = h
            more: tuple[int, ...] = ()
            most = value[h] + mine.value + 1e-9
            for r in rivals:
                ahead = fit.ahead([*rest, r])
                if len(ahead.more) > len(mine.more) and own[r] + ahead.own < own[h]:
                    ahead = NOTHING
                if r != h and value[r] + ahead.value > most:
                    best, more, most = r, ahead.more, value[r] + ahead.value
            chosen = [best if c == h else c for c in chosen] + list(more)
        if chosen == before:
            break
    return chosen


def _pruned(chosen: list[int], fit: _Fit) -> list[int]:
    """Without those whose segment, beside the others, moved no further than chance alone lets the best of many move.

    They were named before what explains them was found.
    """
    while len(chosen) > 1:
        own = [float(fit.evidence(fit.left([c for c in chosen if c != h])[1])[h]) for h in chosen]
        weakest = int(np.argmin(own))
        if own[weakest] >= 0:
            break
        chosen = [c for c in chosen if c != chosen[weakest]]
    return chosen


def _gain(aspect: Aspect, part: _Information, rest: Sequence[int]) -> tuple[Floats, Floats]:
    """(H,) gain of each hypothesis beside ``rest`` in one aspect, and the changes (U,) that ``rest`` leaves."""
    total = np.diag(part.matrix)
    index = [h for h in rest if total[h] > 0]
    if not index:
        return np.where(total > 0, part.score**2 / np.maximum(total, 1e-300) / 2, 0.0), aspect.change
    inner = part.matrix[np.ix_(index, index)]
    inner = inner + 1e-9 * np.diag(np.maximum(np.diag(inner), 1e-300))
    weights = np.linalg.solve(inner, part.matrix[index])
    score = part.score - weights.T @ part.score[index]
    own = total - np.einsum("ij,ij->j", part.matrix[index], weights)
    gain = np.where(own > 1e-3 * total, score**2 / np.maximum(own, 1e-300) / 2, 0.0)
    effects = np.linalg.solve(inner, part.score[index])
    return gain, aspect.change - aspect.kernel[:, index] @ effects


def _described(chosen: list[int], fit: _Fit) -> list[Chosen]:
    effects = []
    for part in fit.parts:
        index = [h for h in (*fit.fixed, *chosen) if part.matrix[h, h] > 0]
        inner = part.matrix[np.ix_(index, index)]
        inner = inner + 1e-9 * np.diag(np.maximum(np.diag(inner), 1e-300))
        effects.append(dict(zip(index, np.linalg.solve(inner, part.score[index]) if index else (), strict=True)))
    found = []
    for h in chosen:
        value, _ = fit.left([c for c in chosen if c != h])
        found.append(Chosen(h, tuple(float(e.get(h, 0.0)) for e in effects), float(value[h])))
    return sorted(found, key=lambda c: (-float(f"{c.score:.12g}"), c.hypothesis))
