"""Dispersions learnt from all candidates, against what simulations were made with."""

from __future__ import annotations

import numpy as np
import pytest

from mona_server.detect import chance_dispersion


def test_pooling_beats_each_segments_own_dispersion() -> None:
    """With few frames the shrunk dispersion is closer to the truth than the segment's own."""
    rng = np.random.default_rng(0)
    candidates, frames = 800, 30
    size = np.exp(rng.uniform(4, 8, candidates))
    true = np.exp(0.2 * np.log(size) - 1 + 0.1 * rng.standard_normal(candidates))
    noise = true[:, None] * rng.standard_normal((candidates, frames)) ** 2
    halves = (noise[:, ::2].mean(axis=1), noise[:, 1::2].mean(axis=1))
    own = noise.mean(axis=1)
    pooled = chance_dispersion.pooled_dispersion(
        own,
        np.ones(candidates),
        size,
        halves,
        None,
        frames - 1,
        np.zeros(candidates, np.intp),
        np.full(candidates, frames),
    )
    error = np.abs(np.log(pooled.value / true)).mean()
    assert error < 0.5 * np.abs(np.log(own / true)).mean()
    assert 0 <= pooled.own_weight.min() <= pooled.own_weight.max() < 0.6


def test_a_few_visits_that_were_alike_are_no_quiet_segment() -> None:
    """Segments differ in noise by half; one was seen on three days, whose means happened to be the same."""
    rng = np.random.default_rng(3)
    true = np.exp(0.5 * rng.standard_normal(500))
    noise = true[:, None] * rng.standard_normal((500, 60)) ** 2
    noise[0] = 1e-3
    halves = (noise[:, ::2].mean(axis=1), noise[:, 1::2].mean(axis=1))
    frames, kind, ones = np.full(500, 60.0), np.zeros(500, np.intp), np.ones(500)
    often = chance_dispersion.pooled_dispersion(noise.mean(axis=1), ones, 100 * ones, halves, None, 59, kind, frames)
    frames[0] = 3
    seldom = chance_dispersion.pooled_dispersion(noise.mean(axis=1), ones, 100 * ones, halves, None, 59, kind, frames)
    assert often.value[0] < 0.02
    assert seldom.value[0] > 0.1
    np.testing.assert_array_equal(often.value[1:] > 0, seldom.value[1:] > 0)
    assert seldom.own_weight[0] < 0.5 * seldom.own_weight[1]


def test_where_days_of_a_week_move_together_depends_on_the_fields() -> None:
    """Products change by the week, and shifts do not: each is as unsure as its own kind, also where its own weeks are few."""
    rng = np.random.default_rng(14)
    kind = np.repeat(np.arange(20), 100)
    truth = np.where(kind < 10, 1.0, 3.0)
    between = rng.chisquare(60, 2000) / 60
    weekly = truth * rng.chisquare(9, 2000) / 9
    halves = (between, between)
    ones = np.ones(2000)
    pooled = chance_dispersion.pooled_dispersion(between, ones, 100 * ones, halves, weekly, 63, kind, 63 * ones).value
    together = chance_dispersion.pooled_dispersion(
        between, ones, 100 * ones, halves, weekly, 63, 0 * kind, 63 * ones
    ).value
    assert pooled[kind < 10].mean() == pytest.approx(1, abs=0.15)
    assert pooled[kind >= 10].mean() == pytest.approx(3, abs=0.5)
    assert together[kind < 10].mean() > 1.2


def test_what_kinds_have_in_common_is_nothing_where_they_are_alike() -> None:
    """The share of a kind that is believed grows with how much kinds differ and how many belong to it."""
    rng = np.random.default_rng(15)
    kind, usable = rng.integers(0, 50, 2000), np.ones(2000, bool)
    noise, effect = rng.normal(0, 0.5, 2000), rng.normal(0, 0.5, 50)
    assert np.abs(chance_dispersion.kind_effects(noise, usable, kind)).max() < 0.1
    found = chance_dispersion.kind_effects(noise + effect[kind], usable, kind)
    assert np.corrcoef(found, effect[kind])[0, 1] > 0.98
    assert (chance_dispersion.kind_effects(noise, usable, 0 * kind) == 0).all()


def test_few_candidates_are_not_pooled() -> None:
    """Without enough to learn from, the larger of both estimates stands."""
    two = np.array([2.0, 0.5])
    pooled = chance_dispersion.pooled_dispersion(
        two, np.ones(2), np.ones(2), (two, two), None, 20, np.zeros(2, np.intp), np.full(2, 21.0)
    )
    assert pooled.value.tolist() == [2.0, 1.0]


def test_many_candidates_are_as_unsure_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long is looked up between places of a grid where there are many; that tells nothing else."""
    rng = np.random.default_rng(3)
    freedom = np.concatenate([[1.0, 200.0], rng.uniform(1, 200, 9_998)])
    ratio, kurtosis = np.exp(rng.normal(0, 0.8, 10_000)), rng.uniform(0, 0.1, 10_000)
    looked_up = chance_dispersion.unsure_of_dispersion(ratio, freedom, kurtosis)
    monkeypatch.setattr(chance_dispersion, "GRID", 10_000)
    exact = chance_dispersion.unsure_of_dispersion(ratio, freedom, kurtosis)
    assert exact.min() > 0
    assert looked_up == pytest.approx(exact, rel=1e-5)
    assert (looked_up != exact).any()
