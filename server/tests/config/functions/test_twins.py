"""Build functions beside naive or published twins."""

from __future__ import annotations

import math
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mona_server.config.functions import arithmetic, arrays, kinds_of_values, models, patterns, text_statistics

NUMBERS = st.floats(-1e6, 1e6)
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12)


def naive_common(a: list[str], b: list[str]) -> int:
    """Longest common subsequence by the textbook table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(WORDS, WORDS)
def test_text_overlap_is_rouge_l(a: list[str], b: list[str]) -> None:
    """F1 of the longest common subsequence."""
    found = text_statistics.text_overlap(" ".join(a), " ".join(b))
    if not a or not b:
        assert found is None
        return
    common = naive_common(a, b)
    precision, recall = common / len(a), common / len(b)
    assert found == pytest.approx(2 * precision * recall / (precision + recall) if common else 0)


@given(WORDS)
def test_repeats(words: list[str]) -> None:
    """The longest run that occurs twice, and the share of pairs seen before, by counting all runs."""
    text = " ".join(words)
    runs = Counter(tuple(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1))
    longest = max((len(run) for run, times in runs.items() if times > 1), default=0)
    assert text_statistics.longest_repeat(text) == longest
    pairs = [tuple(words[i : i + 2]) for i in range(len(words) - 1)]
    expected = None if not pairs else 1 - len(set(pairs)) / len(pairs)
    assert text_statistics.repetition_ratio(text, 2) == expected


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_statistics_of_arrays_are_numpys(xs: list[float]) -> None:
    """Population forms, as everywhere."""
    assert arrays.array_mean(xs) == pytest.approx(np.mean(xs), abs=1e-9)
    assert arrays.array_std(xs) == pytest.approx(np.std(xs), rel=1e-9, abs=1e-6)
    assert arrays.array_median(xs) == pytest.approx(np.median(xs), abs=1e-9)
    assert arithmetic.std(*xs) == arrays.array_std(xs)


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=10))
def test_entropy_is_scipys(xs: list[float]) -> None:
    """Over the logarithm of the count."""
    if sum(xs) < 1e-300:
        return
    assert arrays.entropy(xs) == pytest.approx(float(stats.entropy(xs)) / math.log(len(xs)), abs=1e-9)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_vectors_are_numpys(pairs: list[tuple[float, float]]) -> None:
    """Products, distances and norms."""
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    assert arrays.dot_product(a, b) == pytest.approx(float(np.dot(a, b)), rel=1e-9, abs=1e-3)
    assert arrays.euclidean_distance(a, b) == pytest.approx(float(np.linalg.norm(np.subtract(a, b))), rel=1e-9)
    assert arrays.norm(a, 1) == pytest.approx(float(np.linalg.norm(a, 1)), rel=1e-9)


@given(st.floats(-1e12, 1e12), st.integers(-3, 6))
def test_rounding_goes_away_from_zero(x: float, digits: int) -> None:
    """Of the number as it is written, so 2.675 rounds to 2.68."""
    found = arithmetic.round_(x, digits)
    step = Decimal(1).scaleb(-digits)
    expected = (Decimal(repr(x)) / step).quantize(Decimal(1), ROUND_HALF_UP) * step
    assert found == float(expected)
    assert arithmetic.round_(2.675, 2) == 2.68


@given(st.floats(-1e9, 1e9), st.sampled_from([0.01, 0.02, 0.3, 1, 7, 250]))
def test_fixed_buckets_hold_their_value(x: float, size: float) -> None:
    """The lower bound is at or below the value, and the next one above it."""
    low = kinds_of_values.fixed_buckets(x, size, 0)
    assert low <= x
    assert x < low + size * (1 + 1e-6) + abs(x) * 1e-11


@given(st.floats(1, 1e15), st.sampled_from([2, 3, 10, 1.5]))
def test_log_buckets_hold_their_value(x: float, base: float) -> None:
    """Powers of the base around the value, with its sign."""
    low = kinds_of_values.log_bucket(x, base)
    assert low <= x * (1 + 1e-12)
    assert x < low * base * (1 + 1e-12)
    assert kinds_of_values.log_bucket(-x, base) == -low


@pytest.mark.parametrize(
    ("here", "there", "km"),
    [
        ((52.5200, 13.4050), (48.8566, 2.3522), 877.5),
        ((40.6413, -73.7781), (51.4700, -0.4543), 5540),
        ((0, 0), (0, 0), 0),
    ],
)
def test_distances(here: tuple[float, float], there: tuple[float, float], km: float) -> None:
    """Berlin to Paris, New York to London, nowhere to nowhere."""
    assert kinds_of_values.distance_km(here, there) == pytest.approx(km, rel=0.002)


def test_geohash_is_the_published_example() -> None:
    """The point in Jutland that the format is explained with."""
    assert kinds_of_values.geohash((57.64911, 10.40744), 11) == "u4pruydqqvj"


@given(st.booleans(), st.floats(0, 1))
def test_probability_scores(label: bool, p: float) -> None:
    """Brier and log loss of one prediction, by their definitions."""
    y = int(label)
    assert models.brier(y, p) == pytest.approx((y - p) ** 2)
    clipped = min(max(p, 1e-15), 1 - 1e-15)
    assert models.log_loss(y, p) == pytest.approx(-(y * math.log(clipped) + (1 - y) * math.log(1 - clipped)), rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("email", "a.b+c@mail.example.com, x@y, @z.com, q@w.io.", ["a.b+c@mail.example.com", "q@w.io"]),
        (
            "phone",
            "+972-3-555-0199, (555) 010-9999; 12345; 2021-01-29; 10.0.0.1",
            ["+972-3-555-0199", "(555) 010-9999"],
        ),
        (
            "card",
            "4111-1111-1111-1111 and 5500 0000 0000 0004, not 1234 5678 9012 3456",
            ["4111-1111-1111-1111", "5500 0000 0000 0004"],
        ),
        ("ip", "10.0.0.1 999.1.1.1 fe80::1 12:30:45", ["10.0.0.1", "fe80::1"]),
        ("iban", "GB82 WEST 1234 5698 7654 32 but not GB82 WEST 1234 5698 7654 33", ["GB82 WEST 1234 5698 7654 32"]),
        ("url", "see http://a.example/x?y=1 or www.b.example", ["http://a.example/x?y=1", "www.b.example"]),
    ],
)
def test_patterns(kind: str, text: str, found: list[str]) -> None:
    """What is one, and what only looks like it."""
    assert list(patterns.find(kind, text)) == found


def test_masking_all() -> None:
    """Each kind by its own mark, card numbers before phone numbers."""
    from mona_server.config.functions.text import mask

    text = "mail a@b.co, call +1 555 010 9999, pay 4111 1111 1111 1111 by 2021-01-29"
    assert mask(text, "all") == "mail <email>, call <phone>, pay <card> by 2021-01-29"


@pytest.mark.parametrize(
    ("value", "top"),
    [
        ({"cat": 0.7, "dog": 0.2}, ("cat", 0.7, 0.2)),
        ([{"class": "cat", "score": 0.2}, {"class": "dog", "score": 0.7}, {"class": "cow"}], ("dog", 0.7, 0.2)),
        ({"only": 1.0}, ("only", 1.0, None)),
        ({}, (None, None, None)),
        ({"b": 0.5, "a": 0.5}, ("a", 0.5, 0.5)),
    ],
)
def test_classes_with_scores(value: Any, top: tuple[Any, Any, Any]) -> None:
    """Both shapes, ties in text order, too few scores give none."""
    keys = {"class_key": "class", "score_key": "score"}
    assert (
        models.predicted_class(value, **keys),
        models.top_score(value, **keys),
        models.second_score(value, **keys),
    ) == top
