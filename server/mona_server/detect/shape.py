"""How everybody's values are spread: the law of one row when nothing is special about a segment. Pure functions.

Segments that are compared with everybody, or with a limit, have no placebo windows. What a row of theirs does under chance
is known all the same: it is a row like everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mona_server.detect.source import NetValues
from mona_server.detect.verses.base import Statistic


@dataclass(frozen=True, slots=True)
class Shape:
    """Variance, skewness and excess kurtosis (at least 0) of what a mean is taken of."""

    variance: float = 0.0
    skewness: float = 0.0
    kurtosis: float = 0.0


def shape_of(net: NetValues, contexts: float, statistic: Statistic) -> Shape:
    """The shape of values, of their squared distance from the mean, or of whether there is a value.

    ``contexts``: all, with or without a value.

    >>> values = NetValues(np.array([1.0, 3.0]), np.array([3.0, 1.0]))
    >>> shape_of(values, 4, Statistic.AVERAGE).variance, shape_of(values, 8, Statistic.RATIO).variance
    (0.75, 0.25)
    """
    count = float(net.weights.sum())
    if statistic is Statistic.RATIO:
        return _of(np.array([0.0, 1.0]), np.array([max(contexts - count, 0.0), count]))
    if statistic is Statistic.STD and count:
        mean = float(net.values @ net.weights) / count
        return _of((net.values - mean) ** 2, net.weights)
    return _of(net.values, net.weights)


def _of(values: np.ndarray, weights: np.ndarray) -> Shape:
    count = float(weights.sum())
    if count < 2:
        return Shape()
    away = values - float(values @ weights) / count
    second, third, fourth = (float(away**n @ weights) / count for n in (2, 3, 4))
    if not second > 0:
        return Shape()
    return Shape(second, third / second**1.5, max(fourth / second**2 - 3, 0.0))
