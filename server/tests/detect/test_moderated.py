"""Dispersions moderated by those of all candidates, on variances whose law is known."""

from __future__ import annotations

import numpy as np
import pytest

from mona_server.detect.moderated import MANY, Moderation, inverse_trigamma, moderation, trigamma
from mona_server.detect.source import Floats

DAYS, WEEKS = 42, 6
CANDIDATES = 3000


def _panel(seed: int, true: Floats) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
    """Own estimates between days (weekday taken out) and between weeks, and halves, of normal deviations."""
    values = np.sqrt(true)[:, None] * np.random.default_rng(seed).standard_normal((len(true), DAYS))
    by_week = values.reshape(len(true), WEEKS, 7)
    squares = (by_week - by_week.mean(axis=1, keepdims=True)) ** 2 * (WEEKS / (WEEKS - 1))
    weekly = by_week.sum(axis=2).var(axis=1, ddof=1) / 7
    return squares.mean(axis=(1, 2)), weekly, (squares[:, ::2].mean(axis=(1, 2)), squares[:, 1::2].mean(axis=(1, 2)))


def _learnt(seed: int, true: Floats) -> tuple[Moderation, Floats, Floats]:
    between, weekly, halves = _panel(seed, true)
    size = np.exp(np.random.default_rng(seed + 1).uniform(4, 8, len(true)))
    rows, frames = np.ones(len(true)), np.full(len(true), float(DAYS))
    return moderation(between, rows, size, frames, halves, 35.0, (weekly, 5.0), 6.0), between, weekly


def test_where_all_are_alike_nobodys_luck_counts() -> None:
    """Moderated dispersions are nearly equal, and at the level of the truth."""
    learnt, between, weekly = _learnt(0, np.ones(CANDIDATES))
    found = learnt.dispersion(between, weekly)
    assert found.mean() == pytest.approx(1, abs=0.03)
    assert found.std() < 0.25 * between.std()
    assert np.median(learnt.prior_freedom) > 300
    assert learnt.cycle_prior_freedom > 60


@pytest.mark.parametrize("prior_freedom", [5.0, 20.0])
def test_where_segments_differ_each_has_its_own(prior_freedom: float) -> None:
    """Degrees of freedom of the prior are found again, and the estimate is better than the own and the common one."""
    true = prior_freedom / np.random.default_rng(1).chisquare(prior_freedom, CANDIDATES)
    learnt, between, weekly = _learnt(2, true)
    assert np.median(learnt.prior_freedom) == pytest.approx(prior_freedom, rel=0.3)
    assert np.median(learnt.freedom) == pytest.approx(35, rel=0.15)
    found = learnt.dispersion(between, weekly)
    error = np.mean(np.log(found / true) ** 2)
    assert error < np.mean(np.log(between / true) ** 2)
    assert error < np.mean(np.log(learnt.prior / true) ** 2)


def test_fewer_frames_lean_more_on_everybody() -> None:
    """Outside of a placebo window there are fewer frames to know a segment's own dispersion from."""
    learnt, between, weekly = _learnt(3, np.exp(0.5 * np.random.default_rng(3).standard_normal(CANDIDATES)))
    whole, part = (learnt.dispersion(between, weekly, share) for share in (1.0, 0.5))
    many = learnt.dispersion(np.stack([between, between], 1), np.stack([weekly, weekly], 1), np.array([1.0, 0.5]))
    assert many == pytest.approx(np.stack([whole, part], 1))
    assert np.std(np.log(part)) < np.std(np.log(whole))


def test_lumps_that_fill_few_frames_are_known_badly_and_expected_to_be_noisy() -> None:
    """Half of the candidates come in lumps on four frames, with three times the noise: their own luck counts little."""
    rng = np.random.default_rng(4)
    lumpy = np.arange(CANDIDATES) % 2 == 0
    between, weekly, halves = _panel(4, np.ones(CANDIDATES))
    luck = rng.chisquare(2, (2, CANDIDATES)) / 2
    halves = tuple(np.where(lumpy, 3 * luck[i], halves[i]) for i in range(2))  # type: ignore[assignment]
    between = np.where(lumpy, 3 * luck.mean(axis=0), between)
    frames, size = np.where(lumpy, 4.0, 40.0), np.exp(rng.uniform(4, 6, CANDIDATES))
    learnt = moderation(between, np.ones(CANDIDATES), size, frames, halves, 35.0, None, 6.0)
    found = learnt.dispersion(between, weekly)
    assert np.median(learnt.freedom[lumpy]) < 8 < 25 < np.median(learnt.freedom[~lumpy])
    assert found[lumpy].min() > 1
    assert np.median(found[lumpy]) == pytest.approx(3, rel=0.3)
    assert np.median(found[~lumpy]) == pytest.approx(1, rel=0.1)


def test_few_candidates_have_their_own_but_never_less_than_their_rows() -> None:
    """Without enough to learn from, the larger of both estimates stands."""
    two = np.array([2.0, 0.5])
    learnt = moderation(two, np.ones(2), np.ones(2), np.full(2, 21.0), (two, two), 20.0)
    assert learnt.dispersion(two, two).tolist() == [2.0, 1.0]


def test_the_inverse_of_trigamma() -> None:
    """From almost nothing to many; nothing at all is infinitely many."""
    for x in (0.05, 1.0, 40.0, 3000.0):
        assert inverse_trigamma(np.array(trigamma(x))) == pytest.approx(x)
    assert 2 * inverse_trigamma(np.array(-0.1)) == pytest.approx(MANY, rel=1e-6)
