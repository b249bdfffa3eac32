"""Atoms from codes against masks of each segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mona_server.detect import atoms
from mona_server.detect.atoms import WORD, Lookup, distinct, numbered
from mona_server.detect.source import Axis
from mona_server.segment import Condition, Equals, Range, Segment

COLORS = tuple(Equals(name) for name in ("red", "green", "blue"))
BUCKETS = (Range(None, 0), Range(0, 5), Range(5, None), Equals(None))
AXES = (Axis("color", COLORS), Axis("amount", BUCKETS, ordered=True), Axis("tags", COLORS, overlapping=True))
CHOICES: list[tuple[Condition, ...]] = [(one,) for one in BUCKETS] + [(Range(None, 5),), (BUCKETS[0], BUCKETS[3])]


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Of a color, of buckets or unions of them, of a tag, or everybody."""
    conditions: dict[str, Condition | Sequence[Condition]] = {}
    if draw(st.booleans()):
        conditions["color"] = draw(st.sampled_from([*COLORS, Equals("never seen")]))
    if draw(st.booleans()):
        conditions["amount"] = draw(st.sampled_from(CHOICES))
    if draw(st.integers(0, 4)) == 0:
        conditions["tags"] = draw(st.sampled_from(COLORS))
    return Segment.of(conditions)


ROWS = st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 3), st.integers(0, 2)), max_size=30)


def _inside(segment: Segment, row: tuple[int, int, int]) -> bool:
    for name, options in segment.conditions:
        place = [axis.field for axis in AXES].index(name)
        mine = AXES[place].conditions[row[place]] if row[place] >= 0 else None
        union = name == "amount" and options == (Range(None, 5),) and mine in BUCKETS[:2]
        if mine not in options and not union:
            return False
    return True


@given(ROWS, st.lists(segments(), max_size=2 * WORD + 10))
def test_rows_of_an_atom_are_inside_of_the_same_segments(
    rows: list[tuple[int, int, int]], chosen: list[Segment]
) -> None:
    """What codes do not tell (an array field, a value that the axis does not have) is asked for."""
    codes = np.array(rows, np.int8).reshape(-1, 3)

    def ask(asked: Sequence[tuple[int, Segment]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        for _, segment in asked:
            conditions = dict(segment.conditions)
            assert "tags" in conditions or conditions.get("color") == (Equals("never seen"),)
        return np.array([sum(_inside(segment, row) << i for i, segment in asked) for row in rows], np.int64)

    lookup = Lookup(AXES, [codes[:, 0], codes[:, 1], None], len(rows), ask, threads=2)
    atom, member = lookup.atoms(chosen)
    assert member.shape == (len({tuple(m) for m in member.tolist()}), len(chosen))
    assert sorted(set(atom.tolist())) == list(range(len(member)))
    for row, number in zip(rows, atom, strict=True):
        assert member[number].tolist() == [_inside(segment, row) for segment in chosen]


@pytest.mark.parametrize("most", [2, 2**63])
def test_atoms_are_ascending(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So their numbers do not depend on the order of the rows; those of the first segments come first.

    Where keys of several words would be too many, words are taken together one by one.
    """
    monkeypatch.setattr(atoms, "MOST_KEYS", most)
    words = [np.array([1, 0, 2, 2]), np.array([0, 0, 1, 0])]
    atom, member = numbered([word.__getitem__ for word in words], WORD + 1, 4)
    assert atom.tolist() == [1, 0, 3, 2]
    assert np.flatnonzero(member[3]).tolist() == [1, WORD]
    four = [np.array([5, 0, 0, 5, 5]), np.array([1, 1, 0, 1, 1]), np.array([0, 2, 2, 0, 0]), np.array([1, 0, 0, 1, 0])]
    atom, member = numbered([word.__getitem__ for word in four], 3 * WORD + 1, 5)
    assert atom.tolist() == [3, 1, 0, 3, 2]
    assert np.flatnonzero(member[3]).tolist() == [0, 2, WORD, 3 * WORD]


def test_no_atom_is_empty() -> None:
    """Where every row is in a segment, none is for rows outside."""
    atom, member = numbered([np.array([1, 3]).__getitem__], 2, 2)
    assert (atom.tolist(), member.tolist()) == ([0, 1], [[True, False], [True, True]])


@pytest.mark.parametrize("spread", [1, 40, 100_000, 2**62])
def test_distinct_keys_are_those_of_a_sort(spread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where far more keys than slots share them, and where blocks are cut anywhere."""
    monkeypatch.setattr(atoms, "BLOCK_ROWS", 1000)
    rng = np.random.default_rng(spread)
    for slots in (2, 64, 2**12):
        monkeypatch.setattr(atoms, "SLOTS", slots)
        keys = rng.integers(-spread, spread, 12_345)
        for mine, theirs in zip(
            distinct(keys.__getitem__, len(keys)), np.unique(keys, return_inverse=True), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)
