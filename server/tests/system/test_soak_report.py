"""What the soak can see: a process that grows slowly under large peaks, and one that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.soak_report import Floor, floor, report
from benchmarks.soak_watch import Sample, Watch

HALF_S, MINUTES = 15 * 60, 30


def samples(seed: int, *, per_minute: float, noise: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Twelve samples a minute of a process with 300 MiB, half of them peaks of up to 120 more; moments and MiB."""
    draw = np.random.default_rng(seed)
    at_s = np.arange(0, MINUTES * 60, 5.0)
    kept = 300 + per_minute * at_s / 60 + np.repeat(draw.normal(0, noise, MINUTES), 12)
    return at_s, kept + draw.uniform(0, 120, len(at_s)) * (draw.random(len(at_s)) < 0.5)


def judged(least: Floor, data_growth: float = 0.0) -> str:
    return least.judged(MINUTES / 2, data_growth)


@pytest.mark.parametrize("seed", range(5))
def test_slow_growth_below_peaks_is_seen(seed: int) -> None:
    """3 MiB a minute, which the medians of minutes hide."""
    assert judged(floor(*samples(seed, per_minute=3.0), HALF_S)) == "grows"


@pytest.mark.parametrize("seed", range(5))
def test_what_holds_still_is_not_accused(seed: int) -> None:
    """Peaks and the noise of the floor alone are no growth, and the soak says that it has seen that there is none."""
    assert judged(floor(*samples(seed, per_minute=0.0), HALF_S)) == "flat"


def test_where_noise_covers_the_answer_the_soak_says_so() -> None:
    """Not being seen to grow is not being flat."""
    assert judged(floor(*samples(1, per_minute=0.5, noise=60.0), HALF_S)) == "cannot tell"


def test_growth_with_the_data_is_explained() -> None:
    """A quarter more contexts may take a quarter more memory; with as many as before it grows."""
    least = floor(*samples(2, per_minute=4.0), HALF_S)
    assert judged(least) == "grows"
    assert judged(least, data_growth=0.25) == "flat"
    assert judged(least, data_growth=-0.25) == "grows"


def test_the_floor_is_told_from_begin_to_end() -> None:
    """The first, the middle and the last minute, of a process that grows by 10 MiB a minute."""
    at_s = np.arange(0, MINUTES * 60, 5.0)
    least = floor(at_s, 100 + 10 * (at_s // 60), HALF_S)
    assert (least.begin, least.middle, least.end) == (100, 250, 390)
    assert least.last_half.slope == pytest.approx(10)


@pytest.mark.parametrize(("per_minute", "problems"), [(0.0, 0), (3.0, 1)])
def test_the_soak_fails_for_a_process_that_grows(
    per_minute: float, problems: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole report over samples of a process beside one that rests, with as many contexts at the end as before."""
    watch = Watch(dict, Path(), dict, lambda: 0, 5)
    for at, own in zip(*samples(3, per_minute=per_minute), strict=True):
        watch.samples += [Sample(at, "api", own + 20, own, 80), Sample(at, "detect", 81, 76, 20)]
        watch.whole.append((at, 500.0, 0.1, 400_000, 100.0))
    found = report(watch, MINUTES)
    assert len(found) == problems
    assert all("memory of api grows" in problem for problem in found)
    assert "| detect | 76, 76, 76 | +0.00 (+0.00 to +0.00) | flat |" in capsys.readouterr().out
