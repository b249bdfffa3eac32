"""Sources made of sources: two questions read as one, and one question read inside of a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import AtomSums, Axis, Codes, Effects, Floats, GroupSums, NetValues, SumsSource, Wrapped
from mona_server.segment import Condition, Range, Segment

CACHE_BYTES = 256 * 2**20


def both(outer: Segment, inner: Segment) -> Segment:
    """Contexts in both; where both have conditions on a field, the inner ones are the narrower and stand alone."""
    return Segment(tuple((dict(outer.conditions) | dict(inner.conditions)).items()))


class StackedSource(SumsSource):
    """Two sources whose frames follow each other, for sets that overlap in time but not in contexts.

    Both answer questions that differ only in frames and filters, so their axes stand for the same fields.
    """

    def __init__(self, first: SumsSource, second: SumsSource, residuals: int = 0) -> None:
        self._parts, self._residuals = (first, second), residuals
        shift = first.offsets - second.offsets
        self._shift = np.concatenate([shift, np.zeros(residuals)])
        self._first = len(first.edges_ms) - 1
        pairs = zip(first.axes, second.axes, strict=True)
        merged = [_merged(a, b) for a, b in pairs]
        self._axes = tuple(axis for axis, _, _ in merged)
        self._places = ([codes for _, codes, _ in merged], [codes for _, _, codes in merged])

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self._axes

    @property
    def metrics(self) -> tuple[str, ...]:
        return self._parts[0].metrics

    @property
    def offsets(self) -> Floats:
        return self._parts[0].offsets

    @property
    def edges_ms(self) -> NDArray[np.int64]:
        """The edges of both, one after the other: frames are not adjacent where the parts meet."""
        return np.concatenate([part.edges_ms for part in self._parts])

    @property
    def threads(self) -> int:
        return self._parts[0].threads

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float = 1) -> Iterator[GroupSums]:
        """A segment may be large enough in both parts together, so each part is asked for all."""
        first, second = (part.sums_of(sets, 1) for part in self._parts)
        return map(self._stacked, sets, first, second, repeat(min_size))

    def _stacked(self, axes: Sequence[int], one: GroupSums, other: GroupSums, min_size: float) -> GroupSums:
        parts = (one, other)
        codes = [
            np.stack([self._places[k][axis][part.codes[:, i]] for i, axis in enumerate(axes)], axis=1)
            if len(axes)
            else part.codes
            for k, part in enumerate(parts)
        ]
        keys, place = np.unique(np.concatenate(codes), axis=0, return_inverse=True)
        rows = np.split(np.asarray(place).reshape(-1), [len(codes[0])])
        second = (parts[1].size, *_shifted(parts[1].count, parts[1].total, parts[1].square, self._shift))
        first = (parts[0].size, parts[0].count, parts[0].total, parts[0].square)
        joined = [self._join(a, b, rows, len(keys)) for a, b in zip(first, second, strict=True)]
        groups = GroupSums.of(tuple(axes), keys.astype(np.int32).reshape(len(keys), len(axes)), *joined)
        return groups.take(groups.size.sum(axis=1) >= max(min_size, 1))

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        """Contexts of both parts; an atom of one part is empty in the frames of the other."""
        frames = len(self._parts[1].edges_ms) - 1
        asked = [(k, k + 1) for k in range(self._first + frames)] if spans is None else list(spans)
        cut = (
            [(min(a, self._first), min(b, self._first)) for a, b in asked],
            [(max(a - self._first, 0), max(b - self._first, 0)) for a, b in asked],
        )
        parts = [part.atoms(segments, inside) for part, inside in zip(self._parts, cut, strict=True)]
        members, place = np.unique(np.concatenate([part.member for part in parts]), axis=0, return_inverse=True)
        rows = np.split(np.asarray(place).reshape(-1), [len(parts[0].member)])
        second = (parts[1].size, *_shifted(parts[1].count, parts[1].total, parts[1].square, self._shift))
        first = (parts[0].size, parts[0].count, parts[0].total, parts[0].square)
        sums = []
        for one, other in zip(first, second, strict=True):
            joined = np.zeros((*one.shape[:-2], len(members), len(asked)))
            joined[..., rows[0], :] += one
            joined[..., rows[1], :] += other
            sums.append(joined)
        return AtomSums(members, *sums)

    def within(self, segment: Segment) -> StackedSource:
        first, second = (part.within(segment) for part in self._parts)
        return StackedSource(first, second, self._residuals)

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        values, weights = [], []
        for part, begin, end in (
            (self._parts[0], first_frame, min(last_frame, self._first)),
            (self._parts[1], max(first_frame - self._first, 0), last_frame - self._first),
        ):
            if begin < end:
                net = part.net_values(segment, metric, begin, end)
                values.append(net.values)
                weights.append(net.weights)
        if not values:
            return NetValues(np.zeros(0), np.zeros(0))
        distinct, place = np.unique(np.concatenate(values), return_inverse=True)
        return NetValues(distinct, np.bincount(place, np.concatenate(weights), len(distinct)).astype(np.float64))

    def residual(self, effects: Mapping[int, Effects]) -> StackedSource:
        shift = self.offsets - self._parts[1].offsets
        parts = []
        for k, (part, frames) in enumerate(
            zip(self._parts, (slice(self._first), slice(self._first, None)), strict=True)
        ):
            own = {
                m: replace(
                    expected,
                    by_axis=tuple(e[at] for e, at in zip(expected.by_axis, self._places[k], strict=True)),
                    constant=expected.constant + (shift[m] if k else 0.0),  # the other part has its own offset
                    centre=None if expected.centre is None else expected.centre[frames],
                )
                for m, expected in effects.items()
            }
            parts.append(part.residual(own))
        return StackedSource(parts[0], parts[1], residuals=len(effects))

    def _join(self, first: Floats, second: Floats, rows: Sequence[NDArray[np.intp]], groups: int) -> Floats:
        frames = self._first
        joined = np.zeros((*first.shape[:-2], groups, frames + second.shape[-1]))
        joined[..., rows[0], :frames] = first
        joined[..., rows[1], frames:] = second
        return joined


class SlicedSource(Wrapped):
    """A source inside of one baseline, given by codes on some of its axes; those axes are left out.

    Sums are read once for all baselines of the same axes and kept in ``cache`` (shared between the slices).
    """

    def __init__(
        self,
        source: SumsSource,
        fixed: dict[int, int],
        baseline: Segment,
        cache: dict[tuple[int, ...], GroupSums],
    ) -> None:
        super().__init__(source)
        self._fixed = fixed
        self._baseline = baseline
        self._cache = cache

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float = 1) -> Iterator[GroupSums]:
        wanted = [(*axes, *self._fixed) for axes in sets]
        known = [self._cache.get(axes) for axes in wanted]
        missing = [axes for axes, groups in zip(wanted, known, strict=True) if groups is None]
        read = iter(self._source.sums_of(missing, 1))
        for axes, groups in zip(wanted, known, strict=True):
            if groups is None:
                groups = next(read)
                if sum(kept.total.nbytes * 4 for kept in self._cache.values()) < CACHE_BYTES:
                    self._cache[axes] = groups
            yield self._inside(groups, len(axes) - len(self._fixed), min_size)

    def _inside(self, groups: GroupSums, depth: int, min_size: float) -> GroupSums:
        inside = groups.size.sum(axis=1) >= max(min_size, 1)
        for place, code in enumerate(self._fixed.values(), start=depth):
            inside &= groups.codes[:, place] == code
        found = groups.take(inside)
        return replace(found, axes=groups.axes[:depth], codes=found.codes[:, :depth])

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        return self._source.atoms([both(self._baseline, segment) for segment in segments], spans)

    def residual(self, effects: Mapping[int, Effects]) -> SlicedSource:
        return SlicedSource(self._source.residual(effects), self._fixed, self._baseline, {})

    def within(self, segment: Segment) -> SlicedSource:
        return SlicedSource(self._source.within(segment), self._fixed, self._baseline, {})

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        return self._source.net_values(both(self._baseline, segment), metric, first_frame, last_frame)


def _merged(first: Axis, second: Axis) -> tuple[Axis, Codes, Codes]:
    """One axis with the conditions of both, and where the codes of each went. Buckets stay in their order."""
    conditions: list[Condition] = list(dict.fromkeys((*first.conditions, *second.conditions)))
    ordered = first.ordered and second.ordered
    if ordered:
        conditions.sort(key=_place)
    places = {condition: code for code, condition in enumerate(conditions)}
    one, other = (np.array([places[c] for c in axis.conditions], dtype=np.int32) for axis in (first, second))
    return Axis(first.field, tuple(conditions), ordered, first.overlapping or second.overlapping), one, other


def _place(condition: Condition) -> tuple[float, float]:
    """Buckets by their bounds, all else after them."""
    if not isinstance(condition, Range):
        return np.inf, np.inf
    low, high = condition.min_value, condition.max_value
    return (-np.inf if low is None else low, np.inf if high is None else high)


def _shifted(count: Floats, total: Floats, square: Floats, shift: Floats) -> tuple[Floats, Floats, Floats]:
    """Sums around another offset c' = c + shift."""
    by = shift.reshape(-1, *([1] * (count.ndim - 1)))
    return count, total - by * count, square - 2 * by * total + by * by * count
