"""Every statistic and condition again, row by row in plain Python: the twin that the SQL must agree with."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mona_server.segment import Condition, Differs, Equals, Matches, OneOf, Range, Segment

Row = Mapping[str, Any]


def inside(row: Row, segment: Segment) -> bool:
    return all(any(meets(row.get(name), option) for option in options) for name, options in segment.conditions)


def meets(value: Any, condition: Condition) -> bool:
    found = (list(value) or [None]) if isinstance(value, list) else [value]
    match condition:
        case Equals(wanted):
            return any(item == wanted for item in found)
        case Differs(unwanted):
            return not any(item == unwanted for item in found)
        case OneOf(values):
            return any(item in values for item in found)
        case Range(low, high):
            return any(
                item is not None
                and ((low is None and high is None) or not isinstance(item, str))
                and (low is None or item >= low)
                and (high is None or item < high)
                for item in found
            )
        case Matches(regex):
            return any(isinstance(item, str) and re.search(regex, item) is not None for item in found)


def statistic(name: str, rows: Sequence[Row], field: str, second: str | None = None) -> Any:
    """The statistic over these rows, None where it is undefined."""
    if second is not None:
        pairs = [
            (float(r[field]), float(r[second])) for r in rows if r.get(field) is not None and r.get(second) is not None
        ]
        return two(name, np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])) if pairs else None
    values = [r[field] for r in rows if r.get(field) is not None and r.get(field) != []]
    if name == "count":
        return len(values)
    if name == "existence_ratio":
        return len(values) / len(rows)
    flat = [item for value in values for item in (set(value) if isinstance(value, list) else [value])]
    if name == "distinct_count":
        return len(set(flat))
    if name == "top_values":
        counts = Counter(flat)
        order = sorted(counts, key=lambda v: (-counts[v], v))
        return [{"value": v, "count": counts[v]} for v in order[:10]]
    if not values:
        return None
    x = np.array(values, np.float64)
    n, mean, var = len(x), x.mean(), x.var()
    quantiles = {"p05": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "p99": 99}
    if name in quantiles:
        return np.percentile(x, quantiles[name])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "average": mean,
            "sum": x.sum(),
            "variance": var,
            "normalized_variance": var / mean**2,
            "std": math.sqrt(var),
            "standard_error": math.sqrt(var / n),
            "min": x.min(),
            "max": x.max(),
            "interquartile_range": np.percentile(x, 75) - np.percentile(x, 25),
        }[name]
    return found if math.isfinite(found) else None


def two(name: str, x: Any, y: Any) -> float | None:
    label = y >= 0.5
    said = x >= 0.5
    tp, fp, fn = (said & label).sum(), (said & ~label).sum(), (~said & label).sum()
    p = np.clip(x, 1e-15, 1 - 1e-15)
    bins = np.clip(np.floor(x * 10), 0, 9)
    higher = [(0.5 if a == b else float(a > b)) for a in x[label] for b in x[~label]]
    formulas: dict[str, Any] = {
        "correlation": lambda: np.corrcoef(x, y)[0, 1] if x.std() > 0 and y.std() > 0 else math.nan,
        "ratio_of_sums": lambda: x.sum() / y.sum(),
        "weighted_average": lambda: (x * y).sum() / y.sum(),
        "mean_absolute_error": lambda: np.abs(x - y).mean(),
        "root_mean_squared_error": lambda: math.sqrt(((x - y) ** 2).mean()),
        "accuracy": lambda: (x == y).mean(),
        "precision": lambda: tp / (tp + fp),
        "recall": lambda: tp / (tp + fn),
        "f1": lambda: 2 * tp / (2 * tp + fp + fn),
        "log_loss": lambda: -np.where(label, np.log(p), np.log(1 - p)).mean(),
        "brier": lambda: ((x - label) ** 2).mean(),
        "auc": lambda: float(np.mean(higher)) if higher else math.nan,
        "calibration_error": lambda: sum(abs(x[bins == b].sum() - label[bins == b].sum()) for b in range(10)) / len(x),
    }
    with np.errstate(all="ignore"):
        found = formulas[name]()
    return float(found) if math.isfinite(found) else None
