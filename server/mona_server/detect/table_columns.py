"""Columns in memory: their values, which of their rows meet a condition, and rows coded by conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import re2
from numpy.typing import NDArray

from mona_server.detect.source import Codes, Floats
from mona_server.segment import Condition, Differs, Equals, Matches, OneOf, Range, Scalar

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Coded:
    """A text or boolean column: row i has the value ``values[codes[i]]``, and none where the code is -1."""

    codes: Codes
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Elements:
    """An array column of ``length`` rows: element i stands in row ``rows[i]``; each row holds a value once."""

    rows: NDArray[np.int64]
    codes: Codes
    values: tuple[Scalar, ...]
    length: int


Column = Floats | Coded | Elements
"""Numbers are floats with NaN for "no value"."""


def coded(values: Sequence[Scalar | None] | NDArray[np.object_]) -> Coded:
    """A column of texts or booleans from Python values; ``None`` is missing. Values are sorted by their text.

    >>> coded(["b", None, "a"])
    Coded(codes=array([ 1, -1,  0], dtype=int32), values=('a', 'b'))
    """
    distinct = tuple(sorted(set(values) - {None}, key=str))
    place: dict[Scalar | None, int] = {value: code for code, value in enumerate(distinct)}
    place[None] = -1
    return Coded(np.fromiter(map(place.__getitem__, values), np.int32, len(values)), distinct)


def values_of(column: Column) -> tuple[Condition, ...]:
    """Each value on its own, then MISSING."""
    if isinstance(column, Coded | Elements):
        return (*(Equals(value) for value in column.values), Equals(None))
    distinct = np.unique(column[~np.isnan(column)])
    return (*(Equals(int(v) if float(v).is_integer() else float(v)) for v in distinct), Equals(None))


def first_met(column: Floats | Coded, conditions: tuple[Condition, ...]) -> Codes:
    """(rows,): the number of the first condition that the row meets, or -1."""
    if not isinstance(column, Coded):
        code = np.full(len(column), -1, np.int32)
        for i in range(len(conditions) - 1, -1, -1):
            code[matches(column, conditions[i])] = i
        return code
    exact = {(isinstance(c.value, bool), c.value): i for i, c in enumerate(conditions) if isinstance(c, Equals)}
    others = [(i, c) for i, c in enumerate(conditions) if not isinstance(c, Equals)]
    table = np.empty(len(column.values) + 1, np.int32)
    for place, value in enumerate((*column.values, None)):
        found = [i for i, c in others if _meets(value, c)]
        table[place] = min([*found, exact.get((isinstance(value, bool), value), len(conditions))])
    table[table == len(conditions)] = -1
    return table[column.codes]


def matches(column: Column, condition: Condition) -> Mask:
    """(rows,): does the row meet the condition. A row of an array column does when one of its elements does."""
    if isinstance(column, Elements):
        inside = np.zeros(column.length, bool)
        inside[column.rows[matches(Coded(column.codes, column.values), condition)]] = True
        empty = np.ones(column.length, bool)
        empty[column.rows] = False
        wants_missing = bool(matches(Coded(np.full(1, -1, np.int32), ()), condition)[0])
        return inside | empty if wants_missing else inside
    if isinstance(column, Coded):
        verdicts = np.array([_meets(value, condition) for value in (*column.values, None)], bool)
        return verdicts[column.codes]
    missing = np.isnan(column)
    if isinstance(condition, Equals | Differs):
        if condition.value is None:
            same = missing
        else:
            same = column == _number(condition.value)
        return same if isinstance(condition, Equals) else ~same
    if isinstance(condition, OneOf):
        inside = np.isin(column, [_number(v) for v in condition.values if v is not None])
        return inside | missing if None in condition.values else inside
    if isinstance(condition, Range):
        inside = ~missing
        if condition.min_value is not None:
            inside &= column >= condition.min_value
        if condition.max_value is not None:
            inside &= column < condition.max_value
        return inside
    return np.zeros(len(column), bool)  # a pattern never fits a number


def _meets(value: Scalar | None, condition: Condition) -> bool:
    match condition:
        case Equals(wanted):
            return _same(value, wanted)
        case Differs(unwanted):
            return not _same(value, unwanted)
        case OneOf(values):
            return any(_same(value, wanted) for wanted in values)
        case Matches(regex):
            return isinstance(value, str) and re2.search(regex, value) is not None
        case Range(low, high):
            if isinstance(value, str) or value is None:
                return False
            return (low is None or value >= low) and (high is None or value < high)


def _same(value: Scalar | None, wanted: Scalar | None) -> bool:
    """Equality that keeps true apart from 1."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _number(value: Scalar) -> float:
    return np.nan if isinstance(value, str) else float(value)
