"""Atoms of segments: the rows that lie in exactly the same of them.

Which segments a row is in follows from its codes. For each code of an axis a table has the segments that it allows, as the
bits of a word; a row is in those that all of its codes allow. So :data:`WORD` segments take one look-up per axis, and only
rows that are in one of them are numbered further: most are in none, as segments are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import Axis
from mona_server.segment import Condition, Range, Segment
from mona_server.threads import in_threads

Words = NDArray[np.int64]
RowCodes = NDArray[np.signedinteger[Any]]
WORD = 62
"""So many segments share a word, which stays positive."""
SLOTS = 2**18
"""Fewer keys than this are sorted; of more each goes to one of so many slots, chosen by ..."""
SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""... the first bits of its product with this odd number, 2**64 over the golden ratio (Knuth, volume 3, section 6.4)."""
BLOCK_ROWS = 2**16
"""Rows are looked up in blocks that stay in the processor's cache."""


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

    def word(self, segments: Sequence[Segment]) -> Words:
        """(rows,): bit i says whether the row is inside of segment i, of at most :data:`WORD`."""
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
                others = np.ones(len(table), bool)
                others[allowed] = False
                table[others] &= ~(1 << i)
        word = np.full(self._rows, told, np.int64)
        looked_up = [(table, codes) for axis, table in tables.items() if (codes := self._codes[axis]) is not None]

        def look_up(start: int) -> None:
            rows = slice(start, start + BLOCK_ROWS)
            for table, codes in looked_up:
                word[rows] &= table[codes[rows]]

        in_threads(look_up, range(0, self._rows, BLOCK_ROWS), self._threads)
        return word | self._ask(asked) if asked else word

    def atoms(self, segments: Sequence[Segment]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """The atom of each row, (rows,), and which segments each atom is in, (A, G); ascending as those of :func:`numbered`."""
        words = (self.word(segments[first : first + WORD]) for first in range(0, len(segments), WORD))
        return numbered(words, len(segments), self._rows)

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


def numbered(words: Iterator[Words], segments: int, rows: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The atom of each row, and which of the segments each atom is in, from the words of :meth:`Lookup.word`.

    Atoms are ascending by the words of their rows, those of the first segments first.

    >>> atom, member = numbered(iter([np.array([0, 2, 3, 2])]), 2, 4)
    >>> atom.tolist(), member.tolist()
    ([0, 1, 2, 1], [[False, False], [False, True], [True, True]])
    """
    atom, member = np.zeros(rows, np.int32), np.zeros((1, 0), bool)  # atom 0: in none so far
    for word in words:
        inside = np.flatnonzero(word | atom)
        seen, place = distinct(word[inside])
        before = np.zeros((len(seen), member.shape[1]), bool)
        if len(member) > 1:
            pairs, place = distinct(atom[inside] * np.int64(len(seen)) + place)
            before, seen = member[pairs // len(seen)], seen[pairs % len(seen)]
        atom[inside] = place + 1
        bits = (seen[:, None] >> np.arange(min(WORD, segments - member.shape[1]))) & 1
        grown = np.concatenate([before, bits.astype(bool)], axis=1)
        member = np.concatenate([np.zeros((1, grown.shape[1]), bool), grown])
    if (atom == 0).any():
        return atom, member
    return atom - np.int32(1), member[1:]


def distinct(keys: Words) -> tuple[Words, NDArray[np.intp]]:
    """The distinct keys (D,), ascending, and the place of each key among them (n,): :func:`numpy.unique` without a sort.

    Keys are spread over the slots of a table; where two share a slot, those that were not the last to come are sorted. So
    it takes a few passes over the keys while there are far fewer distinct ones than slots, as there are of atoms.

    >>> distinct(np.array([7, -2, 7]))
    (array([-2,  7]), array([1, 0, 1]))
    """
    if len(keys) < SLOTS:
        return np.unique(keys, return_inverse=True)
    slot = np.empty(len(keys), np.int32)
    table, used = np.zeros(SLOTS, np.int64), np.zeros(SLOTS, bool)
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, len(keys), BLOCK_ROWS)]
    for rows in blocks:
        slot[rows] = keys[rows].view(np.uint64) * SPREAD >> np.uint64(64 - SLOTS.bit_length() + 1)
        table[slot[rows]] = keys[rows]
        used[slot[rows]] = True
    late = np.concatenate([rows.start + np.flatnonzero(table[slot[rows]] != keys[rows]) for rows in blocks])
    seen = np.unique(np.concatenate([table[used], keys[late]]))
    rank = np.searchsorted(seen, table)
    place = np.empty(len(keys), np.intp)
    for rows in blocks:
        place[rows] = rank[slot[rows]]
    place[late] = np.searchsorted(seen, keys[late])
    return seen, place


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
