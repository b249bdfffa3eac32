"""Candidates: all segments of all intersections of the axes, large enough to matter, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.levels import Mask
from mona_server.detect.passers import condition_of
from mona_server.detect.source import Axis, GroupSums, SumsSource
from mona_server.segment import Equals, Range, Segment

DEEP = 3
DEEP_SUPPORT = 50
"""From three fields on a candidate needs at least so many contexts."""


@dataclass(frozen=True, slots=True)
class Block:
    """Segments over one list of axes. ``widths[i]`` codes of axis i, from the given one on, form the segment."""

    groups: GroupSums
    widths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.groups.codes)

    @property
    def union(self) -> bool:
        """Unions of neighbouring buckets rather than single ones."""
        return any(width > 1 for width in self.widths)

    def segment(self, row: int, axes: Sequence[Axis]) -> Segment:
        """The segment of one row."""
        conditions = {
            axes[axis].field: condition_of(axes[axis], int(code), width)
            for axis, code, width in zip(self.groups.axes, self.groups.codes[row], self.widths, strict=True)
        }
        return Segment.of(conditions)

    def take(self, rows: NDArray[np.intp] | Mask) -> Block:
        """Some of the segments."""
        return replace(self, groups=self.groups.take(rows))


@dataclass(slots=True)
class Tally:
    """What the enumeration has seen, for the run report."""

    candidates: int = 0
    pruned: int = 0
    max_depth_used: int = 0
    lowered: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Which candidates are worth summing."""

    depth: int
    min_size: float
    avoid_missing: bool = False
    unions: bool = True
    drop_repeats: bool = True
    """Leave out a segment that holds the same contexts as one of its parents."""
    max_candidates: int = 2_000_000


def blocks(source: SumsSource, usable: Sequence[int], base: GroupSums, limits: Limits, tally: Tally) -> Iterator[Block]:
    """All segments by list of axes, shallow ones first; the baseline itself is not among them.

    A child of a too small parent is too small, so every list is summed under support. Stops before the depth at which
    there would be more than ``max_candidates``.
    """
    axes = source.axes
    whole = float(base.size.sum())
    parents: dict[tuple[int, ...], _Totals] = {}
    by_depth = [[s for s in combinations(usable, d) if _sensible(s, axes)] for d in range(1, limits.depth + 1)]
    # Lists of few axes have few segments: one pass over the rows does for them all.
    summed = source.sums_of([s for sets in by_depth[: DEEP - 1] for s in sets], limits.min_size)
    for depth, sets in enumerate(by_depth, start=1):
        level = {s: _Totals.empty() for s in sets}
        if depth >= DEEP:
            sets = [s for s in sets if all(len(parents[p].keys) for p in combinations(s, depth - 1))]
            summed = source.sums_of(sets, max(limits.min_size, DEEP_SUPPORT))
        for chosen, groups in zip(sets, summed, strict=False):
            block = Block(groups, (1,) * depth)
            if limits.avoid_missing:
                block = block.take(_without_missing(block.groups, axes))
            totals = _Totals.of(block.groups, axes)
            level[chosen] = totals
            kept = totals.sizes < whole
            if limits.drop_repeats and depth > 1:
                for left_out in range(depth):
                    parent = chosen[:left_out] + chosen[left_out + 1 :]
                    kept &= totals.sizes < parents[parent].look_up(np.delete(block.groups.codes, left_out, 1), axes)
            if not kept.all():
                tally.pruned += int((~kept).sum())
                block = block.take(kept)
            if tally.candidates + len(block) > limits.max_candidates and depth > 1:
                tally.lowered = True
                return
            tally.candidates += len(block)
            tally.max_depth_used = depth
            if len(block):
                yield block
            if limits.unions:
                for pair in _unions(block, axes):
                    tally.candidates += len(pair)
                    yield pair
        parents = level


@dataclass(frozen=True, slots=True)
class _Totals:
    """Contexts of each segment of one list of axes, to be found by its codes."""

    axes: tuple[int, ...]
    keys: NDArray[np.int64]
    sizes: NDArray[np.float64]

    @classmethod
    def empty(cls) -> _Totals:
        return cls((), np.zeros(0, dtype=np.int64), np.zeros(0))

    @classmethod
    def of(cls, groups: GroupSums, axes: Sequence[Axis]) -> _Totals:
        return cls(groups.axes, keys_of(groups.axes, groups.codes, axes), groups.size.sum(axis=1))

    def look_up(self, codes: NDArray[np.int32], axes: Sequence[Axis]) -> NDArray[np.float64]:
        """(S,): contexts of these segments; infinite where they are not among the kept ones."""
        order = np.argsort(self.keys)
        wanted = keys_of(self.axes, codes, axes)
        place = np.minimum(np.searchsorted(self.keys, wanted, sorter=order), len(self.keys) - 1)
        found = order[place]
        return np.where(self.keys[found] == wanted, self.sizes[found], np.inf)


def keys_of(chosen: tuple[int, ...], codes: NDArray[np.int32], axes: Sequence[Axis]) -> NDArray[np.int64]:
    """(S,) one number per segment over these axes, ascending as their codes are."""
    key = np.zeros(len(codes), dtype=np.int64)
    for i, axis in enumerate(chosen):
        key = key * len(axes[axis].conditions) + codes[:, i]
    return key


def _sensible(chosen: tuple[int, ...], axes: Sequence[Axis]) -> bool:
    """Different fields, at most one of them an array."""
    fields = [axes[axis].field for axis in chosen]
    return len(set(fields)) == len(fields) and sum(axes[axis].overlapping for axis in chosen) <= 1


def _without_missing(groups: GroupSums, axes: Sequence[Axis]) -> Mask:
    kept = np.ones(len(groups.codes), dtype=bool)
    for i, axis in enumerate(groups.axes):
        missing = [code for code, condition in enumerate(axes[axis].conditions) if condition == Equals(None)]
        kept &= ~np.isin(groups.codes[:, i], missing)
    return kept


def _unions(block: Block, axes: Sequence[Axis]) -> Iterator[Block]:
    """Unions of two neighbouring buckets of one axis, both with data, all else equal."""
    for i, axis in enumerate(block.groups.axes):
        if not axes[axis].ordered or axes[axis].overlapping:
            continue
        touching = [
            code
            for code, (low, high) in enumerate(zip(axes[axis].conditions, axes[axis].conditions[1:], strict=False))
            if isinstance(low, Range) and isinstance(high, Range) and low.max_value == high.min_value is not None
        ]
        codes = block.groups.codes
        totals = _Totals.of(block.groups, axes)
        order = np.argsort(totals.keys)
        following = codes.copy()
        following[:, i] += 1
        candidates = np.flatnonzero(np.isin(codes[:, i], touching))
        if not len(candidates):
            continue
        wanted = keys_of(block.groups.axes, following[candidates], axes)
        place = np.minimum(np.searchsorted(totals.keys, wanted, sorter=order), len(order) - 1)
        found = totals.keys[order[place]] == wanted
        first, second = candidates[found], order[place][found]
        if not len(first):
            continue
        groups = block.groups.take(first).plus(block.groups.take(second))
        yield Block(groups, tuple(2 if j == i else 1 for j in range(len(block.widths))))
