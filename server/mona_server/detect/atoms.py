"""Atoms of segments: the rows that lie in exactly the same of them.

Which segments a row is in follows from its codes. For each code of an axis a table has the segments that it allows, as the
bits of a word; a row is in those that all of its codes allow. So :data:`WORD` segments take one look-up per axis. Words
are made and numbered block by block and never kept: eight bytes for each row would cost more than making them does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Axis
from mona_server.segment import Condition, Range, Segment
from mona_server.threads import in_threads

Words = NDArray[np.int64]
Keys = Callable[[slice], Words]
"""Numbers of some rows, made when they are asked for."""
Mask = NDArray[np.bool_]
Places = NDArray[np.int32]
RowCodes = NDArray[np.signedinteger[Any]]
WORD = 62
"""So many segments share a word, which stays positive."""
SLOTS = 2**18
"""Keys of fewer rows than this are sorted; of more each goes to one of so many slots, chosen by ..."""
SPREAD = 0x9E3779B97F4A7C15
"""... the first bits of its product with this odd number, 2**64 over the golden ratio (Knuth, volume 3, section 6.4)."""
BLOCK_ROWS = 2**16
"""Rows are looked up in blocks that stay in the processor's cache."""
MOST_KEYS = 2**63
"""Keys of several words together are below this."""


class Lookup:
    """Rows to be looked up in segments by their codes."""

    def __init__(
        self,
        axes: Sequence[Axis],
        codes: Sequence[RowCodes | None],
        rows: int,
        ask: Callable[[Sequence[tuple[int, Segment]]], Words],
        threads: int = 1,
    ) -> None:
        """``codes`` of each axis (rows,), -1 = in none of its conditions; None where a row may have several.

        ``ask`` gives the words of segments that codes do not tell, from (bit, segment).
        """
        self._axes, self._codes, self._rows, self._ask, self._threads = axes, codes, rows, ask, threads

    def inside(self, segment: Segment) -> NDArray[np.intp]:
        """The rows inside of a segment, ascending."""
        word = self._word([segment])
        blocks = in_threads(lambda rows: rows.start + np.flatnonzero(word(rows)), _blocks(self._rows), self._threads)
        return np.concatenate([np.zeros(0, np.intp), *blocks])

    def atoms(self, segments: Sequence[Segment]) -> tuple[Places, Mask]:
        """The atom of each row, (rows,), and which segments each atom is in, (A, G); ascending as those of :func:`numbered`."""
        words = [self._word(segments[first : first + WORD]) for first in range(0, len(segments), WORD)]
        return numbered(words, len(segments), self._rows, self._threads)

    def _word(self, segments: Sequence[Segment]) -> Keys:
        """Bit i of a row's word says whether it is inside of segment i, of at most :data:`WORD`."""
        tables: dict[int, Words] = {}
        told, asked = 0, list[tuple[int, Segment]]()
        for i, segment in enumerate(segments):
            chosen = self._told(segment)
            if chosen is None:
                asked.append((i, segment))
                continue
            told |= 1 << i
            for axis, allowed in chosen.items():
                table = tables.setdefault(axis, np.full(len(self._axes[axis].conditions) + 1, -1, np.int64))
                apart = np.ones(len(table), bool)
                apart[allowed] = False
                table[apart] &= ~(1 << i)
        looked_up = [(table, codes) for axis, table in tables.items() if (codes := self._codes[axis]) is not None]
        others = self._ask(asked) if asked else None

        def word(rows: slice) -> Words:
            found = np.full(len(range(*rows.indices(self._rows))), told, np.int64)
            for table, codes in looked_up:
                found &= table[codes[rows]]
            return found if others is None else found | others[rows]

        return word

    def _told(self, segment: Segment) -> dict[int, list[int]] | None:
        """Axis → the codes of the rows inside of a segment; None where codes cannot tell."""
        found: dict[int, list[int]] = {}
        for name, options in segment.conditions:
            for place, axis in enumerate(self._axes):
                told = axis.field == name and self._codes[place] is not None
                allowed = codes_for(axis, options) if told else None
                if allowed is not None:
                    found[place] = allowed
                    break
            else:
                return None
        return found


def numbered(words: Sequence[Keys], segments: int, rows: int, threads: int = 1) -> tuple[Places, Mask]:
    """The atom of each row, and which of the segments each atom is in, from words of :data:`WORD` segments each.

    Atoms are ascending by the words of their rows, those of the first segments first.

    >>> atom, member = numbered([lambda rows: np.array([0, 2, 3, 2])[rows]], 2, 4)
    >>> atom.tolist(), member.tolist()
    ([0, 1, 2, 1], [[False, False], [False, True], [True, True]])
    """

    def part(first: int) -> tuple[Places, Mask]:
        seen, place = distinct(words[first // WORD], rows)
        return place, (seen[:, None] >> np.arange(min(WORD, segments - first)) & 1).astype(bool)

    if not words:
        return np.zeros(rows, np.int32), np.zeros((min(rows, 1), 0), bool)
    parts = in_threads(part, range(0, segments, WORD), threads)
    while len(parts) > 1:
        some = 2  # which are always few enough
        while some < len(parts) and math.prod(len(member) for _, member in parts[: some + 1]) < MOST_KEYS:
            some += 1
        parts = [_merged(parts[:some], rows), *parts[some:]]
    return parts[0]


def _merged(parts: Sequence[tuple[Places, Mask]], rows: int) -> tuple[Places, Mask]:
    """One place for those in several parts; ascending by that in the first part, then in the second."""

    def keys(block: slice) -> Words:
        found = parts[0][0][block].astype(np.int64)
        for place, member in parts[1:]:
            found *= len(member)
            found += place[block]
        return found

    seen, place = distinct(keys, rows)
    columns = list[Mask]()
    for _, member in reversed(parts):
        seen, digit = np.divmod(seen, max(len(member), 1))
        columns.insert(0, member[digit])
    return place, np.concatenate(columns, axis=1)


def distinct(keys: Keys, rows: int, spread: int = SPREAD) -> tuple[Words, Places]:
    """The distinct keys of so many rows (D,), ascending, and the place of each row's among them (rows,).

    That is :func:`numpy.unique` without a sort. Each slot of a table keeps the first key that is spread to it. Rows of other
    keys are fewer by far and go to another table, unless they are most: those are sorted. So it takes few passes
    while there are not many times as many distinct keys as slots.

    >>> distinct(lambda rows: np.array([7, -2, 7])[rows], 3)
    (array([-2,  7]), array([1, 0, 1], dtype=int32))
    """
    if rows < SLOTS:
        return _sorted(keys(slice(0, rows)))
    table, taken = np.zeros(SLOTS, np.int64), np.zeros(SLOTS, bool)
    place = np.empty(rows, np.int32)
    late, late_keys = list[NDArray[np.intp]](), list[Words]()
    for block in _blocks(rows):
        asked = keys(block)
        slot = asked.view(np.uint64) * np.uint64(spread) >> np.uint64(64 - SLOTS.bit_length() + 1)
        place[block] = slot
        free = np.flatnonzero(~taken[slot])
        table[slot[free]] = asked[free]
        taken[slot[free]] = True
        lost = np.flatnonzero(table[slot] != asked)
        late.append(block.start + lost)
        late_keys.append(asked[lost])
    left, left_keys = np.concatenate(late), np.concatenate(late_keys)
    if 2 * len(left) > rows:
        return _sorted(np.concatenate([keys(block) for block in _blocks(rows)]))
    others, place_left = distinct(lambda block: left_keys[block], len(left), spread * SPREAD % 2**64)
    seen = np.union1d(table[taken], others)
    rank = np.searchsorted(seen, table).astype(np.int32)
    for block in _blocks(rows):
        place[block] = rank[place[block]]
    place[left] = np.searchsorted(seen, others).astype(np.int32)[place_left]
    return seen, place


def _sorted(keys: Words) -> tuple[Words, Places]:
    seen, place = np.unique(keys, return_inverse=True)
    return seen, place.astype(np.int32)


def _blocks(rows: int) -> list[slice]:
    return [slice(start, min(start + BLOCK_ROWS, rows)) for start in range(0, rows, BLOCK_ROWS)]


def codes_for(axis: Axis, options: Sequence[Condition]) -> list[int] | None:
    """The codes that together are exactly these alternatives; None when some cannot be told from codes."""
    chosen: list[int] = []
    for option in options:
        place = axis.place(option)
        if place is not None:
            chosen.append(place)
            continue
        if not (axis.ordered and isinstance(option, Range)):
            return None
        ranges = [(i, c) for i, c in enumerate(axis.conditions) if isinstance(c, Range)]
        first = next((i for i, c in ranges if c.min_value == option.min_value), None)
        last = next((i for i, c in ranges if c.max_value == option.max_value), None)
        if first is None or last is None or last < first:
            return None
        chosen.extend(range(first, last + 1))
    return chosen
