"""What the fields of a context let expect, and where residuals are cut off: against rows, and in findings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mona_server.detect import expected
from mona_server.detect.expected import RIDGE, fit_effects
from mona_server.detect.source import AxisRequest, SourceQuestion
from mona_server.detect.table_columns import Coded, Column, coded
from mona_server.detect.table_source import TableSource
from tests.detect.ten_weeks import codes, names, recent, run, table
from tests.detect.tutorial import Table


def test_effects_are_those_of_least_squares() -> None:
    """The fit from sums of one and two fields is the ridge regression over rows."""
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 3, 400), rng.integers(0, 2, 400)
    y = 5 + np.array([0.0, 1.0, -2.0])[a] + np.array([3.0, -3.0])[b] + rng.normal(0, 0.1, 400)
    names_a, names_b = ("p", "q", "r"), ("u", "v")
    columns: dict[str, Column] = {
        "a": Coded(a.astype(np.int32), names_a),
        "b": Coded(b.astype(np.int32), names_b),
        "y": y,
    }
    question = SourceQuestion((AxisRequest("a"), AxisRequest("b")), ("y",), (0, 10, 20))
    source = TableSource(columns, np.where(np.arange(400) < 300, 5, 15), question)
    effects = fit_effects(source, (0, 1), source.sums(()), slice(0, 1), (0,))
    learnt = np.arange(400) < 300
    design = np.concatenate([np.eye(3)[a], np.zeros((400, 1)), np.eye(2)[b], np.zeros((400, 1))], axis=1)[learnt]
    beta = np.linalg.solve(design.T @ design + RIDGE * np.eye(7), design.T @ (y[learnt] - y[learnt].mean()))
    assert np.concatenate(effects[0].by_axis) == pytest.approx(beta)
    assert 0.3 < effects[0].limit < 1
    left = source.residual(effects).sums(())
    assert left.square[1].sum() < 0.02 * left.square[0].sum()


def test_effects_of_very_many_contexts_are_learnt_from_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """They, the cut, and how rare values are drawn to nothing are nearly the same; the leverage is that of all contexts."""
    rng = np.random.default_rng(8)
    n = 60_000
    a, b = rng.integers(0, 3, n), np.minimum(rng.integers(0, 400, n), 40)  # the last value holds nine in ten
    y = np.array([0.0, 1.0, -2.0])[a] + rng.normal(0, 1.0, n)
    columns: dict[str, Column] = {
        "a": Coded(a.astype(np.int32), ("p", "q", "r")),
        "b": Coded(b.astype(np.int32), tuple(f"v{i}" for i in range(41))),
        "y": y,
    }
    question = SourceQuestion((AxisRequest("a"), AxisRequest("b")), ("y",), (0, 10, 20))
    source = TableSource(columns, np.where(np.arange(n) % 4, 5, 15), question)
    (every,) = fit_effects(source, (0, 1), source.sums(()), slice(0, 1), (0,)).values()
    monkeypatch.setattr(expected, "ENOUGH", 20_000)
    (some,) = fit_effects(source, (0, 1), source.sums(()), slice(0, 1), (0,)).values()
    assert some.by_axis[0] == pytest.approx(every.by_axis[0], abs=0.05)
    assert (some.by_axis[0] != every.by_axis[0]).any()
    assert np.abs(some.by_axis[1]).max() < 0.6  # 50 contexts of each value
    assert some.limit == pytest.approx(every.limit, rel=0.02)
    assert some.leverage == pytest.approx(every.leverage, rel=0.02)


def test_effects_take_on_noise_of_the_frames_they_are_learnt_from() -> None:
    """So residuals are smaller there than in a frame that they have not seen, by twice the leverage."""
    rng = np.random.default_rng(5)
    columns: dict[str, Column] = {"amount": rng.standard_normal(8_000)}
    columns |= {f"f{j}": coded([f"v{i}" for i in rng.integers(0, 40, 8_000)]) for j in range(8)}
    edges = (0, 100, 200)
    question = SourceQuestion(tuple(AxisRequest(f"f{j}") for j in range(8)), ("amount",), edges)
    time_ms = np.repeat(edges[:2], 4_000).astype(np.int64)
    source = TableSource(columns, time_ms, question)
    effects = fit_effects(source, range(8), source.sums(()), slice(0, 1), (0,))
    square = source.residual(effects).sums(()).square[1][0]
    assert effects[0].leverage == pytest.approx(8 * 39 / 4_000, rel=0.06)
    assert square[1] / square[0] == pytest.approx(1 + 2 * effects[0].leverage, abs=0.05)


def skewed(seed: int) -> Table:
    """The same fields with amounts of a lognormal law, twenty times as large for A as for E."""
    data = table(seed)
    rng = np.random.default_rng(seed)
    level = np.array([20.0, 10.0, 5.0, 2.0, 1.0])[codes(data, "a")]
    data.columns["score"] = level * np.exp(rng.normal(0, 1, len(data.time_ms)))
    return data


@pytest.mark.parametrize("seed", range(3))
def test_where_all_rows_move_alike_the_cut_of_extremes_moves_along(seed: int) -> None:
    """Else A, whose amounts are cut off most, would seem to move less than the others and be told beside everybody."""
    data = skewed(seed)
    score = data.columns["score"]
    assert isinstance(score, np.ndarray)
    score[recent(data)] += 5.0
    assert names(run(data)) == ["all data"]


def test_where_a_large_segment_moves_far_the_cut_of_extremes_stays() -> None:
    """Around a mean between those that moved and those that did not, both would be cut off, and look alike."""
    data = table(3)
    large = np.random.default_rng(3).random(len(data.time_ms)) < 0.45
    data.columns["c"] = Coded(large.astype(np.int32), ("small", "large"))
    score = data.columns["score"]
    assert isinstance(score, np.ndarray)
    score[recent(data) & large] += 12.0
    assert names(run(data, segment_by=["a", "b", "c"])) == ["c = large"]


@pytest.mark.parametrize("seed", range(3))
def test_a_total_that_grows_beyond_the_cut_of_extremes_is_one_finding(seed: int) -> None:
    """What is cut off moves each context alike, not by its level: fields of large and small amounts are no fragments."""
    data = table(seed)
    rng = np.random.default_rng(seed)
    level = np.array([9.0, 7.0, 5.0, 3.0, 1.0])[codes(data, "a")]
    amounts = level * rng.uniform(0.9, 1.1, len(level))
    part = rng.integers(0, 3, len(level)).astype(np.int32)
    amounts[recent(data) & (codes(data, "b") == 1) & (part == 0)] *= 4
    data.columns["score"], data.columns["c"] = amounts, Coded(part, ("i", "j", "k"))
    assert names(run(data, "SumDrift", segment_by=["a", "b", "c"])) == ["b = x and c = i"]


def test_an_outlier_among_skewed_values_is_told_from_noise() -> None:
    """A few large amounts are no outlier, and do not hide one: what is compared with everybody is cut off as well."""
    data = table(7)
    rng = np.random.default_rng(7)
    amounts = np.exp(rng.normal(0, 1.5, len(data.time_ms)))
    data.columns["score"] = amounts
    asked: dict[str, Any] = {"time_period": "14d", "min_anomaly_level": 0}
    assert names(run(data, "AverageOutlier", **asked)) == []
    moved = recent(data) & (codes(data, "a") == 1) & (codes(data, "b") == 2)
    amounts[moved] += 1.5
    assert names(run(data, "AverageOutlier", **asked)) == ["a = B and b = y"]
