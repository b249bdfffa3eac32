"""Statistics of one field, or of two: their names, what they need, and their formulas over sums or net values.

Everything is in the population form, booleans are 0 and 1. A formula works on all groups at once and gives NaN where
the statistic is undefined. Three needs:

- *moments*: signed sums over the rows: n = Σ sign, s1 = Σ sign·(x-c), s2 = Σ sign·(x-c)²;
- *pairs*: the same over rows that have both fields;
- *values*: the net values themselves (a value whose signs add up to 0 is not there), for what is no sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Floats

Need = Literal["moments", "distinct", "quantiles", "top", "pairs", "curve", "bins"]
Sums = Mapping[str, Floats]
"""Name of a sum → (groups,)."""
TOP_VALUES = 10
CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic of rest.md 3.4."""

    name: str
    need: Need
    doc: str
    compute: Callable[[Sums], Any] | None = None
    """From sums to (groups,); None where :mod:`measure` has a way of its own."""
    any_type: bool = False
    """Also for texts and times; the others want numbers or booleans."""
    quantile: float | None = None

    @property
    def two_fields(self) -> bool:
        return self.need in ("pairs", "curve", "bins")


def _divide(a: Floats, b: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b != 0, a / b, np.nan)


def mean(s: Sums) -> Floats:
    return s["c"] + _divide(s["s1"], s["n"])


def variance(s: Sums) -> Floats:
    """s2/n - (s1/n)², and exactly 0 where the difference is beyond what doubles can tell."""
    square = _divide(s["s2"], s["n"])
    spread = square - _divide(s["s1"], s["n"]) ** 2
    return np.where(spread <= 4e-15 * square, np.where(np.isnan(square), np.nan, 0.0), spread)


def _covariance(s: Sums) -> Floats:
    return _divide(s["sxy"], s["n"]) - _divide(s["sx"], s["n"]) * _divide(s["sy"], s["n"])


def _correlation(s: Sums) -> Floats:
    """Pearson's r of the pairs."""
    x = variance({"n": s["n"], "s1": s["sx"], "s2": s["sxx"]})
    y = variance({"n": s["n"], "s1": s["sy"], "s2": s["syy"]})
    return np.clip(_divide(_covariance(s), np.sqrt(x * y)), -1.0, 1.0)


def _f1(s: Sums) -> Floats:
    return _divide(2 * s["tp"], 2 * s["tp"] + s["fp"] + s["fn"])


def _statistics() -> tuple[Statistic, ...]:
    one: Need = "moments"
    two: Need = "pairs"
    quantiles = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
    total = "sum of field"
    return (
        Statistic("count", one, "contexts with a value", lambda s: s["n"], any_type=True),
        Statistic(
            "existence_ratio",
            one,
            "share of contexts with a value",
            lambda s: _divide(s["n"], s["size"]),
            any_type=True,
        ),
        Statistic("average", one, "mean", mean),
        Statistic("sum", one, total, lambda s: np.where(s["n"] == 0, np.nan, s["c"] * s["n"] + s["s1"])),
        Statistic("variance", one, "mean squared distance from the mean", variance),
        Statistic("normalized_variance", one, "variance / mean²", lambda s: _divide(variance(s), mean(s) ** 2)),
        Statistic("std", one, "square root of the variance", lambda s: np.sqrt(variance(s))),
        Statistic("standard_error", one, "std / √count", lambda s: _divide(np.sqrt(variance(s)), np.sqrt(s["n"]))),
        Statistic("min", "distinct", "least value", lambda s: s["low"]),
        Statistic("max", "distinct", "greatest value", lambda s: s["high"]),
        Statistic("distinct_count", "distinct", "number of different values", lambda s: s["distinct"], any_type=True),
        *(Statistic(name, "quantiles", f"{q:g} quantile", quantile=q) for name, q in quantiles.items()),
        Statistic("interquartile_range", "quantiles", "p75 - p25"),
        Statistic("top_values", "top", f"the {TOP_VALUES} values with most contexts", any_type=True),
        Statistic("correlation", two, "Pearson correlation", _correlation),
        Statistic("ratio_of_sums", two, "sum of field / sum of second field", lambda s: _divide(s["x"], s["y"])),
        Statistic("weighted_average", two, "mean, weighted by the second field", lambda s: _divide(s["xy"], s["y"])),
        Statistic("mean_absolute_error", two, "mean |field - second|", lambda s: _divide(s["absolute"], s["n"])),
        Statistic(
            "root_mean_squared_error",
            two,
            "√ mean (field - second)²",
            lambda s: np.sqrt(np.maximum(_divide(s["squared"], s["n"]), 0.0)),
        ),
        Statistic("accuracy", two, "share of equal pairs", lambda s: _divide(s["equal"], s["n"]), any_type=True),
        Statistic("precision", two, "TP / (TP + FP); positive: >= 0.5", lambda s: _divide(s["tp"], s["tp"] + s["fp"])),
        Statistic("recall", two, "TP / (TP + FN)", lambda s: _divide(s["tp"], s["tp"] + s["fn"])),
        Statistic("f1", two, "2 TP / (2 TP + FP + FN)", _f1),
        Statistic(
            "log_loss", two, "mean -log p(label); p cut to [1e-15, 1-1e-15]", lambda s: _divide(s["log"], s["n"])
        ),
        Statistic("brier", two, "mean (p - label)²", lambda s: _divide(s["brier"], s["n"])),
        Statistic("auc", "curve", "area under the ROC curve; ties count half"),
        Statistic("calibration_error", "bins", f"expected calibration error, {CALIBRATION_BINS} equal bins"),
    )


STATISTICS: Mapping[str, Statistic] = {statistic.name: statistic for statistic in _statistics()}
ALIASES: Mapping[str, str] = {
    "mean": "average",
    "avg": "average",
    "iqr": "interquartile_range",
    "existence": "existence_ratio",
    "mae": "mean_absolute_error",
    "rmse": "root_mean_squared_error",
}


def find(name: Any) -> Statistic | None:
    """The statistic of a name; spaces and dashes count as underscores. None when there is none."""
    if not isinstance(name, str):
        return None
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    return STATISTICS.get(ALIASES.get(plain, plain))


def weighted_quantiles(values: Floats, weights: Floats, at: NDArray[np.float64]) -> Floats:
    """Quantiles of values that stand ``weights`` times each, linearly interpolated as numpy does.

    ``values`` ascending, of shape (n,), n > 0; weights whole and positive; ``at`` of shape (q,) in 0..1.

    >>> weighted_quantiles(np.array([1.0, 2.0]), np.array([3.0, 1.0]), np.array([0.5, 0.75, 1.0])).tolist()
    [1.0, 1.25, 2.0]
    """
    ends = np.cumsum(weights)
    place = at * (ends[-1] - 1)
    low = np.floor(place)
    first = values[np.searchsorted(ends, low, side="right")]
    second = values[np.minimum(np.searchsorted(ends, low + 1, side="right"), len(values) - 1)]
    return np.asarray(first + (second - first) * (place - low), np.float64)


def area_under_curve(scores: Floats, labels: NDArray[np.bool_], weights: Floats) -> float:
    """Probability that a positive scores higher than a negative; ties count half. NaN without both kinds.

    Mann-Whitney U / (P·N) over weighted net values, each of shape (n,).

    >>> area_under_curve(np.array([0.1, 0.9, 0.5]), np.array([False, True, True]), np.ones(3))
    1.0
    """
    distinct, place = np.unique(scores, return_inverse=True)
    positive = np.bincount(place, weights * labels, len(distinct))
    negative = np.bincount(place, weights * ~labels, len(distinct))
    pairs = positive.sum() * negative.sum()
    if pairs <= 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs)
