"""What models put out: classes with scores, decisions, errors of a prediction."""

from __future__ import annotations

import math
from typing import Any

from mona_server.config.functions.arrays import SCORE_KEY, scores
from mona_server.config.functions.declare import Arg, Group, Problem
from mona_server.config.functions.kinds import ANY, FULL_TEXT, NUMBER, key

GROUP = Group("Classification and regression")
function = GROUP.function
KEYS = (Arg("class_key", FULL_TEXT, "class"), SCORE_KEY)
PROBABILITY_FLOOR = 1e-15


@function("X", "X", args=KEYS, example=(({"cat": 0.7, "dog": 0.2},), (), "cat"))
def predicted_class(value: Any, class_key: str, score_key: str) -> Any:
    """The class with the top score, of an object class → score or of an array of {class, score}; of equals the first
    in text order or in the array."""
    if isinstance(value, dict):
        found = {name: x for name, x in value.items() if _is_number(x)}
        return min(found, key=lambda name: (-found[name], name), default=None)
    if not isinstance(value, list):
        raise Problem("the source is neither an array nor an object")
    items = [one for one in value if isinstance(one, dict) and _is_number(one.get(score_key))]
    best = max(items, key=lambda one: one[score_key], default=None)
    return None if best is None else best.get(class_key)


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _score(value: Any, score_key: str, k: int) -> float | None:
    found = scores(value, score_key)
    return found[k] if k < len(found) else None


@function("X", "N", args=KEYS, example=(({"cat": 0.7, "dog": 0.2},), (), 0.7))
def top_score(value: Any, class_key: str, score_key: str) -> float | None:  # noqa: ARG001 - one form for the family
    """The largest score."""
    return _score(value, score_key, 0)


@function("X", "N", args=KEYS, example=(({"cat": 0.7, "dog": 0.2},), (), 0.2))
def second_score(value: Any, class_key: str, score_key: str) -> float | None:  # noqa: ARG001 - one form for the family
    """The second largest score; null where there is only one."""
    return _score(value, score_key, 1)


@function("X", "N", args=KEYS, example=(({"cat": 0.7, "dog": 0.2, "cow": 0.1},), (), 0.5))
def delta_top_to_second_score(value: Any, class_key: str, score_key: str) -> float | None:  # noqa: ARG001
    """The largest score minus the second largest; null where there is only one."""
    found = scores(value, score_key)
    return found[0] - found[1] if len(found) > 1 else None


@function("X X", "B", example=(("cat", "dog"), (), False))
def is_correct(label: Any, prediction: Any) -> bool:
    """Whether the prediction is the label."""
    return bool(key(label) == key(prediction))


@function("X X", "S", args=[Arg("positive", ANY)], example=((True, False), (True,), "FN"))
def confusion_cell(label: Any, prediction: Any, positive: Any) -> str:
    """TP, FP, FN or TN of a label and a prediction, where the argument is the positive class."""
    wanted = key(positive)
    is_positive = key(prediction) == wanted
    return ("T" if is_positive == (key(label) == wanted) else "F") + ("P" if is_positive else "N")


@function("N", "B", args=[Arg("threshold", NUMBER, 0.5)], example=((0.5,), (), True))
def threshold_decision(x: float, threshold: float) -> bool:
    """Whether the number reaches the threshold."""
    return x >= threshold


def _binary(label: float, probability: float) -> tuple[float, float]:
    if label not in (0, 1):
        raise Problem("the label is neither true/1 nor false/0")
    if not 0 <= probability <= 1:
        raise Problem("the probability is not between 0 and 1")
    return label, probability


@function("N N", "N", example=((True, 0.75), (), 0.0625))
def brier(label: float, probability: float) -> float:
    """Squared distance of the probability from the label (1 or 0)."""
    y, p = _binary(label, probability)
    return (p - y) * (p - y)


@function("N N", "N", example=((1, 0.5), (), 0.6931471805599453))
def log_loss(label: float, probability: float) -> float:
    """-ln of the probability given to what happened, clipped to 1e-15."""
    y, p = _binary(label, probability)
    p = min(max(p, PROBABILITY_FLOOR), 1 - PROBABILITY_FLOOR)
    return -(math.log(p) if y == 1 else math.log1p(-p))


@function("N N", "N", example=((10, 8), (), 0.2))
def mape_term(actual: float, predicted: float) -> float:
    """|actual - predicted| / |actual|; null where the actual value is 0."""
    return abs(actual - predicted) / abs(actual)


@function("N N", "N", example=((10, 30), (), 1.0))
def smape_term(actual: float, predicted: float) -> float:
    """2·|actual - predicted| / (|actual| + |predicted|); 0 where both are 0."""
    total = abs(actual) + abs(predicted)
    return 2 * abs(actual - predicted) / total if total else 0.0


@function("N N", "B", args=[Arg("relative", NUMBER)], example=((100, 104), (0.05,), True))
def within_tolerance(actual: float, predicted: float, relative: float) -> bool:
    """Whether the prediction is off by at most this share of the actual value."""
    return abs(actual - predicted) <= relative * abs(actual)
