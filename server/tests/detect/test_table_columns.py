"""Which rows of a column meet a condition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mona_server.detect.table_columns import coded, matches
from mona_server.segment import Condition, Differs, Equals, Matches, OneOf, Range


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Equals("ab"), [True, False, False, False]),
        (Equals(None), [False, False, False, True]),
        (Differs("ab"), [False, True, True, True]),
        (OneOf(("b", None)), [False, True, False, True]),
        (Matches("b$"), [True, True, False, False]),
        (Equals(1), [False, False, False, False]),
    ],
)
def test_conditions_on_texts(condition: Condition, expected: list[bool]) -> None:
    """Each condition picks the rows that its words say; true is not 1."""
    assert matches(coded(["ab", "b", True, None]), condition).tolist() == expected


def test_conditions_on_numbers() -> None:
    """Ranges are half open and never hold missing values."""
    column = np.array([1.0, 2.0, np.nan])
    for condition, options in itertools.groupby(
        [
            (Range(1, 2), [True, False, False]),
            (OneOf((2, None)), [False, True, True]),
            (Differs(1), [False, True, True]),
        ],
        key=lambda pair: pair[0],
    ):
        assert matches(column, condition).tolist() == next(options)[1]
