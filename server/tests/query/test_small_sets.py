"""Sums of cells and groups: whichever way they are added up, they are those of the rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.query import cells, products, small_sets
from mona_server.query.cells import Digit, supported
from mona_server.query.products import Products
from mona_server.query.rows import Rows
from mona_server.query.small_sets import SmallSets


@dataclass(frozen=True)
class Case:
    """Rows with four axes of these widths, in frames of uneven length."""

    rows: Rows
    codes: tuple[Any, ...]
    digits: dict[int, Digit]

    @classmethod
    def of(
        cls, seed: int, rows: int, *, frames: int = 3, signed: bool = False, widths: Sequence[int] = (3, 7, 2, 40)
    ) -> Case:
        rng = np.random.default_rng(seed)
        codes = tuple(rng.integers(-(width % 2), width, rows).astype(np.int16) for width in widths)
        there = rng.random(rows) < 0.8
        starts = np.sort(np.concatenate([[0, rows], rng.integers(0, rows + 1, frames - 1)])).astype(np.int64)
        deviations = (rng.normal(size=rows), np.where(there, rng.normal(size=rows), 0.0))
        sign = rng.choice([-1.0, 1.0, 1.0, 1.0], rows) if signed else None
        made = Rows((), codes, sign, deviations, (None, there), np.zeros(2), starts, None)
        return cls(made, codes, {axis: Digit.of(code) for axis, code in enumerate(codes)})

    def small_sets(self, threads: int = 1) -> SmallSets:
        return SmallSets(self.digits, len(self.codes[0]), Products(self.rows, threads))

    def grouped(self, axes: Sequence[int], min_size: float) -> dict[tuple[int, ...], Any]:
        """Codes → (width, K), in a pass of its own."""
        rows, digits = len(self.codes[0]), [self.digits[axis] for axis in axes]
        group, kept = supported(digits, rows, self.rows.sign, min_size, 2)
        (found,) = Products(self.rows, 1).by_frame([(lambda low, high: group[low:high], len(kept))])
        return by_codes((kept, found))

    def naive(self, axes: Sequence[int], min_size: float) -> dict[tuple[int, ...], Any]:
        """Codes → (width, K), row by row."""
        sign = np.ones(len(self.codes[0])) if self.rows.sign is None else self.rows.sign
        x, y = self.rows.deviations
        columns = np.stack([np.ones(len(x)), x, y, x * x, y * y, np.asarray(self.rows.present[1], float)])
        starts = self.rows.frame_starts
        found: dict[tuple[int, ...], Any] = {} if axes else {(): np.zeros((6, len(starts) - 1))}
        for frame in range(len(starts) - 1):
            for i in range(starts[frame], starts[frame + 1]):
                key = tuple(int(self.codes[axis][i]) for axis in axes)
                if min(key, default=0) >= 0:
                    found.setdefault(key, np.zeros((6, len(starts) - 1)))[:, frame] += sign[i] * columns[:, i]
        return {key: sums for key, sums in found.items() if not axes or sums[0].sum() >= min_size}


def by_codes(found: tuple[Any, Any]) -> dict[tuple[int, ...], Any]:
    kept, sums = found
    assert kept.tolist() == sorted(kept.tolist())
    return {tuple(codes): sums[:, :, s] for s, codes in enumerate(kept.tolist())}


def assert_same(mine: dict[Any, Any], naive: dict[Any, Any]) -> None:
    assert set(mine) == set(naive)
    for key, sums in naive.items():
        np.testing.assert_allclose(mine[key], sums, rtol=1e-9, atol=1e-9)


SETS = [axes for depth in range(4) for axes in itertools.combinations(range(4), depth)]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from([0, 1, 50, 600]),
    frames=st.sampled_from([1, 3]),
    signed=st.booleans(),
    min_size=st.sampled_from([1, 4]),
)
def test_cells_and_groups_are_the_sums_of_their_rows(
    seed: int, rows: int, frames: int, signed: bool, min_size: int
) -> None:
    """Small sets together and any set in a pass of its own: a loop over the rows gives the same, and they the same bits."""
    case = Case.of(seed, rows, frames=frames, signed=signed)
    small = case.small_sets()
    for axes in SETS:
        naive = case.naive(axes, min_size)
        few = small.sums(axes, min_size)
        grouped = case.grouped(axes, min_size)
        assert_same(grouped, naive)
        if few is not None:
            together = by_codes(few)
            assert {key: sums.tobytes() for key, sums in together.items()} == {
                key: sums.tobytes() for key, sums in grouped.items()
            }


def test_sets_with_many_cells_get_a_pass_of_their_own() -> None:
    """With 200 rows a frame there is room for 25 cells together, or 100 for a set alone."""
    small = Case.of(1, 600).small_sets()
    assert small.sums((0, 2), 1) is not None
    assert small.sums((1, 3), 1) is None


def test_axes_may_be_asked_for_in_any_order() -> None:
    """Codes come in the order of the axes that were asked for."""
    case = Case.of(2, 3000)
    found = case.small_sets().sums((2, 0), 1)
    assert found is not None
    assert_same(by_codes(found), case.naive((2, 0), 1))


def test_what_was_asked_before_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any order of questions, any number of threads, and nothing kept at all: the same bytes."""
    case = Case.of(3, 5000, signed=True)

    def answers(order: Sequence[tuple[int, ...]], threads: int) -> dict[tuple[int, ...], tuple[bytes, bytes] | None]:
        small = case.small_sets(threads)
        found = {axes: small.sums(axes, 1) for axes in order}
        return {axes: None if one is None else (one[0].tobytes(), one[1].tobytes()) for axes, one in found.items()}

    first = answers(SETS, 1)
    assert sum(one is not None for one in first.values()) > 8
    assert answers(SETS[::-1], 3) == first
    assert all(answers([axes], 1)[axes] == first[axes] for axes in SETS)
    monkeypatch.setattr(SmallSets, "_fitting", lambda *_: set())
    assert answers(SETS, 1) == first


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that do not fit any more are made anew, and are right."""
    monkeypatch.setattr(small_sets, "CELLS_BYTES", 8 * 6 * 3 * 100)
    case = Case.of(4, 5000)
    small = case.small_sets()
    for axes in SETS:
        found = small.sums(axes, 1)
        if found is not None:
            assert_same(by_codes(found), case.naive(axes, 1))
    assert 0 < sum(kept.nbytes for kept in small._kept.values()) <= small_sets.CELLS_BYTES


def test_an_answer_cannot_spoil_the_next_one() -> None:
    """Answers may be views of what is kept, so nobody can write into them."""
    found = Case.of(5, 5000).small_sets().sums((2, 3), 1)
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found[1][:] = 0


@pytest.mark.parametrize("spare", [0, 1_000_000])
def test_cells_that_outnumber_the_rows_are_dropped_on_the_way(monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    """Axes are put together in steps, by counting or by sorting; what is too small in between is too small."""
    monkeypatch.setattr(cells, "SPARE_CELLS", spare)
    case = Case.of(6, 400, widths=(31, 29, 23, 19))
    for axes in ((0, 1), (0, 1, 2), (0, 1, 2, 3)):
        for min_size in (1, 2):
            assert_same(case.grouped(axes, min_size), case.naive(axes, min_size))


def test_long_frames_are_summed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that is longer than a block has the sum of its blocks."""
    case = Case.of(7, 2000)
    monkeypatch.setattr(products, "BLOCK_BYTES", 8 * 6 * 100)
    found = case.small_sets().sums((0, 1), 1)
    assert found is not None
    assert_same(by_codes(found), case.naive((0, 1), 1))
