"""Arithmetic. A domain error (log of -1, division by 0) or a result that is not finite is null and a problem."""

from __future__ import annotations

import math

from mona_server.config.functions.declare import Arg, Group
from mona_server.config.functions.kinds import BASE, INTEGER, NUMBER, NUMBERS

GROUP = Group("Arithmetic")
function = GROUP.function
K = (Arg("k", NUMBER),)


@function("N N+", "N", operands=K, example=((1, 2, 3), (), 6))
def add(*xs: float) -> float:
    """Sum of the sources, or of one source and the argument."""
    return sum(xs) if all(isinstance(x, int) for x in xs) else math.fsum(xs)


@function("N N+", "N", operands=K, example=((4,), (2.5,), 10.0))
def multiply(*xs: float) -> float:
    """Product of the sources, or of one source and the argument."""
    return math.prod(xs)


@function("N N", "N", operands=K, example=((5, 3), (), 2))
def subtract(a: float, b: float) -> float:
    """First minus second."""
    return a - b


@function("N N", "N", operands=K, example=((1, 4), (), 0.25))
def divide(a: float, b: float) -> float:
    """First divided by second; null where the second is 0."""
    return a / b


@function("N N", "N", operands=K, example=((-7,), (3,), 2))
def modulo(a: float, b: float) -> float:
    """Remainder of first by second; it has the sign of the second."""
    return a % b


@function("N N", "N", operands=K, example=((2,), (10,), 1024.0))
def power(a: float, b: float) -> float:
    """First to the power of the second."""
    return math.pow(a, b)


@function("N", "N", example=((-3,), (), 3))
def abs_(x: float) -> float:
    """Distance from 0."""
    return abs(x)


@function("N", "N", example=((3,), (), -3))
def negate(x: float) -> float:
    """The number with its sign changed."""
    return -x


@function("N", "N", example=((9,), (), 3.0))
def sqrt(x: float) -> float:
    """Square root; null below 0."""
    return math.sqrt(x)


@function("N", "N", example=((0,), (), 1.0))
def exp(x: float) -> float:
    """e to the power of the number."""
    return math.exp(x)


@function("N", "N", example=((2.7,), (), 2))
def floor(x: float) -> int:
    """The next whole number below."""
    return math.floor(x)


@function("N", "N", example=((2.1,), (), 3))
def ceil(x: float) -> int:
    """The next whole number above."""
    return math.ceil(x)


@function("N", "N", example=((-2.5,), (), -1))
def sign(x: float) -> int:
    """-1, 0 or 1."""
    return (x > 0) - (x < 0)


@function("N", "N", args=[Arg("base", BASE, None)], example=((8,), (2,), 3.0))
def log(x: float, base: float | None) -> float:
    """Logarithm to the base (default e); null at or below 0."""
    if base == 2:
        return math.log2(x)
    if base == 10:
        return math.log10(x)
    return math.log(x) if base is None else math.log(x, base)


@function("N", "N", example=((-1,), (), -0.6931471805599453))
def log1p_signed(x: float) -> float:
    """sign(x)·ln(1 + |x|): tames both tails."""
    return math.copysign(math.log1p(abs(x)), x)


@function("N", "N", args=[Arg("digits", INTEGER, 0)], example=((2.5,), (), 3.0))
def round_(x: float, digits: int) -> float:
    """Rounded to so many digits after the point, halves away from zero; negative digits round to tens ..."""
    from decimal import ROUND_HALF_UP, Context, Decimal

    if abs(digits) > 300:
        return x if digits > 0 else 0.0
    exact = Decimal(repr(x) if isinstance(x, float) else x)  # as written: 2.675 rounds to 2.68
    return float(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, Context(prec=700)))


@function("N", "N", args=[Arg("low", NUMBER, None), Arg("high", NUMBER, None)], example=((12,), (0, 10), 10))
def clip(x: float, low: float | None, high: float | None) -> float:
    """The nearest number between low and high; null leaves a side open."""
    if low is not None and x < low:
        return low
    return high if high is not None and x > high else x


@function("N", "N", args=[Arg("factor", NUMBER), Arg("offset", NUMBER, 0)], example=((100,), (1.8, 32), 212.0))
def scale(x: float, factor: float, offset: float) -> float:
    """x·factor + offset."""
    return x * factor + offset


@function("N N", "N", example=((0.25, 1), (), -0.75))
def delta(a: float, b: float) -> float:
    """First minus second."""
    return a - b


@function("N N", "N", example=((0.25, 1), (), 0.75))
def abs_delta(a: float, b: float) -> float:
    """Distance of the two."""
    return abs(a - b)


@function("N N", "N", example=((900, 1000), (), -0.1))
def relative_delta(a: float, b: float) -> float:
    """(a - b) / |b|; null where b is 0."""
    return (a - b) / abs(b)


@function("N N", "N", example=((1, 3), (), 4))
def squared_error(a: float, b: float) -> float:
    """(a - b)²."""
    return (a - b) * (a - b)


@function("N N", "N", example=((1, 3), (), 2))
def absolute_error(a: float, b: float) -> float:
    """|a - b|."""
    return abs(a - b)


@function("N+", "N", nulls="skip", example=((3, None, 1), (), 1))
def min_(*xs: float) -> float:
    """Least of the sources that have a value."""
    return min(xs)


@function("N+", "N", nulls="skip", example=((3, None, 1), (), 3))
def max_(*xs: float) -> float:
    """Largest of the sources that have a value."""
    return max(xs)


@function("N+", "N", nulls="skip", example=((3, None, 1), (), 4))
def sum_(*xs: float) -> float:
    """Sum of the sources that have a value."""
    return sum(xs) if all(isinstance(x, int) for x in xs) else math.fsum(xs)


@function("N+", "N", nulls="skip", example=((3, None, 1), (), 2.0))
def mean(*xs: float) -> float:
    """Average of the sources that have a value."""
    return math.fsum(xs) / len(xs)


@function("N+", "N", nulls="skip", example=((3, None, 1), (), 1.0))
def std(*xs: float) -> float:
    """Population standard deviation of the sources that have a value."""
    return population_std(xs)


def population_std(xs: tuple[float, ...] | list[float]) -> float:
    """Square root of the mean squared distance from the mean (ddof=0)."""
    middle = math.fsum(xs) / len(xs)
    return math.sqrt(math.fsum((x - middle) * (x - middle) for x in xs) / len(xs))


@function("X+", "N", nulls="see", example=((3, None, "a"), (), 2))
def count_non_null(*values: object) -> int:
    """How many sources have a value; never null."""
    return sum(value is not None for value in values)


@function(
    "N+",
    "N",
    args=[Arg("weights", NUMBERS), Arg("bias", NUMBER, 0)],
    check=lambda args, n: None if len(args["weights"]) == n else "needs as many weights as sources",
    example=((1, 2), ([10, 100], 5), 215.0),
)
def linear(*xs: float, weights: tuple[float, ...], bias: float) -> float:
    """Weighted sum of the sources plus the bias; there are as many weights as sources."""
    return math.fsum((bias, *(x * weight for x, weight in zip(xs, weights, strict=True))))
