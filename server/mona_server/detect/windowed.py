"""Windows that overlap, read once: a run for each of the last days costs little more than one run.

The windows of several moments differ by a few frames. One wide source answers for all of them; each window sees its own
frames of the same sums. What the fields let expect of a value is learnt once, too, from the frames that every window has
in its past.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.expected import fit_effects
from mona_server.detect.source import (
    AtomSums,
    Axis,
    Effects,
    Floats,
    Frames,
    GroupSums,
    NetValues,
    SourceQuestion,
    SumsSource,
)
from mona_server.detect.windows import Look
from mona_server.segment import Segment

CACHE_BYTES = 256 * 2**20
"""So much of the sums is kept for the next window."""
SMALLER = 0.9
"""Windows differ in size, so sums are read for segments a little smaller than the first window asks for."""


@dataclass(slots=True)
class _Wide:
    """A source over all frames of all windows, with what was read of it."""

    source: SumsSource
    cache: dict[tuple[int, ...], tuple[float, GroupSums]] = field(default_factory=dict)
    residuals: list[tuple[Mapping[int, Effects], _Wide]] = field(default_factory=list)
    effects: dict[tuple[tuple[int, ...], tuple[int, ...]], dict[int, Effects]] = field(default_factory=dict)

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float) -> Iterator[GroupSums]:
        """Of each set at least the segments of ``min_size`` contexts."""
        known = [self.cache.get(tuple(axes)) for axes in sets]
        missing = [axes for axes, kept in zip(sets, known, strict=True) if kept is None or kept[0] > min_size]
        read = iter(self.source.sums_of(missing, SMALLER * min_size))
        for axes, kept in zip(sets, known, strict=True):
            if kept is not None and kept[0] <= min_size:
                yield kept[1]
                continue
            groups = next(read)
            if sum(4 * one.total.nbytes for _, one in self.cache.values()) < CACHE_BYTES:
                self.cache[tuple(axes)] = (SMALLER * min_size, groups)
            yield groups

    def residual(self, effects: Mapping[int, Effects]) -> _Wide:
        for known, wide in self.residuals:
            if known is effects:
                return wide
        wide = _Wide(self.source.residual(effects))
        if any(known is effects for known in self.effects.values()):
            self.residuals.append((effects, wide))
        return wide


class WindowedSource(SumsSource):
    """Frames ``first..last-1`` of a wide source; its frames ``past[0]..past[1]-1`` are in the past of every window."""

    def __init__(self, wide: _Wide, first: int, last: int, past: tuple[int, int]) -> None:
        self._wide, self._first, self._last, self._past = wide, first, last, past

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self._wide.source.axes

    @property
    def metrics(self) -> tuple[str, ...]:
        return self._wide.source.metrics

    @property
    def offsets(self) -> Floats:
        return self._wide.source.offsets

    @property
    def edges_ms(self) -> NDArray[np.int64]:
        return self._wide.source.edges_ms[self._first : self._last + 1]

    @property
    def threads(self) -> int:
        return self._wide.source.threads

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float = 1) -> Iterator[GroupSums]:
        frames = slice(self._first, self._last)
        for groups in self._wide.sums_of(sets, min_size):
            large = groups.size[:, frames].sum(axis=1) >= max(min_size, 1)
            rows = np.flatnonzero(large) if groups.axes else np.zeros(1, int)
            series = (groups.contexts, groups.total, groups.square)
            contexts, total, square = (one[:, rows, frames] for one in series)
            yield replace(groups, codes=groups.codes[rows], contexts=contexts, total=total, square=square)

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        asked = [(k, k + 1) for k in range(self._last - self._first)] if spans is None else spans
        return self._wide.source.atoms(segments, [(self._first + a, self._first + b) for a, b in asked])

    def residual(self, effects: Mapping[int, Effects]) -> WindowedSource:
        return WindowedSource(self._wide.residual(effects), self._first, self._last, self._past)

    def sampled(self, most: int) -> WindowedSource:
        some = self._wide.source.sampled(most)
        return self if some is self._wide.source else WindowedSource(_Wide(some), self._first, self._last, self._past)

    def within(self, segment: Segment) -> WindowedSource:
        return WindowedSource(_Wide(self._wide.source.within(segment)), self._first, self._last, self._past)

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        return self._wide.source.net_values(segment, metric, self._first + first_frame, self._first + last_frame)

    def effects(self, axes: Sequence[int], metrics: Sequence[int]) -> dict[int, Effects]:
        """Effects learnt from the frames that every window has in its past, once for all of them."""
        key = (tuple(axes), tuple(metrics))
        if key not in self._wide.effects:
            whole = WindowedSource(self._wide, 0, len(self._wide.source.edges_ms) - 1, self._past)
            self._wide.effects[key] = fit_effects(whole, axes, whole.sums(()), slice(*self._past), metrics)
        return self._wide.effects[key]


def effects_of(
    source: SumsSource, axes: Sequence[int], base: GroupSums, frames: Frames, metrics: Sequence[int]
) -> dict[int, Effects]:
    """:func:`fit_effects`, or what windows share of it."""
    if isinstance(source, WindowedSource):
        return source.effects(axes, metrics)
    return fit_effects(source, axes, base, frames, metrics)


def shared(look: Look, questions: Sequence[SourceQuestion], targets: Sequence[int]) -> Look:
    """A ``look`` that reads once what these questions have in common; others pass through.

    ``targets``: the first frame that each of them judges. Shared are questions that differ only in their frames, where
    each has all frames of the union between its ends.
    """
    bare = {replace(question, edges_ms=()) for question in questions}
    if len(questions) < 2 or len(bare) != 1 or questions[0].frame_filters:
        return look
    union = sorted({edge for question in questions for edge in question.edges_ms})
    places = {}
    for question in questions:
        first, last = union.index(question.edges_ms[0]), union.index(question.edges_ms[-1])
        if tuple(union[first : last + 1]) != question.edges_ms:
            return look
        places[question.edges_ms] = (first, last)
    end = min(question.edges_ms[target] for question, target in zip(questions, targets, strict=True))
    past = (max(first for first, _ in places.values()), union.index(end))
    if past[1] - past[0] < min(last - first for first, last in places.values()) / 2:
        return look
    wide: list[_Wide] = []

    def looked(question: SourceQuestion) -> SumsSource:
        place = places.get(question.edges_ms)
        if place is None or replace(question, edges_ms=()) not in bare:
            return look(question)
        if not wide:
            wide.append(_Wide(look(replace(question, edges_ms=tuple(union)))))
        return WindowedSource(wide[0], *place, past)

    return looked


def remembering(look: Look, most: int = 1) -> Look:
    """A ``look`` that opens the last ``most`` questions once: the explanations ask what the search asked."""
    kept: dict[SourceQuestion, SumsSource] = {}

    def looked(question: SourceQuestion) -> SumsSource:
        if question not in kept:
            while len(kept) >= most:
                del kept[next(iter(kept))]  # before the next is read, so that not both are in memory
            kept[question] = look(question)
        return kept[question]

    return looked
