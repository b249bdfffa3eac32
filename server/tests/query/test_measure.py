"""Statistics from bins, weighted formulas, and sums far from 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from mona_server.query import measure
from mona_server.query.scan import Metric, Scan
from mona_server.query.statistics import STATISTICS, area_under_curve, find, weighted_quantiles
from tests.query.lab import DAY_MS


def ask(lab: Any, field: str, *names: str, second: str | None = None) -> tuple[dict[str, Any], bool]:
    facts = lab.facts()
    metric = Metric(field, tuple(STATISTICS[name] for name in names), second)
    scan = Scan(facts.relation([field, *([second] if second else [])]), ())
    found = measure.measure(facts, scan, [metric])
    return dict(found.of((), 0) or {}), found.exact


def filled(new_lab: Any, values: Any, **more: Any) -> Any:
    lab = new_lab({"x": "numeric", "y": "boolean"})
    for i, x in enumerate(values):
        lab.put(str(i), i % DAY_MS, {"x": float(x), **{name: bool(column[i]) for name, column in more.items()}})
    lab.flush()
    return lab


def test_beyond_the_limit_quantiles_come_from_bins(new_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 0.1 % of the value, negative and zero ones too, and the answer says that it is not exact."""
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.lognormal(3, 2, 400), -rng.lognormal(1, 1, 100), np.zeros(5)])
    lab = filled(new_lab, x)
    names = ["p05", "p25", "median", "p75", "p95"]
    exact, says = ask(lab, "x", *names)
    assert says
    assert exact["median"] == pytest.approx(np.median(x))
    monkeypatch.setattr(measure, "EXACT_ROWS", 100)
    binned, says = ask(lab, "x", *names)
    assert not says
    for name in names:
        assert binned[name] == pytest.approx(exact[name], rel=0.01)


def test_beyond_the_limit_the_curve_is_close(new_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores rounded to four places change the area by less than a thousandth."""
    rng = np.random.default_rng(6)
    y = rng.random(500) < 0.3
    x = np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1)
    lab = filled(new_lab, x, y=y)
    exact, _ = ask(lab, "x", "auc", second="y")
    pairs = y.sum() * (~y).sum()
    assert exact["auc"] == pytest.approx(mannwhitneyu(x[y], x[~y]).statistic / pairs, rel=1e-12)
    monkeypatch.setattr(measure, "EXACT_ROWS", 100)
    coarse, says = ask(lab, "x", "auc", second="y")
    assert not says
    assert coarse["auc"] == pytest.approx(exact["auc"], abs=1e-3)


def test_moments_far_from_zero_keep_their_digits(new_lab: Any) -> None:
    """A spread of 1 around a billion: sums around an offset lose nothing, and a constant has no spread at all."""
    rng = np.random.default_rng(7)
    x = 1e9 + rng.normal(0, 1, 500)
    found, _ = ask(filled(new_lab, x), "x", "std", "average")
    assert found["std"] == pytest.approx(x.std(), rel=1e-6)
    assert found["average"] == pytest.approx(x.mean(), rel=1e-15)
    found, _ = ask(filled(new_lab, [1e9 / 3] * 50), "x", "std")
    assert found["std"] == 0


def test_numbers_too_large_to_square_are_undefined_and_not_an_error(new_lab: Any) -> None:
    """Their mean is still a number; what overflows is null."""
    found, _ = ask(filled(new_lab, [1e200, 3e200]), "x", "average", "std", "max", "median")
    assert found["average"] == pytest.approx(2e200)
    assert found["std"] is None
    assert found["max"] == 3e200
    assert found["median"] == pytest.approx(2e200)


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 5)), min_size=1, max_size=20, unique_by=lambda p: p[0]),
    st.floats(0, 1),
)
def test_weighted_quantiles_are_those_of_the_expanded_values(pairs: list[tuple[int, int]], q: float) -> None:
    """As if each value stood there as often as its weight says."""
    values, weights = (np.array(part, np.float64) for part in zip(*sorted(pairs), strict=True))
    expanded = np.repeat(values, weights.astype(int))
    assert weighted_quantiles(values, weights, np.array([q]))[0] == pytest.approx(np.quantile(expanded, q), abs=1e-9)


def test_a_curve_of_one_kind_is_undefined() -> None:
    """Without a positive or without a negative there is nothing to rank."""
    assert np.isnan(area_under_curve(np.array([0.1, 0.2]), np.array([True, True]), np.ones(2)))


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("existence ratio", "existence_ratio"),
        ("Standard-Error", "standard_error"),
        ("iqr", "interquartile_range"),
        ("avg", "average"),
    ],
)
def test_names_of_statistics_may_have_spaces(given_name: str, name: str) -> None:
    """Words with spaces, dashes and some short forms are accepted."""
    assert find(given_name) is STATISTICS[name]
    assert find(3) is None
