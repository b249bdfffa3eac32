"""Windows that people left out: for their segment and metric, later runs compare with what is usual instead.

Somebody who says that an insight was expected, or a false alarm, may tick that its window shall not count in benchmarks
any more. :class:`Excused` is a source that knows these windows. In their frames before the judged window it gives the
segment its usual values: the mean of its other frames before the judged window; for sizes and sums also its usual share
beside everybody else. All other segments, the judged window and all thresholds stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from mona_server.detect.parameters import period_ms
from mona_server.detect.source import (
    AtomSums,
    Axis,
    Effects,
    Floats,
    GroupSums,
    NetValues,
    SourceQuestion,
    SumsSource,
    Wrapped,
)
from mona_server.detect.verses.base import Statistic, Verse
from mona_server.detect.windows import Look, Plan
from mona_server.insights.alerts import judged_window
from mona_server.notify.rules import inside
from mona_server.segment import Segment
from mona_server.store.tables_insights import insight_occurrences, insights

Mask = NDArray[np.bool_]
Sums = TypeVar("Sums", GroupSums, AtomSums)


@dataclass(frozen=True, slots=True)
class Window:
    """A time that does not count for a segment and metric (None: its size), Unix milliseconds, half-open."""

    segment: Segment
    metric: str | None
    from_ms: int
    to_ms: int


def windows(connection: Connection, tenant: str, verse: Verse) -> list[Window]:
    """What people left out and that concerns a verse: of its class, time axis and baseline, with one of its metrics.

    Of an insight, the judged windows of all runs that found it.
    """
    c, o = insights.c, insight_occurrences.c
    wanted = (
        select(c.segment, c.metric, c.body, o.timestamp_s)
        .join(insight_occurrences, o.insight_id == c.id)
        .where(
            c.tenant == tenant,
            c.context_class == verse.context_class,
            c.time_axis == verse["timestamp_field_name"],
            c.baseline == verse["baseline_segment"].text,
            c.exclude_window.is_(True),
        )
        .order_by(c.id, o.timestamp_s)
    )
    found = []
    for row in connection.execute(wanted):
        if row.metric is None and verse.type.statistic is not Statistic.SIZE:
            continue
        if row.metric is not None and (verse.type.statistic is Statistic.SIZE or row.metric not in verse.metrics):
            continue
        signal = row.body["main_signal"]
        length = int(signal["window"]["to"]) - int(signal["window"]["from"])
        if str(signal["verse"]["type"]).endswith("SuddenChange"):
            length = min(length, _frame_s(signal["verse"]))
        found.append(
            Window(Segment.parse(row.segment), row.metric, (row.timestamp_s - length) * 1000, row.timestamp_s * 1000)
        )
    return found


def _frame_s(verse: Mapping[str, object]) -> int:
    return period_ms(str(verse["time_resolution"])) // 1000


def excusing(look: Look, left_out: Sequence[Window], verse: Verse, plan: Plan) -> Look:
    """``look``, with the windows left out; itself where there are none."""
    if not left_out:
        return look
    judged_ms, _ = judged_window(verse, plan)
    whole = verse.type.statistic in (Statistic.SIZE, Statistic.SUM)

    def looked(question: SourceQuestion) -> SumsSource:
        return Excused(look(question), left_out, judged_ms, whole=whole)

    return looked


@dataclass(frozen=True, slots=True)
class _Case:
    """The frames that do not count for one segment and metric, and those that say what is usual."""

    segment: Segment
    metrics: tuple[int, ...]
    """Rows of the metric in the sums, with its residual."""
    out: Mask
    usual: Mask


class Excused(Wrapped):
    """A source in which some frames of some segments hold what is usual there."""

    def __init__(
        self,
        source: SumsSource,
        left_out: Sequence[Window],
        judged_ms: int,
        *,
        whole: bool,
        residuals: Mapping[int, int] | None = None,
    ) -> None:
        """``whole``: sizes count, not only means. ``residuals``: row of a metric → row of its residual in the sums."""
        super().__init__(source)
        self._left_out = tuple(left_out)
        self._judged_ms = judged_ms
        self._whole = whole
        self._cases = _cases(source, left_out, judged_ms, residuals or {})

    def sums_of(self, sets: Sequence[Sequence[int]], min_size: float = 1) -> Iterator[GroupSums]:
        return map(self._excused, self._source.sums_of(sets, min_size))

    def _excused(self, groups: GroupSums) -> GroupSums:
        axes = groups.axes
        for case in self._cases:
            if not len(axes):  # everybody changes by as much as the segment does
                groups = self._everybody(groups, case)
            elif {self.axes[one].field for one in axes} == set(case.segment.fields):
                member = _members(self.axes, groups, case.segment)
                others = self._source.sums(()).size[0] - groups.size[member].sum(axis=0)
                groups = _usual(groups, member, others, case, whole=self._whole)
        return groups

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        asked = [(case, list(segments).index(case.segment)) for case in self._cases if case.segment in segments]
        if not asked:
            return self._source.atoms(segments, spans)
        atoms = self._source.atoms(segments)
        for case, column in asked:
            member = atoms.member[:, column]
            atoms = _usual(atoms, member, atoms.size[~member].sum(axis=0), case, whole=self._whole)
        if spans is None:
            return atoms
        parts = (atoms.size, atoms.count, atoms.total, atoms.square)
        sums = [np.stack([part[..., a:b].sum(axis=-1) for a, b in spans], axis=-1) for part in parts]
        return AtomSums(atoms.member, *sums)

    def residual(self, effects: Mapping[int, Effects]) -> Excused:
        first = len(self.metrics)
        return Excused(
            self._source.residual(effects),
            self._left_out,
            self._judged_ms,
            whole=self._whole,
            residuals={metric: first + number for number, metric in enumerate(effects)},
        )

    def within(self, segment: Segment) -> SumsSource:
        """All contexts inside of a segment, also of excused frames: it tells how segments overlap."""
        return self._source.within(segment)

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        return self._source.net_values(segment, metric, first_frame, last_frame)

    def _everybody(self, groups: GroupSums, case: _Case) -> GroupSums:
        place = {axis.field: number for number, axis in enumerate(self.axes) if not axis.overlapping}
        if not set(case.segment.fields) <= set(place):
            return groups
        parts = self._source.sums([place[name] for name in case.segment.fields])
        member = _members(self.axes, parts, case.segment)
        others = groups.size[0] - parts.size[member].sum(axis=0)
        after = _usual(parts, member, others, case, whole=self._whole)
        sums, old, new = ((each.size, each.count, each.total, each.square) for each in (groups, parts, after))
        moved = [now - was for now, was in zip(new, old, strict=True)]
        changed = (one + by.sum(axis=-2, keepdims=True) for one, by in zip(sums, moved, strict=True))
        return GroupSums.of(groups.axes, groups.codes, *changed)


def _cases(
    source: SumsSource, left_out: Sequence[Window], judged_ms: int, residuals: Mapping[int, int]
) -> tuple[_Case, ...]:
    begins, ends = source.edges_ms[:-1], source.edges_ms[1:]
    before = ends <= judged_ms
    cases = []
    for segment, metric in dict.fromkeys((one.segment, one.metric) for one in left_out):
        out = np.zeros(len(begins), dtype=bool)
        for one in left_out:
            if (one.segment, one.metric) == (segment, metric):
                out |= before & (begins < one.to_ms) & (ends > one.from_ms)
        rows: tuple[int, ...] = ()
        if metric is not None:
            if metric not in source.metrics:
                continue
            row = source.metrics.index(metric)
            rows = (row, residuals[row]) if row in residuals else (row,)
        if segment and out.any() and (before & ~out).any():
            cases.append(_Case(segment, rows, out, before & ~out))
    return tuple(cases)


def _members(axes: Sequence[Axis], groups: GroupSums, segment: Segment) -> Mask:
    """(S,): the groups that lie inside of the segment: itself, or the buckets that it unites."""
    member = np.ones(len(groups.codes), dtype=bool)
    options = dict(segment.conditions)
    for column, number in enumerate(groups.axes):
        axis = axes[number]
        wider = Segment.of({axis.field: options[axis.field]})
        fits = np.array([inside(Segment.of({axis.field: one}), wider) for one in axis.conditions], dtype=bool)
        member &= fits[groups.codes[:, column]]
    return member


def _usual(sums: Sums, member: Mask, others: Floats, case: _Case, *, whole: bool) -> Sums:
    """Sums whose rows ``member``, which make up the segment, hold what is usual in the frames that are left out."""
    rows, out, usual = np.flatnonzero(member), np.flatnonzero(case.out), case.usual
    size, count, total, square = (part.copy() for part in (sums.size, sums.count, sums.total, sums.square))
    own = size[rows].sum(axis=0)
    if not len(rows) or not own[usual].sum():
        return sums
    cells = np.ix_(rows, out)
    factor = np.ones(len(out))
    if whole:
        wanted = others[out] * own[usual].sum() / max(others[usual].sum(), 1.0)
        factor = np.divide(wanted, own[out], out=np.ones(len(out)), where=own[out] > 0)
        size[cells] *= factor
        size[rows[0], out] += np.where(own[out] > 0, 0.0, wanted)
    for metric in range(len(count)):
        for part in (count, total, square):
            part[metric][cells] *= factor
    for metric in case.metrics:
        known = count[metric][rows][:, usual].sum()
        if not known:
            continue
        filled = size[cells] * (known / own[usual].sum())
        count[metric][cells] = filled
        for part in (total, square):
            part[metric][cells] = filled * (part[metric][rows][:, usual].sum() / known)
    if isinstance(sums, GroupSums):
        return GroupSums.of(sums.axes, sums.codes, size, count, total, square)
    return AtomSums(sums.member, size, count, total, square)
