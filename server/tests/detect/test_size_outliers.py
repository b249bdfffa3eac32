"""Is a segment larger than its siblings by chance? Against exact Poisson laws, and on counts that nothing is wrong with."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from mona_server.detect import search
from mona_server.detect.size_outliers import log_p_of_sizes
from mona_server.detect.table_columns import Coded
from mona_server.detect.verses.outlier import LEAST_SIBLINGS
from tests.detect.tutorial import Table, verse

DAY_MS = 86_400_000
AT_MS = 20_000 * DAY_MS
DAYS = 28


def poisson_p(count: float, mean: float, dispersion: float = 1.0) -> float:
    """Two-sided p of the likelihood ratio between a mean of its own and the siblings' mean."""
    gain = stats.poisson.logpmf(count, max(count, 1e-12)) - stats.poisson.logpmf(count, mean)
    return float(2 * stats.norm.sf(np.sqrt(2 * gain / dispersion)))


def test_even_counts_have_the_p_of_the_poisson_law() -> None:
    """Siblings that are spread over frames as everybody is: their counts vary by the Poisson law alone."""
    counts = np.array([5, 8, 10, 10, 12, 0, 25])
    size = np.outer(counts, np.full(4, 0.25))
    expected = [poisson_p(count, counts.mean()) for count in counts]
    assert np.exp(log_p_of_sizes(size, size.sum(axis=0))) == pytest.approx(expected, rel=1e-6)


def test_p_stays_exact_far_out() -> None:
    """A sibling of a thousand times the others has a p below what a number can hold; its log is still right."""
    size = np.repeat([[50.0, 50.0]], 20, axis=0)
    size[3] = 50_000.0
    logs = log_p_of_sizes(size, size.sum(axis=0))
    count, mean = 100_000.0, size.sum() / 20
    deviance = 2 * (count * np.log(count / mean) - (count - mean))
    assert logs[3] == pytest.approx(np.log(2) + stats.norm.logsf(np.sqrt(deviance)))
    assert logs[3] < -700


def test_a_burst_counts_as_much_as_it_varies() -> None:
    """A sibling that varies more than a Poisson law between frames has its own dispersion, the chi-square per frame."""
    size = np.full((9, 6), 20.0)
    size[0] = [180, 0, 0, 0, 0, 0]
    base = np.full(6, 1000.0)
    counts = size.sum(axis=1)
    own = stats.chisquare(size[0], np.full(6, counts[0] / 6)).statistic / 5
    assert own == pytest.approx(180)
    found = np.exp(log_p_of_sizes(size, base))
    assert found[0] == pytest.approx(poisson_p(counts[0], counts.mean(), own))
    assert found[1] == pytest.approx(poisson_p(counts[1], counts.mean()))


def test_busy_days_of_everybody_are_no_bursts() -> None:
    """Counts that follow everybody's are even, however much days differ."""
    base = np.array([1000.0, 50, 0, 4000])
    counts = np.array([30.0, 40, 50, 60, 70])
    size = np.outer(counts, base / base.sum())
    expected = [poisson_p(count, counts.mean()) for count in counts]
    assert np.exp(log_p_of_sizes(size, base)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("batch", [1, 10])
def test_unchanged_siblings_are_rarely_surprising(batch: int) -> None:
    """Contexts that come alone or ten at a time: no more than one p in twenty is below 1/20, far fewer than one in 200
    below 1/2000."""
    rng = np.random.default_rng(batch)
    size = rng.poisson(40, (4000, DAYS)).astype(float) * batch
    p = np.exp(log_p_of_sizes(size, size.sum(axis=0)))
    assert np.mean(p < 0.05) <= stats.binom.ppf(0.999, len(p), 0.05) / len(p)
    assert np.mean(p < 0.0005) < 0.005
    assert np.mean(p < 0.05) > 0.01  # and it is not simply silent
    alone = [poisson_p(count, size.sum(axis=1).mean()) for count in size.sum(axis=1)[:500]]
    assert (np.mean(np.array(alone) < 0.05) > 0.3) == (batch == 10)


def test_few_siblings_tell_nothing() -> None:
    """Below the least number of siblings nothing is surprising, from it on the same counts are."""
    size = np.full((LEAST_SIBLINGS, 2), 10.0)
    size[0] = 500
    assert log_p_of_sizes(size[:-1], size.sum(axis=0)).tolist() == [0.0] * (LEAST_SIBLINGS - 1)
    assert log_p_of_sizes(size, size.sum(axis=0))[0] < -100


def test_one_frame_is_taken_for_a_poisson_law() -> None:
    """Where nothing is known of the variation between frames, counts vary as little as they can."""
    counts = np.array([10, 12, 9, 11, 30, 8])
    found = np.exp(log_p_of_sizes(counts[:, None].astype(float), np.array([80.0])))
    assert found == pytest.approx([poisson_p(count, counts.mean()) for count in counts])


def test_every_sibling_is_a_test_and_each_number_of_conditions_has_its_share() -> None:
    """In a search, q is p times the siblings over as many conditions, times the two numbers of conditions."""
    rng = np.random.default_rng(6)
    length = 6000
    rows = {name: rng.integers(0, values, length).astype(np.int32) for name, values in (("a", 12), ("b", 6))}
    rows["a"][rng.random(length) < 0.06] = 3
    day = rng.integers(0, DAYS, length)
    data = Table(
        {name: Coded(codes, tuple(f"{name}{i}" for i in range(12))) for name, codes in rows.items()},
        AT_MS - (DAYS - day) * DAY_MS + rng.integers(0, DAY_MS, length),
    )
    asked = verse("SegmentSizeOutlier", segment_by=["a", "b"], min_anomaly_level=0.5, max_false_discovery_rate=0.05)
    found = search(asked, data.source, datetime.fromtimestamp(AT_MS / 1000, UTC), data_start_ms=data.start_ms)
    expected = {}
    for fields in (("a",), ("b",), ("a", "b")):
        texts, sibling = np.unique(
            [" and ".join(f"{name} = {name}{rows[name][row]}" for name in fields) for row in range(length)],
            return_inverse=True,
        )
        counts = np.zeros((len(texts), DAYS))
        np.add.at(counts, (sibling, day), 1)
        even = counts.sum(axis=1, keepdims=True) * np.bincount(day, minlength=DAYS) / length
        own = ((counts - even) ** 2 / even).sum(axis=1) / (DAYS - 1)
        tests = 2 * (12 * 6 if len(fields) == 2 else 12 + 6)
        for text, count, dispersion in zip(texts, counts.sum(axis=1), own, strict=True):
            p = poisson_p(count, length / len(texts), max(dispersion, float(np.median(own)), 1.0))
            expected[str(text)] = (p, min(1.0, p * tests))
    signals = [*found.signals, *found.held_back]
    assert {len(signal.segment) for signal in signals} == {1, 2}
    for signal in signals:
        p, q = expected[str(signal.segment)]
        assert signal.chance.p_value == pytest.approx(p, rel=1e-6)
        assert signal.chance.q_value == pytest.approx(q, rel=1e-6)
        assert signal.chance.passed == (q <= 0.05)
        assert bool(signal.chance.reason) != signal.chance.passed
    assert "a = a3" in {str(signal.segment) for signal in found.signals}
    assert found.held_back
