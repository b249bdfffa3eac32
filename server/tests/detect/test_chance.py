"""How surprising is a change: deviates, tails and limits, against exact laws and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mona_server.detect import chance, deviates
from mona_server.detect.chance_parts import Windows, size_part
from mona_server.detect.chance_series import placebo_windows
from mona_server.detect.chance_series import stats as stats_of
from mona_server.detect.shocks import find_shocks

WEEKS = Windows(np.arange(70, 84), np.arange(70), 7)


def test_priors_of_all_candidates_sum_to_one() -> None:
    """So a bound on each candidate's p times its prior bounds the chance of any false one."""
    prior = chance.depth_prior(np.array([0, 1, 1, 2, 2, 2, 3]))
    assert np.exp(prior).sum() == pytest.approx(1)
    assert prior[0] > prior[1] > prior[3]


@pytest.mark.parametrize("candidates", [1, 40, 3_000])
def test_the_furthest_is_that_of_all_bent_deviates(candidates: int) -> None:
    """Whichever side it is on, and also where a lighter tail overtakes the deviate that was furthest out before."""
    rng = np.random.default_rng(candidates)
    z = rng.standard_t(5, (candidates, 24)).astype(np.float32)
    tails = rng.uniform(0, 0.3, (candidates, 2)) * (rng.random((candidates, 2)) < 0.8)
    bent = np.abs(chance.heavy_tailed(z.astype(float), np.where(z < 0, tails[:, :1], tails[:, 1:])))
    assert np.array_equal(chance.furthest(z, chance.Tails(tails)), bent.max(axis=0))
    assert candidates == 1 or (bent.argmax(axis=0) != np.abs(z).argmax(axis=0)).any()
    z[0, 0] = np.nan
    furthest = chance.furthest(z, chance.Tails(tails))
    assert np.array_equal(furthest[1:], bent[:, 1:].max(axis=0))
    assert furthest[0] == bent[1:, 0].max(initial=0)


@pytest.mark.parametrize("count", [100, 4_000, 40_000])
def test_far_quantiles_are_those_of_sorted_values(count: int) -> None:
    """Of both sides, as distances from 0; few values tell no level, more of them one, many both."""
    values = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    levels, (lower, upper) = chance.far_quantiles(values)
    assert levels == {100: [], 4_000: [0.999], 40_000: [0.999, 0.9999]}[count]
    assert upper == [float(np.sort(values)[int(q * count)]) for q in levels]
    assert lower == [float(np.sort(-values)[int(q * count)]) for q in levels]


def test_far_quantiles_may_be_near() -> None:
    """Where hardly anything is far out, on one side or both."""
    values = np.random.default_rng(1).uniform(-1, 1, 40_000).astype(np.float32)
    values[:2000] = 5.0
    levels, (lower, upper) = chance.far_quantiles(values)
    assert lower == [float(np.sort(-values)[int(q * len(values))]) for q in levels]
    assert upper == [5.0, 5.0]


@pytest.mark.parametrize("dof", [4, 8, 20, 60])
def test_heavy_tails_are_those_of_students_t(dof: int) -> None:
    """The bent deviate has the p of Student's t, far out as well."""
    z = np.array([1.0, 3.0, 5.0, 9.0])
    bent = chance.heavy_tailed(z, np.full(4, 1 / dof))
    assert stats.norm.sf(bent) == pytest.approx(stats.t.sf(z, dof), rel=0.25)
    assert chance.heavy_tailed(-z, np.full(4, 1 / dof)) == pytest.approx(-bent)


@pytest.mark.parametrize("dof", [5, 10])
def test_tails_are_learnt_from_placebos(dof: int) -> None:
    """Deviates of a t law are recognised on the side where they are heavy, normal ones are left alone."""
    rng = np.random.default_rng(dof)
    size = rng.uniform(50, 500, 1200)
    heavy = rng.standard_t(dof, (1200, 24))
    placebo = np.where(heavy > 0, heavy, -np.abs(rng.standard_normal((1200, 24)))).astype(np.float32)
    lower, upper = chance.tail_weights(placebo, size).T
    assert np.median(upper) == pytest.approx(1 / dof, rel=0.4)
    assert np.median(lower) < 0.03


def test_small_segments_may_have_heavier_tails_than_large_ones() -> None:
    """The curve over size falls where only small segments are wild."""
    rng = np.random.default_rng(3)
    size = np.exp(rng.uniform(3, 8, 1600))
    wild = size < 200
    placebo = np.where(wild[:, None], rng.standard_t(4, (1600, 24)), rng.standard_normal((1600, 24)))
    upper = chance.tail_weights(placebo.astype(np.float32), size)[:, 1]
    assert upper[size < 60].mean() > 0.12
    assert upper[size > 1500].mean() < 0.05


def test_metrics_share_the_rate_and_each_has_its_own_limit() -> None:
    """A third of the rate each: a metric whose placebo windows are wild asks for more, the others for no more than their own."""
    wild, calm = np.linspace(2, 9, 24), np.linspace(-4, -2, 24)
    together = chance.calibrate(wild, 3)
    assert together.limit(0.06) == pytest.approx(chance.calibrate(wild).limit(0.02))
    assert together.adjusted_p(np.array([together.limit(0.06)])) == pytest.approx(0.06)
    assert chance.calibrate(calm, 3).limit(0.06) == pytest.approx(-np.log(2 * 0.06))


def test_limits_follow_placebo_maxima_down_to_half_of_the_bonferroni_bound() -> None:
    """Wild placebo windows raise the limit, tame ones lower it a little; without placebos it is -log(rate)."""
    bonferroni = -np.log(0.05)
    assert chance.calibrate(np.zeros(0)).limit(0.05) == pytest.approx(bonferroni)
    quiet = chance.calibrate(
        np.linspace(-4, -2, 24)
    )  # candidates that are much alike, but no more than half is believed
    assert quiet.limit(0.05) == pytest.approx(bonferroni - np.log(2))
    assert chance.calibrate(np.linspace(-4, -2, 15)).limit(0.05) == pytest.approx(bonferroni)  # fewer tell little
    assert quiet.adjusted_p(np.array([quiet.limit(0.05)])) == pytest.approx([0.05])
    wild = chance.calibrate(np.linspace(2, 9, 24))
    assert wild.limit(0.05) > 9
    scores = np.array([0.0, 5.0, 10.0, 20.0])
    adjusted = wild.adjusted_p(scores)
    assert (np.diff(adjusted) < 0).all()
    assert wild.adjusted_p(np.array([wild.limit(0.05)]))[0] == pytest.approx(0.05)


def test_wild_days_make_everybody_less_surprising() -> None:
    """Where all candidates scatter three times as wide, the spread says three; a few real changes do not."""
    rng = np.random.default_rng(1)
    calm, size = rng.standard_normal((900, 2)), rng.uniform(10, 100, 900)
    calm[:, 1] *= 3
    calm[:40, 0] += 20
    spread = chance.turmoil(calm, chance.alike(size))[chance.alike(size)]
    assert spread.shape == calm.shape
    assert spread[:, 0].max() < 1.25
    assert spread[:, 1] == pytest.approx(3, rel=0.2)


def test_of_few_candidates_no_storm_is_known() -> None:
    """A hundred of them are in no bin, and their scatter counts as usual."""
    bins = chance.alike(np.arange(100.0))
    assert set(bins) == {-1}
    assert chance.turmoil(np.full((100, 3), 9.0), bins)[bins].tolist() == np.ones((100, 3)).tolist()


def test_a_storm_among_very_many_candidates_is_told_by_some_of_them() -> None:
    """Every n-th of a bin shows the spread to a hundredth or two."""
    z = np.random.default_rng(1).standard_normal((300_000, 1)) * 2
    bins = chance.alike(np.ones(len(z)))
    assert len(z) // 4 > 2 * chance.ENOUGH_TO_SPREAD
    assert chance.turmoil(z, bins)[:-1] == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize(("now", "expected", "reference"), [(9, 3.0, 15.0), (40, 20.0, 100.0), (2, 12.0, 60.0)])
def test_small_counts_have_their_exact_tail(now: int, expected: float, reference: float) -> None:
    """The signed root of the deviance has nearly the p of the binomial law."""
    z = chance.count_z(np.array([now - expected]), np.array([expected]), np.array([reference]))[0]
    whole, share = now + int(reference), expected / (expected + reference)
    law = stats.binom(whole, share)
    p = law.sf(now - 1) - law.pmf(now) / 2 if z > 0 else law.cdf(now) - law.pmf(now) / 2
    assert stats.norm.sf(abs(z)) == pytest.approx(p, rel=0.45)


def test_contexts_and_means_are_joined_to_one_deviate() -> None:
    """Two deviates have the p of a chi square with two degrees of freedom; against each other they are no total."""
    joint = deviates.joint_z([np.array([3.0, 5.0, 6.0]), np.array([2.0, 0.1, -6.0])])
    assert 2 * stats.norm.sf(joint[:2]) == pytest.approx(stats.chi2.sf([13.0, 25.01], 2), rel=1e-9)
    assert joint[2] == 0


def test_joint_deviates_are_exact_near_zero_and_far_out() -> None:
    """Also where the p is near one, and where it is too small for a number."""
    near = deviates.joint_z([np.array([0.2, 0.01]), np.array([0.6, 0.0])])
    assert 2 * stats.norm.sf(near) == pytest.approx(stats.chi2.sf([0.4, 0.0001], 2), rel=1e-9)
    assert deviates.joint_z([np.zeros(1), np.zeros(1)]) == 0
    (far,) = deviates.joint_z([np.array([-60.0]), np.array([-80.0])])
    assert stats.norm.logsf(-far) + np.log(2) == pytest.approx(-5000)


def test_tails_are_those_of_a_candidates_own_past() -> None:
    """Where one in ten is wild, the calm ones are left alone, and each day counts as if it had not been seen."""
    rng = np.random.default_rng(5)
    wild = rng.random(1_500) < 0.1
    z = np.where(wild[:, None], rng.standard_t(3, (1_500, 60)), rng.standard_normal((1_500, 60))).astype(np.float32)
    size, usual = rng.uniform(50, 500, 1_500), np.arange(60)
    tails, together = (chance.tails_of(z, size, usual, apart=apart) for apart in (True, False))
    calm = np.abs(z).max(axis=1) < 2.8
    assert tails.weights[calm].mean() < 0.02 < 0.05 < together.weights.mean()
    assert tails.weights[wild].mean() > 1.5 * together.weights.mean()
    assert tails.alone is not None
    assert tails.furthest is not None
    assert (tails.furthest == np.abs(z).argmax(axis=1)).all()
    assert (tails.alone.sum(axis=1) <= tails.weights.sum(axis=1) + 1e-9).mean() > 0.95
    fewer = chance.tails_of(z[:300], size[:300], usual, apart=True)
    assert fewer.alone is None


def test_candidates_that_were_never_judged_leave_groups_empty() -> None:
    """Most deviates are 0 where segments have few contexts a day."""
    z = np.zeros((2_000, 60), np.float32)
    z[:100] = np.random.default_rng(0).standard_normal((100, 60))
    tails = chance.tails_of(z, np.full(2_000, 20.0), np.arange(60), apart=True)
    assert (tails.weights[100:] == 0).all()


def test_shared_shocks_are_taken_off_and_the_one_that_moved_stays() -> None:
    """A factor that many series share is found; a lone shift in the judged frames is not mistaken for it."""
    rng = np.random.default_rng(7)
    shock = rng.standard_normal(84)
    loads = rng.choice([-1.0, 1.0], 60)
    size = rng.poisson(100 * (1 + 0.2 * loads[:, None] * np.clip(shock, -3, 3))).astype(float)
    size[0, 70:] *= 1.6
    base = np.full(84, 6000.0)
    part = size_part(size, base, WEEKS)
    shocks = find_shocks([part.deviation], [part.exposure], [part.row_variance], WEEKS.reference, WEEKS.target)
    assert len(shocks) == 1
    assert abs(np.corrcoef(shocks.scores[:, 0], shock)[0, 1]) > 0.97
    plain = stats_of(part, WEEKS, placebo_windows(WEEKS), True)
    freed = stats_of(part, WEEKS, placebo_windows(WEEKS), True, shocks)
    assert freed.between[1:].mean() < 0.35 * plain.between[1:].mean()
    z = freed.change / np.sqrt(freed.between * freed.target_exposure * 1.2)
    assert z[0] > 8
    assert np.abs(z[1:]).max() < 5


def test_noise_has_no_shocks() -> None:
    """Independent series show no factor."""
    size = np.random.default_rng(8).poisson(50, (80, 84)).astype(float)
    part = size_part(size, np.full(84, 4000.0), WEEKS)
    shocks = find_shocks([part.deviation], [part.exposure], [part.row_variance], WEEKS.reference, WEEKS.target)
    assert len(shocks) == 0


@pytest.mark.parametrize("seed", range(4))
def test_schedules_that_have_nothing_in_common_are_no_shock(seed: int) -> None:
    """Products that are made in some weeks and not in others: ten weeks are ten draws, whatever seventy days seem to say."""
    rng = np.random.default_rng(seed)
    made = np.repeat((rng.random((60, 12)) < 0.5) * np.exp(rng.uniform(2, 4, (60, 1))), 7, axis=1)
    size = rng.poisson(made).astype(float)
    part = size_part(size, size.sum(axis=0), WEEKS)
    shocks = find_shocks([part.deviation], [part.exposure], [part.row_variance], WEEKS.reference, WEEKS.target)
    assert len(shocks) == 0


def test_what_few_segments_make_up_among_themselves_is_no_shock() -> None:
    """A bursting segment, under three names and against one neighbour, is noise of its own."""
    rng = np.random.default_rng(9)
    size = rng.poisson(50, (80, 84)).astype(float)
    burst = rng.poisson(20 * np.exp(rng.standard_normal(84)))
    size[:3] += burst
    size[3] += burst.max() - burst
    part = size_part(size, np.full(84, 4000.0), WEEKS)
    shocks = find_shocks([part.deviation], [part.exposure], [part.row_variance], WEEKS.reference, WEEKS.target)
    assert len(shocks) == 0


def test_shares_that_shrink_because_one_segment_grew_are_no_storm() -> None:
    """The common shift of all sizes is the weighted median of their relative changes; strays do not move it."""
    rng = np.random.default_rng(4)
    weight = rng.uniform(1, 10, 400)
    relative = -0.03 + rng.standard_normal(400) / weight / 100
    relative[:20] = 0.5
    assert chance.weighted_median(relative, weight) == pytest.approx(-0.03, abs=0.001)
    assert chance.weighted_median(np.zeros(0), np.zeros(0)) == 0.0
