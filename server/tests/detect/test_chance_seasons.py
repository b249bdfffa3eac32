"""Seasons: expected where they are known, and no certainty where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from mona_server.detect.chance_parts import Part, Windows, mean_part
from mona_server.detect.chance_series import Stats, placebo_windows
from mona_server.detect.chance_series import stats as stats_of


def test_seasons_are_expected_where_the_target_holds_no_whole_cycle() -> None:
    """A weekday that is always low is not low today."""
    weekday = np.array([0, 0, 0, 0, 0, -6.0, -6.0])
    count = np.full((40, 77), 20.0)
    total = np.tile(weekday, 11) + np.random.default_rng(2).standard_normal((40, 77))
    windows = Windows(np.array([76]), np.arange(76), 7)
    part = mean_part(total, count, np.full(40, 0.05), np.zeros(77), windows)
    found = stats_of(part, windows, placebo_windows(windows), True)
    assert np.abs(found.change.mean()) < 1
    assert isinstance(part, Part)


def test_a_season_that_was_never_seen_is_no_certainty() -> None:
    """A segment without contexts on the judged weekday may be odd there, and the weekday of one frame alone is its own."""
    count = np.full((40, 30), 20.0)
    count[0, 1:29:7] = 0
    count[1, 8:29:7] = 0
    total = np.random.default_rng(3).standard_normal((40, 30)) * np.sqrt(count)
    windows = Windows(np.array([29]), np.arange(29), 7)
    found = stats_of(
        mean_part(total, count, np.ones(40), np.zeros(30), windows), windows, placebo_windows(windows), True
    )
    assert np.isfinite(found.placebos[0].change).all()
    assert np.isfinite(found.spread).all()
    assert found.spread[0] >= found.target_exposure[0]


@pytest.mark.parametrize("season", [0.0, 2.0])
def test_a_placebo_day_is_judged_as_if_it_were_the_last(season: float) -> None:
    """Level, season and dispersion of it are those that the days without it give."""
    rng = np.random.default_rng(12)
    total = rng.standard_t(3, (200, 30)) + season * rng.standard_normal((200, 7))[:, np.arange(30) % 7]
    count = np.full((200, 30), 20.0)

    def found(last: int) -> Stats:
        windows = Windows(np.array([last]), np.arange(last), 7)
        part = mean_part(total, count, np.ones(200), np.zeros(30), windows)
        return stats_of(part, windows, placebo_windows(windows), True)

    judged, placebo = found(28), found(29)
    assert placebo.placebos[0].change[:, 28] == pytest.approx(
        judged.change / np.sqrt(judged.spread), rel=1e-4, abs=1e-5
    )
    assert placebo.between * placebo.placebos[0].without[:, 28] == pytest.approx(judged.between, rel=1e-3)
