"""What is kept of each candidate: changes, dispersions, placebo windows, and what one frame alone makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mona_server.detect import chance
from mona_server.detect.chance_parts import Windows, mean_part, size_part
from mona_server.detect.chance_series import Stats, placebo_windows
from mona_server.detect.chance_series import stats as stats_of
from mona_server.detect.shocks import Shocks

WEEKS = Windows(np.arange(70, 84), np.arange(70), 7)


def _panel(seed: int, segments: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """(total, count) of rows with variance 1 and Poisson sizes."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(np.exp(rng.uniform(1.5, 4, segments))[:, None], (segments, 84)).astype(float)
    return rng.standard_normal((segments, 84)) * np.sqrt(count), count


def test_deviates_of_unchanged_means_are_standard() -> None:
    """Changes over their standard errors have mean 0 and variance 1, and so have placebo windows."""
    total, count = _panel(0, 1500)
    part = mean_part(total, count, np.ones(len(total)), np.zeros(84), WEEKS)
    found = stats_of(part, WEEKS, placebo_windows(WEEKS), True)
    z = found.change / np.sqrt(found.target_exposure + found.target_exposure**2 / found.reference_exposure)
    assert abs(z.mean()) < 0.1
    assert z.std() == pytest.approx(1, abs=0.06)
    assert found.placebos[0].change.std() == pytest.approx(1, abs=0.06)
    assert found.between.mean() == pytest.approx(1, abs=0.05)
    assert found.weekly.mean() == pytest.approx(1, abs=0.08)


def test_a_burst_inside_of_a_placebo_window_is_no_noise_outside() -> None:
    """The dispersion outside of the window forgets the burst inside of it."""
    count = np.full((1, 84), 10.0)
    total = np.random.default_rng(5).standard_normal((1, 84))
    total[0, 7:14] += 30
    part = mean_part(total, count, np.ones(1), np.zeros(84), WEEKS)
    windows = placebo_windows(WEEKS)
    found = stats_of(part, WEEKS, windows, True)
    holds = windows[7] > 0
    assert found.placebos[0].without[0, holds].max() < 0.2 < found.placebos[0].without[0, ~holds].min()


def test_a_burst_of_one_judged_frame_is_no_lasting_change() -> None:
    """What is left without the strongest frame counts; what lasts is believed as it is, also where it is just beyond chance."""
    rng = np.random.default_rng(11)
    count = np.full((400, 84), 25.0)
    total = 5 * rng.standard_normal((400, 84))
    total[:200, 70:] += 8  # 6 standard errors
    total[200:, 77] += 250
    part = mean_part(total, count, np.ones(400), np.zeros(84), WEEKS)
    found = stats_of(part, WEEKS, placebo_windows(WEEKS), True)
    z = found.change / np.sqrt(found.target_exposure + found.target_exposure**2 / found.reference_exposure)
    assert z[200:].min() > 6
    assert (found.steady[:200] == 1).all()
    assert np.abs(z * found.steady)[200:].max() < 4.5
    assert stats_of(part, replace(WEEKS, target=WEEKS.target[-3:]), np.zeros((70, 0)), True).steady.min() == 1


def test_a_change_seen_in_few_frames_alone_is_believed_from_two_on() -> None:
    """Contexts that came on three judged days, all of which moved, are no burst of one."""
    count = np.full((1, 84), 5.0)
    count[0, 70:] = 0
    count[0, [71, 76, 80]] = 40
    total = np.where(np.arange(84) >= 70, 2.0, 0.0) * count
    part = mean_part(total, count, np.ones(1), np.zeros(84), WEEKS)
    assert stats_of(part, WEEKS, placebo_windows(WEEKS), True).steady.tolist() == [1.0]
    total[0, [71, 76]] = 0
    total *= 1e-15  # whatever the unit
    part = mean_part(total, count, np.ones(1), np.zeros(84), WEEKS)
    assert stats_of(part, WEEKS, placebo_windows(WEEKS), True).steady.tolist() == [0.0]


@pytest.mark.parametrize("weeks", [1, 2])
def test_what_comes_on_one_day_of_the_week_may_grow(weeks: int) -> None:
    """Contexts of Sundays are half as many again: no burst, also where one Sunday alone is judged. A burst on a Tuesday is one."""
    rng = np.random.default_rng(2)
    frames = np.arange(84)
    windows = replace(WEEKS, target=WEEKS.target[-7 * weeks :], reference=np.arange(84 - 7 * weeks))
    sunday = rng.poisson(np.where(frames % 7 == 6, 400.0, 0.0))
    grown = np.where(frames >= 84 - 7 * weeks, 1.5, 1.0) * sunday
    burst = sunday + np.where(frames == 84 - 6, 200, 0)
    part = size_part(np.array([grown, burst], np.float64), np.full(84, 4000.0), windows)
    found = stats_of(part, windows, placebo_windows(windows), True)
    assert (found.change > 0).all()
    assert found.steady.tolist() == [1.0, pytest.approx(0, abs=0.3)]


def test_placebo_windows_look_like_the_target() -> None:
    """Two whole weeks out of ten; single frames for a single judged frame; none where too few fit."""
    windows = placebo_windows(WEEKS)
    assert (windows.sum(axis=0) == 14).all()
    assert (windows.reshape(10, 7, -1).std(axis=1) == 0).all()
    single = placebo_windows(Windows(np.array([30]), np.arange(30), 7))
    assert (single == np.eye(30)).all()
    assert placebo_windows(Windows(np.arange(4, 8), np.arange(4))).shape[1] == 0


@pytest.mark.parametrize("days", [1, 14])
def test_a_size_in_a_placebo_window_is_judged_as_if_it_were_the_target(days: int) -> None:
    """By the share of contexts that the other frames tell, as a count; what was hardly there before is not judged."""
    rng = np.random.default_rng(13)
    size = rng.poisson(rng.uniform(3, 30, (60, 1)), (60, 84)).astype(float)
    size[:20, 63:70] *= 5
    base, frames = np.full(84, 2000.0), np.arange(70)
    windows = placebo_windows(Windows(np.arange(70, 70 + days), frames, 7))
    place = int(np.flatnonzero(windows[69])[-1])
    inside = windows[:, place] > 0
    size[0, frames[~inside]] = 0

    def found(target: np.ndarray, reference: np.ndarray) -> Stats:
        asked = Windows(target, reference, 7)
        return stats_of(size_part(size, base, asked), asked, placebo_windows(asked), True)

    judged, placebo = found(frames[inside], frames[~inside]), found(np.arange(70, 70 + days), frames)
    expected, reference = judged.target_exposure, judged.reference_exposure
    by_rows = np.maximum(expected + expected**2 / reference, 1e-9)
    z = chance.count_z(judged.change, expected, reference) / np.sqrt(np.maximum(judged.spread / by_rows, 1e-9))
    z[(expected < 10) | (reference < 10)] = 0
    assert z[1:20].max() > 5
    assert placebo.placebos[0].change[:, place] == pytest.approx(z, abs=1e-3)
    assert placebo.placebos[0].change[0, place] == 0
    between = placebo.between * placebo.placebos[0].without[:, place] / np.maximum(judged.between, 1e-9)
    assert 0.99 < np.mean(between[1:20]) < 1.3  # where one season of all frames is taken off, a bit of the burst stays


def test_the_dispersions_outside_of_a_placebo_window_are_those_of_the_frames_outside_of_it() -> None:
    """Between days and between weeks, each by itself: a wild week makes only the dispersion between weeks larger."""
    rng = np.random.default_rng(3)
    total, count = rng.standard_normal((100, 84)) * np.sqrt(20), np.full((100, 84), 20.0)
    total[:, 14:21] += rng.standard_normal((100, 1)) * 5

    def found(frames: np.ndarray, target: np.ndarray) -> Stats:
        windows = Windows(target, frames, 7)
        part = mean_part(total, count, np.ones(100), np.zeros(84), windows)
        return stats_of(part, windows, placebo_windows(windows), True)

    whole = found(np.arange(70), np.arange(70, 84))
    windows = placebo_windows(Windows(np.arange(70, 84), np.arange(70), 7))
    place = next(w for w in range(windows.shape[1]) if windows[14:21, w].all())
    rest = found(np.flatnonzero(windows[:, place] == 0), np.arange(70, 84))
    between, weekly = (
        one * without[:, place]
        for one, without in (
            (whole.between, whole.placebos[0].without),
            (whole.weekly, whole.placebos[0].without_weekly),
        )
    )
    # One season and one mean of all frames are taken off before, so these agree on average.
    assert np.mean(between / rest.between) == pytest.approx(1, abs=0.1)
    assert np.mean(weekly / rest.weekly) == pytest.approx(1, abs=0.2)
    assert np.mean(whole.weekly / rest.weekly) > 2


def test_a_shock_that_is_one_segments_own_noise_does_not_make_it_quiet() -> None:
    """After shocks are taken off, a mean is as uncertain as its rows at least, also outside of placebo windows."""
    total, count = _panel(11, 40)
    part = mean_part(total, count, np.ones(len(total)), np.zeros(84), WEEKS)
    scores = part.deviation[0] - part.deviation[0, WEEKS.reference].mean()
    own = Shocks(scores[:, None], np.array([[1 / float((scores[WEEKS.reference] ** 2).sum())]]))
    windows = placebo_windows(WEEKS)
    plain, found = (stats_of(part, WEEKS, windows, True, shocks) for shocks in (None, own))
    assert found.between[0] >= 0.9 * min(plain.between[0], 1.0)
    assert (found.between[0] * found.placebos[0].without[0]).min() >= 0.9 * min(plain.between[0], 1.0)
