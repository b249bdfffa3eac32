"""Residuals of rows: what the fields let expect is taken off, and what is far from the centre of its frame is cut off."""

from __future__ import annotations

import numpy as np
import pytest

from mona_server.detect.source import Effects
from mona_server.query.residuals import everybody, taken_off, with_residuals
from mona_server.query.rows import Rows

THERE = np.array([True, True, False, True, True, True])
DEVIATIONS = np.where(THERE, [1.0, -2.0, 0.0, 9.0, 4.0, 0.5], 0.0)
CODES = np.array([0, 1, 1, -1, 1, 0], np.int8)
STARTS = np.array([0, 3, 3, 6])
"""Three frames, the second of which is empty."""


def rows_of(sign: list[float] | None = None) -> Rows:
    signs = None if sign is None else np.array(sign)
    return Rows((), (CODES,), signs, (DEVIATIONS,), (THERE,), np.zeros(1), STARTS, None)


def cut_off(rows: Rows, effects: Effects, threads: int = 1) -> Rows:
    return with_residuals(rows, {0: effects}, taken_off(rows, {0: effects}, threads))


@pytest.mark.parametrize("threads", [1, 2])
def test_effects_and_constant_are_taken_off(threads: int) -> None:
    """A row without a code has no effect, one without a value no residual."""
    found = taken_off(rows_of(), {0: Effects((np.array([10.0, 20.0]),), constant=1.0)}, threads)
    assert found[0].tolist() == [-10.0, -23.0, 0.0, 8.0, -17.0, -10.5]


def test_what_is_far_from_the_centre_of_its_frame_is_cut_off() -> None:
    """Within one frame and across frames; a row without a value stays at 0, however far the centre is from it."""
    rows = cut_off(rows_of(), Effects((np.zeros(2),), limit=2.0, centre=np.array([3.0, 0.0, 1.0])))
    wanted = [1.0, 1.0, 0.0, 3.0, 3.0, 0.5]
    assert rows.values(1, 0, 6).tolist() == wanted
    assert [*rows.values(1, 0, 3), *rows.values(1, 3, 6)] == wanted
    assert rows.values(0, 0, 6).tolist() == DEVIATIONS.tolist()


@pytest.mark.parametrize("sign", [None, [1.0, 1.0, -1.0, 1.0, -1.0, 1.0]], ids=["plain", "corrections"])
def test_everybodys_sums_are_those_of_the_rows(sign: list[float] | None) -> None:
    """Of each frame, by sign; nothing of an empty one."""
    rows = cut_off(rows_of(sign), Effects((np.array([1.0, 2.0]),), limit=3.0))
    sums, weight = everybody(rows, (0, 1), 2), np.ones(6) if sign is None else np.array(sign)
    for i in range(2):
        values = rows.values(i, 0, 6)
        for frame, some in enumerate((slice(0, 3), slice(3, 3), slice(3, 6))):
            assert sums.count[i, frame] == weight[some] @ THERE[some]
            assert sums.total[i, frame] == pytest.approx(weight[some] @ values[some])
            assert sums.square[i, frame] == pytest.approx(weight[some] @ values[some] ** 2)
