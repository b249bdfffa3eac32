"""Everybody's change: as sure as frames allow, whatever is behind each of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mona_server.detect.chance_parts import Windows
from mona_server.detect.deviates import series_z

LAST_DAY = Windows(np.array([83]), np.arange(83), 1)


def test_frames_that_hold_as_much_are_judged_by_a_t_test() -> None:
    """The last of 84 days against the 83 before it."""
    series = np.random.default_rng(0).normal(size=84)
    z, change = series_z(series - series[:83].mean(), np.full(84, 50.0), LAST_DAY)
    t = stats.ttest_ind(series[83:], series[:83])
    assert change == pytest.approx(series[83] - series[:83].mean())
    assert 2 * stats.norm.sf(abs(z)) == pytest.approx(t.pvalue, rel=1e-6)
    assert np.sign(z) == np.sign(t.statistic)


@pytest.mark.parametrize("days_move", [False, True], ids=["rows alone", "days move as a whole"])
@pytest.mark.parametrize("cycle", [1, 7])
def test_a_busy_day_is_no_change(days_move: bool, cycle: int) -> None:
    """Fifteen times as many contexts as usual: their total is far from what it should be, their mean is not."""
    rng, windows = np.random.default_rng(1), Windows(np.array([83]), np.arange(83), cycle)
    far = 0
    for _ in range(1000):
        exposure = np.where(rng.random(84) < 0.07, 12.0, 1.0) * 700
        exposure[83] = 15 * 700
        spread = 0.1 if days_move else 2 / np.sqrt(exposure)
        deviation = exposure * spread * rng.normal(size=84)
        deviation -= exposure * deviation[:83].sum() / exposure[:83].sum()
        far += abs(series_z(deviation, exposure, windows)[0]) > 2.58
    assert far <= 18  # 10 expected; 18 or more by chance in one of a hundred


def test_quiet_weekends_hide_no_change_of_a_weekday() -> None:
    """The means of days with few contexts are wild, and say little of the others."""
    rng = np.random.default_rng(2)
    exposure = np.where(np.arange(84) % 7 < 5, 1000.0, 50.0)
    exposure[83] = 1000.0
    found = []
    for _ in range(200):
        deviation = np.sqrt(exposure) * rng.normal(size=84)
        deviation[83] += 8 * np.sqrt(1000)
        deviation -= exposure * deviation[:83].sum() / exposure[:83].sum()
        found.append(series_z(deviation, exposure, LAST_DAY)[0])
    assert np.median(found) > 5.5
