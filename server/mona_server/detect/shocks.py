"""Shocks that many segments share: storms, holidays, a schedule that changes from week to week.

The deviations of the one-condition segments, frame by frame, are a panel. What they have in common is a few factors
(principal components beyond what noise of rows alone would show); every candidate's own exposure to them is learnt in
the reference frames and taken off in all frames:

    e_sk = exposure · λ_s · F_k + what is left

The scores F of a frame are fitted robustly, so that the one segment that really moved does not become a factor of that
frame: series far from the fit in a frame, or over all judged frames together, have no part in it. Loadings and exposures
never see the judged frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats

Indexes = NDArray[np.intp]

MAX_FACTORS = 3
BEYOND = 1.2
"""A component counts when its singular value is so many times the largest that noise alone would have."""
TURNS = 5
"""So many times series are turned against each other to see what they make up by chance."""
MIN_CONTEXTS = 50.0
MIN_SERIES = 8
"""A shock that fewer series share is none."""
SERIES_PER_FACTOR = 20
"""Fewer series to a factor, and one segment that moves by itself would be taken for a shock that all share."""
FAR = 4.0
"""Series further than so many of their standard errors from the fit have no part in the scores of a frame."""
ROUNDS = 6
MOVED = 3.0
"""Series whose sum over the judged frames is so many standard errors away have no part in their scores."""


@dataclass(frozen=True, slots=True)
class Shocks:
    """Scores of F factors in K frames, with mean 0 over the reference frames."""

    scores: Floats
    """(K, F)"""
    inverse: Floats
    """(F, F): inverse of the scores' cross product over the reference frames."""

    def __len__(self) -> int:
        return int(self.scores.shape[1])


def find_shocks(
    deviations: Sequence[Floats],
    exposures: Sequence[Floats],
    row_variances: Sequence[Floats],
    reference: Indexes,
    target: Indexes,
) -> Shocks:
    """Common factors of season-free deviations; all arrays per block, (S, K), (S, K) and (S,).

    Each series is scaled by the standard deviation that its rows alone would give in a frame, so that noise has
    singular values up to ``√K + √S`` (Marchenko and Pastur).
    """
    frames = reference
    deviation = np.concatenate(list(deviations)) if deviations else np.zeros((0, 0))
    none = Shocks(np.zeros((deviation.shape[1], 0)), np.zeros((0, 0)))
    if len(frames) < MIN_SERIES:
        return none
    exposure = np.concatenate(list(exposures))[:, frames]
    noise = np.sqrt(np.concatenate(list(row_variances)) * exposure.mean(axis=1))
    usable = (exposure.sum(axis=1) >= MIN_CONTEXTS) & (noise > 0)
    if int(usable.sum()) < MIN_SERIES:
        return none
    panel = deviation[usable] / noise[usable, None]
    left, values, _ = np.linalg.svd(panel[:, frames], full_matrices=False)
    edge = max(np.sqrt(len(frames)) + np.sqrt(len(panel)), _largest_alone(panel[:, frames]))
    # What few series make up among themselves is their own noise: 1/Σu⁴ is how many take part in a component.
    taking_part = 1 / (left**4).sum(axis=0)
    shared = np.flatnonzero((values > BEYOND * edge) & (taking_part >= MIN_SERIES))
    shared = shared[: min(MAX_FACTORS, len(panel) // SERIES_PER_FACTOR)]
    count = len(shared)
    if not count:
        return none
    loadings = left[:, shared] * values[shared] / np.sqrt(len(frames))
    # One column more for what moves all alike: where one segment grows, the shares of all others shrink together,
    # and that is no shock.
    alike = np.sqrt(exposure[usable].mean(axis=1))
    loadings = np.column_stack([loadings, alike * np.sqrt(len(panel)) / np.linalg.norm(alike)])
    open_to = np.ones(panel.shape)
    scores = _robust_scores(panel, loadings, open_to)
    for _ in range(2):
        left = panel - loadings @ scores.T
        spread = np.maximum(left[:, frames].std(axis=1), 1.0)
        moved = np.abs(left[:, target].sum(axis=1)) > MOVED * spread * np.sqrt(len(target))
        open_to[np.ix_(moved, target)] = 0.0
        scores = _robust_scores(panel, loadings, open_to)
    scores = scores[:, :count] - scores[frames, :count].mean(axis=0)
    cross = scores[frames].T @ scores[frames]
    return Shocks(scores, np.linalg.inv(cross + 1e-9 * np.trace(cross) * np.eye(count)))


def _largest_alone(panel: Floats) -> float:
    """The largest singular value (S, K) were each series on its own: as series are that are turned against each other in time.

    Where products are made for weeks and then not, a few weeks are a few draws, and schedules that have nothing in common look
    as if they had. Turned, each keeps its own runs. Source: parallel analysis (Horn 1965, Psychometrika 30), with turns for
    permutations.
    """
    rng, frames = np.random.default_rng(0), panel.shape[1]
    rows, largest = np.arange(len(panel))[:, None], 0.0
    for _ in range(TURNS):
        turned = panel[rows, (np.arange(frames) + rng.integers(0, frames, len(panel))[:, None]) % frames]
        largest = max(largest, float(np.linalg.norm(turned, 2)))
    return largest


def _robust_scores(panel: Floats, loadings: Floats, open_to: Floats) -> Floats:
    """(K, F) scores by iteratively reweighted least squares: Huber's weights first, then Tukey's, all frames at once."""
    weights = open_to
    ridge = 1e-9 * float((loadings**2).sum()) * np.eye(loadings.shape[1])
    scores = np.zeros((panel.shape[1], loadings.shape[1]))
    for turn in range(ROUNDS):
        inner = np.einsum("sk,sf,sg->kfg", weights, loadings, loadings, optimize=True) + ridge
        right = (weights * panel).T @ loadings
        scores = np.linalg.solve(inner, right[..., None])[..., 0]
        away = np.abs(panel - loadings @ scores.T)
        scale = np.maximum(np.median(away, axis=0) * 1.4826, 1.0)  # of each frame, never below noise of rows
        away = away / scale
        if turn < ROUNDS // 2:
            weights = open_to / np.maximum(away / (FAR / 2), 1.0)
        else:
            weights = open_to * np.maximum(1 - (away / FAR) ** 2, 0.0) ** 2
    return np.asarray(scores, np.float64)
