"""What the search reads: sums per segment and frame, behind one small protocol.

``detect`` never sees rows, files or SQL. A :class:`SumsSource` answers three questions, each with numpy
arrays; :mod:`mona_server.query` implements it over the cube and the facts, :class:`TableSource` (in
``table_source.py``) over columns in memory.

Sums are taken around a fixed ``offset`` c per metric, so that they stay exact under signed rows:
``count = Σ sign``, ``total = Σ sign·(x-c)``, ``square = Σ sign·(x-c)²``. Then mean = c + total/count and
the population variance = square/count - (total/count)².
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mona_server.segment import ALL, Condition, Segment

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
Frames = NDArray[np.intp] | slice


def centre(mean: float, spread: float) -> float:
    """The offset c of signed sums: within half a ``spread`` (std) of the mean, with few bits.

    Near the mean, so that squares of differences keep the digits of the variance; with few bits, so that differences
    of integers and short decimals from it are exact and cancel to 0.

    >>> centre(1003.7, 20.0), centre(0.3, 0.0), centre(5.25, 1.1)
    (1008.0, 0.3, 5.0)
    """
    if not (math.isfinite(mean) and math.isfinite(spread)):
        return 0.0
    if spread <= abs(mean) * 2**-48:
        return mean
    grid = 2.0 ** math.floor(math.log2(spread))
    return round(mean / grid) * grid


@dataclass(frozen=True, slots=True)
class AxisRequest:
    """One ``segment_by`` entry: the field, the segmentation of it by name (None = default), values to skip."""

    field: str
    segmentation: str | None = None
    avoid_values: tuple[str | int | float | bool, ...] = ()
    boundaries: tuple[float, ...] = ()
    """Bucket edges b0 < b1 < ... instead of a segmentation, with open ends (-inf, b0) and [bn, inf), and MISSING."""


@dataclass(frozen=True, slots=True)
class SourceQuestion:
    """What has to be summed for one run of one verse."""

    axes: tuple[AxisRequest, ...]
    metrics: tuple[str, ...]
    """Fields, the time axis included. Booleans count as 0/1; a text counts as 0, so only its presence matters."""
    edges_ms: tuple[int, ...]
    """K+1 ascending frame edges, Unix milliseconds; frame k is ``edges[k] <= t < edges[k+1]``."""
    within: Segment = ALL
    """Only contexts inside of it count (``baseline_segment``)."""
    excluded: tuple[Segment, ...] = ()
    frame_filters: tuple[tuple[int, int, Segment], ...] = ()
    """``(a, b, segment)``: frames a..b-1 count only contexts of the segment (``target_baseline_segment`` ...)."""
    timestamp_field: str = "MONA_TIMESTAMP"


@dataclass(frozen=True, slots=True)
class Axis:
    """A segmented field: code i of the arrays stands for ``conditions[i]``."""

    field: str
    conditions: tuple[Condition, ...]
    ordered: bool = False
    """Neighbouring codes are neighbouring numeric buckets, so unions of them make sense."""
    overlapping: bool = False
    """An array field: one context may be in several segments; nothing may be subtracted."""
    _places: dict[Condition, int] = dataclasses.field(init=False, compare=False, repr=False, default_factory=dict)

    def place(self, condition: Condition) -> int | None:
        """The first code of a condition; None where the axis does not have it."""
        if not self._places:
            self._places.update((one, code) for code, one in reversed(tuple(enumerate(self.conditions))))
        return self._places.get(condition)


@dataclass(frozen=True, slots=True)
class GroupSums:
    """Sums of all segments over one list of axes. S segments, d axes, K frames, M metrics.

    Contexts without a code on one of the axes (out of range) are in none of the segments.
    """

    axes: tuple[int, ...]
    codes: Codes
    """(S, d): the code on each axis; for no axes (1, 0), everybody."""
    contexts: Floats
    """(1 + P, S, K): all contexts, then those with a value, once for all metrics that are present in the same ones."""
    counted: tuple[int, ...]
    """(M,): which of ``contexts`` hold a value of the metric."""
    total: Floats
    """(M, S, K): sum of x - offset."""
    square: Floats
    """(M, S, K): sum of (x - offset)²."""
    stretches: tuple[tuple[int, int], ...] = ()
    """C runs of frames a..b-1, which hold each frame once. Where there are any, total and square are (M, S, C)."""
    residual: Floats | None = None
    """(R, S, K): with stretches the totals of residuals, which come last among the metrics, by frame."""

    @classmethod
    def of(
        cls, axes: tuple[int, ...], codes: Codes, size: Floats, count: Floats, total: Floats, square: Floats
    ) -> GroupSums:
        """From sizes (S, K) and counts (M, S, K)."""
        return cls(axes, codes, np.concatenate([size[None], count]), tuple(range(1, 1 + len(count))), total, square)

    @property
    def size(self) -> Floats:
        """(S, K): contexts, with or without a value."""
        return np.asarray(self.contexts[0], np.float64)

    @property
    def count(self) -> Floats:
        """(M, S, K): contexts with a value of each metric; a copy."""
        return np.asarray(self.contexts[list(self.counted)], np.float64)

    def count_of(self, metric: int) -> Floats:
        """(S, K): contexts with a value of one metric."""
        return np.asarray(self.contexts[self.counted[metric]], np.float64)

    def total_of(self, metric: int) -> Floats:
        """(S, K): sum of x - offset of one metric; with stretches of a residual only."""
        if self.residual is None:
            return np.asarray(self.total[metric], np.float64)
        return np.asarray(self.residual[metric - len(self.total) + len(self.residual)], np.float64)

    def over(self, metric: int, frames: Frames) -> tuple[Floats, Floats, Floats]:
        """Count, total and square of one metric over some frames, (S,) each. Stretches must not be cut."""
        count, parts = self.count_of(metric)[:, frames].sum(axis=1), frames
        if self.stretches:
            parts = whole_stretches(self.stretches, self.contexts.shape[2], frames)
        return count, self.total[metric][:, parts].sum(axis=1), self.square[metric][:, parts].sum(axis=1)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> GroupSums:
        """Some of the segments."""
        return dataclasses.replace(
            self,
            codes=self.codes[rows],
            contexts=self.contexts[:, rows],
            total=self.total[:, rows],
            square=self.square[:, rows],
            residual=None if self.residual is None else self.residual[:, rows],
        )

    def joined(self, spans: Sequence[tuple[int, int]]) -> GroupSums:
        """Sums over spans of frames a..b-1 instead of frames. There must be no stretches."""

        def over(sums: Floats) -> Floats:
            return np.stack([sums[..., a:b].sum(axis=-1) for a, b in spans], axis=-1)

        return dataclasses.replace(self, contexts=over(self.contexts), total=over(self.total), square=over(self.square))

    def plus(self, other: GroupSums) -> GroupSums:
        """The sums of other segments added to those of these, one by one."""
        return dataclasses.replace(
            self,
            contexts=self.contexts + other.contexts,
            total=self.total + other.total,
            square=self.square + other.square,
            residual=None if self.residual is None or other.residual is None else self.residual + other.residual,
        )


def whole_stretches(stretches: Sequence[tuple[int, int]], frames: int, chosen: Frames) -> NDArray[np.intp]:
    """The stretches of ``frames`` frames that together are the chosen ones. Raises ValueError where one would be cut.

    >>> whole_stretches([(0, 3), (3, 5), (5, 7)], 7, slice(3, 7)).tolist()
    [1, 2]
    """
    inside = np.zeros(frames, bool)
    inside[chosen] = True
    found = [k for k, (a, b) in enumerate(stretches) if inside[a:b].all()]
    if int(inside.sum()) != sum(b - a for a, b in (stretches[k] for k in found)):
        raise ValueError("frames that cut a stretch were asked for")
    return np.array(found, np.intp)


@dataclass(frozen=True, slots=True)
class AtomSums:
    """Sums over the atoms of some segments: contexts that lie in exactly the same of them. A atoms, G segments."""

    member: NDArray[np.bool_]
    """(A, G): is the atom inside of the segment."""
    size: Floats
    """(A, K)"""
    count: Floats
    """(M, A, K), as in GroupSums; so are total and square."""
    total: Floats
    square: Floats


@dataclass(frozen=True, slots=True)
class NetValues:
    """The distinct values of one metric in one segment, with how often each stands there (never 0)."""

    values: Floats
    weights: Floats = field(repr=False)


@dataclass(frozen=True, slots=True)
class Effects:
    """What the values of a context's fields let expect of one metric, see :meth:`SumsSource.residual`."""

    by_axis: tuple[Floats, ...]
    """One array per axis, as long as the axis has conditions; zeros for an overlapping axis."""
    constant: float = 0.0
    """Taken off everybody."""
    limit: float = np.inf
    """Residuals are cut off at this distance from ``centre``, so that a few extreme contexts do not decide."""
    centre: Floats | None = None
    """(K,) everybody's mean residual of each frame, None: 0. Where everybody moves, the cut moves along: else segments
    with many extreme contexts would seem to move less than the others."""
    leverage: float = 0.0
    """Share of the noise of a context that the effects took on, where they were learnt from it; 0 to below 1."""

    def alike(self, other: Effects) -> bool:
        """Do both expect the same, wherever they cut?"""
        return self.by_axis is other.by_axis and self.constant == other.constant


def some_of(rows: int, most: int) -> NDArray[np.int64] | None:
    """About ``most`` of so many rows, ascending, at random but always the same; None where that is more than half of them."""
    if rows < 2 * most:
        return None
    return np.flatnonzero(np.random.default_rng(0).random(rows) < most / rows)


@dataclass(frozen=True, slots=True)
class EverybodySums:
    """Sums of R residuals over all contexts of each frame, (R, K) each, as in GroupSums."""

    count: Floats
    total: Floats
    square: Floats


class SumsSource(Protocol):
    """Sums for one :class:`SourceQuestion`. The same question always gives the same bits.

    Sources inherit from it what they have no better way for.
    """

    @property
    def axes(self) -> tuple[Axis, ...]: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    @property
    def offsets(self) -> Floats:
        """(M,): the c of each metric."""
        ...

    @property
    def edges_ms(self) -> NDArray[np.int64]:
        """(K+1,): frame edges."""
        ...

    @property
    def threads(self) -> int:
        """How many threads may work on what was summed."""
        return 1

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float = 1) -> Iterator[GroupSums]:
        """Of each set of axes all segments over exactly these with at least ``min_size`` contexts in all frames together.

        Segments are in ascending order of their codes. Sets that are asked for together may share a pass over the rows.
        """
        ...

    def sums(self, axes: Sequence[int], min_size: float = 1) -> GroupSums:
        """Those of one set."""
        return next(self.sums_of((axes,), min_size))

    def spans_of(self, sets: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]]) -> Iterator[GroupSums]:
        """As :meth:`sums_of`, over spans of frames a..b-1 instead of frames: they cost less where they are fewer."""
        return (groups.joined(spans) for groups in self.sums_of(sets))

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        """One scan that tells how segments (of any fields of the class) overlap.

        With ``spans`` the K of the answer are not the frames but sums over them: column i adds frames a..b-1 of
        ``spans[i] = (a, b)``. Many segments make many atoms, so ask for two spans rather than for seventy frames.
        """
        ...

    def residual(self, effects: Mapping[int, Effects]) -> SumsSource:
        """The same source, whose sums (and atoms) hold one more metric per entry, in order, after those of ``metrics``.

        For metric m of a context it is ``x - offset - constant - Σ_j by_axis[j][code on axis j]``, cut off at
        ``centre ± limit`` of its frame (:class:`Effects`). An axis on which the context has no code adds nothing; without a value of m there is
        none. Its own offset is 0, and ``metrics`` and ``offsets`` do not list it. Chance is judged on residuals,
        because a change of mix is not a change.
        """
        ...

    def coarser(self, stretches: Sequence[tuple[int, int]]) -> SumsSource:  # noqa: ARG002  some cannot
        """The same source, whose sums need not tell by frame what is only asked over some of these runs of frames.

        By frame it tells contexts and the totals of residuals. Frames are most of what is summed.
        """
        return self

    def everybody(self, effects: Mapping[int, Effects]) -> EverybodySums:
        """What :meth:`residual` gives of all contexts, in the order of ``effects``."""
        groups, first = self.residual(effects).sums(()), len(self.metrics)
        return EverybodySums(groups.count[first:, 0], groups.total[first:, 0], groups.square[first:, 0])

    def without_metrics(self) -> SumsSource:
        """A source for those who look at sizes alone: it has the same ones, and need not sum metrics."""
        return self

    def sampled(self, most: int) -> SumsSource:  # noqa: ARG002  some cannot
        """The same source over a random share of the contexts, about ``most`` of them, or over all."""
        return self

    def within(self, segment: Segment) -> SumsSource:
        """The same source over the contexts inside of a segment (of any fields of the class) alone."""
        ...

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        """Exact values over frames first..last-1, for statistics that are no sums and for tiny variances."""
        ...


class Wrapped(SumsSource):
    """What a source that answers from another one has from it unchanged."""

    def __init__(self, source: SumsSource) -> None:
        self._source = source

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self._source.axes

    @property
    def metrics(self) -> tuple[str, ...]:
        return self._source.metrics

    @property
    def offsets(self) -> Floats:
        return self._source.offsets

    @property
    def edges_ms(self) -> NDArray[np.int64]:
        return self._source.edges_ms

    @property
    def threads(self) -> int:
        return self._source.threads
