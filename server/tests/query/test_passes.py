"""Sums of cells and groups: whichever way they are added up, they are those of the rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.detect.source import Effects
from mona_server.query import cells, passes, products
from mona_server.query.cells import Digit, supported
from mona_server.query.passes import Passes
from mona_server.query.products import Products
from mona_server.query.rows import Rows


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

    def passes(self, threads: int = 1) -> Passes:
        return passes_of(self, Products(self.rows, threads))

    def grouped(self, axes: Sequence[int], min_size: float) -> dict[tuple[int, ...], Any]:
        """Codes → (width, K), in a pass of its own."""
        rows, digits = len(self.codes[0]), [self.digits[axis] for axis in axes]
        group, kept = supported(digits, rows, self.rows.sign, min_size, 2)
        ((found,),) = Products(self.rows, 1).by_frame([(lambda low, high: group[low:high], len(kept))])
        return by_codes((kept, (found,)))

    def naive(self, axes: Sequence[int], min_size: float) -> dict[tuple[int, ...], Any]:
        """Codes → (width, K), row by row."""
        sign = np.ones(len(self.codes[0])) if self.rows.sign is None else self.rows.sign
        x, y = self.rows.deviations
        columns = np.stack([np.ones(len(x)), np.asarray(self.rows.present[1], float), x, y, x * x, y * y])
        starts = self.rows.frame_starts
        found: dict[tuple[int, ...], Any] = {} if axes else {(): np.zeros((6, len(starts) - 1))}
        for frame in range(len(starts) - 1):
            for i in range(starts[frame], starts[frame + 1]):
                key = tuple(int(self.codes[axis][i]) for axis in axes)
                if min(key, default=0) >= 0:
                    found.setdefault(key, np.zeros((6, len(starts) - 1)))[:, frame] += sign[i] * columns[:, i]
        return {key: sums for key, sums in found.items() if not axes or sums[0].sum() >= min_size}


def passes_of(case: Case, products: Products) -> Passes:
    return Passes(case.digits, case.rows.sign, len(case.codes[0]), products)


def by_codes(found: tuple[Any, Any]) -> dict[tuple[int, ...], Any]:
    kept, (sums,) = found
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
    """All sets in shared passes and each in a pass of its own: a loop over the rows gives the same, and they the same bits."""
    case = Case.of(seed, rows, frames=frames, signed=signed)
    for axes, found in zip(SETS, case.passes().sums(SETS, min_size), strict=True):
        grouped = case.grouped(axes, min_size)
        assert_same(grouped, case.naive(axes, min_size))
        together = by_codes(found)
        assert {key: sums.tobytes() for key, sums in together.items()} == {
            key: sums.tobytes() for key, sums in grouped.items()
        }


def test_axes_may_be_asked_for_in_any_order() -> None:
    """Codes come in the order of the axes that were asked for."""
    case = Case.of(2, 3000)
    (found,) = case.passes().sums([(2, 0)], 1)
    assert_same(by_codes(found), case.naive((2, 0), 1))


@pytest.mark.parametrize("room", [0, 10_000, 10**9])
def test_what_shares_a_pass_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Any order of sets, any number of threads, and any number of sets in a pass: the same bytes."""
    case = Case.of(3, 5000, signed=True)

    def answers(order: Sequence[tuple[int, ...]], threads: int) -> dict[tuple[int, ...], tuple[bytes, bytes]]:
        found = zip(order, case.passes(threads).sums(order, 1), strict=True)
        return {axes: (codes.tobytes(), sums.tobytes()) for axes, (codes, (sums,)) in found}

    first = {axes: answers([axes], 1)[axes] for axes in SETS}
    monkeypatch.setattr(passes, "PASS_BYTES", room)
    assert answers(SETS, 1) == first
    assert answers(SETS[::-1], 3) == first


def test_stretches_tell_the_same_over_their_frames() -> None:
    """Contexts and totals of residuals by frame have the same bits; the rest is added up over the frames of each stretch."""
    case = Case.of(8, 3000, frames=7)
    rows = replace(case.rows, cuts={1: Effects((), limit=1.0)})
    stretches = ((0, 3), (3, 4), (4, 7))
    for axes in ((), (0,), (1, 3)):
        ((codes, (every,)),) = passes_of(case, Products(rows, 2)).sums([axes], 1)
        ((same, (followed, whole)),) = passes_of(case, Products(rows, 2, stretches)).sums([axes], 1)
        np.testing.assert_array_equal(codes, same)
        np.testing.assert_array_equal(every[[0, 1, 3]], followed)
        added = np.stack([every[2:, a:b].sum(axis=1) for a, b in stretches], axis=1)
        np.testing.assert_allclose(whole, added, rtol=1e-12, atol=1e-12)


def test_a_pass_holds_no_more_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of sets that share a pass fit into what a pass may take, and a set that does not fit is alone."""
    monkeypatch.setattr(passes, "PASS_BYTES", 100_000)
    case = Case.of(4, 5000)
    taken: list[list[int]] = []
    plain = Products.by_frame

    def watched(self: Products, groupings: Any, *rest: Any) -> Any:
        found = plain(self, groupings, *rest)
        taken.append([sums.nbytes for (sums,) in found])
        return found

    monkeypatch.setattr(Products, "by_frame", watched)
    for axes, found in zip(SETS, case.passes().sums(SETS, 1), strict=True):
        assert_same(by_codes(found), case.naive(axes, 1))
    assert 1 < len(taken) < len(SETS)
    assert all(sum(sizes) <= 100_000 or len(sizes) == 1 for sizes in taken)


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
    (found,) = case.passes().sums([(0, 1)], 1)
    assert_same(by_codes(found), case.naive((0, 1), 1))
