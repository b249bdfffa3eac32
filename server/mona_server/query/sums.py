"""What the search reads: sums per segment and frame, from signed facts (:class:`SumsSource` of ``detect``).

A source loads the rows of its window once, as small integer codes and deviations from the offsets, ordered by frame.
Sums of a list of axes are then one sparse matrix product per frame, ``A.T @ X``: A has one entry (the sign) per row
in the column of its segment, X holds 1, x - c and (x - c)² of each metric. Frames are independent, so they run in
parallel and the bits do not depend on the number of threads. Small segments are dropped before any series is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import AtomSums, Axis, Effects, Floats, GroupSums, NetValues, SourceQuestion
from mona_server.errors import BadRequest
from mona_server.query.axes import SegmentationOf, no_segmentations
from mona_server.query.conditions import Binder, row_filter, segment_sql
from mona_server.query.facts import Facts
from mona_server.query.rows import KEPT_BYTES, Codes, Elements, Rows, frame_filter_sql, load_rows, relation_of
from mona_server.segment import Condition, Equals, Range, Segment

Indexes = NDArray[np.int64]


def open_source(facts: Facts, question: SourceQuestion, segmentation_of: SegmentationOf = no_segmentations) -> FactSums:
    """Load what a question needs. ``segmentation_of(field, name)`` are the segmentations of the configuration.

    Raises :class:`BadRequest` for unknown fields and segmentations, and the engine's errors.
    """
    return FactSums(facts, question, load_rows(facts, question, segmentation_of))


class FactSums:
    """Sums for one question over signed facts; the same snapshot always gives the same bits."""

    def __init__(self, facts: Facts, question: SourceQuestion, rows: Rows) -> None:
        self._facts, self._question, self._rows = facts, question, rows
        self._frames = len(question.edges_ms) - 1
        # X has the size, the deviations of M metrics, their squares, and the presence of those that may be missing.
        self._metrics = len(rows.deviations)
        self._partial = [m for m, present in enumerate(rows.present) if present is not None]
        self._width = 1 + 2 * self._metrics + len(self._partial)
        self._kept: dict[int, Floats] = {}
        self._keep = len(rows.frame_starts) > 0 and 8 * self._width * int(rows.frame_starts[-1]) <= KEPT_BYTES

    @property
    def axes(self) -> tuple[Axis, ...]:
        return tuple(plan.axis for plan in self._rows.plans)

    @property
    def metrics(self) -> tuple[str, ...]:
        return self._question.metrics

    @property
    def offsets(self) -> Floats:
        return self._rows.offsets

    @property
    def edges_ms(self) -> Indexes:
        return np.asarray(self._question.edges_ms, np.int64)

    @property
    def rows(self) -> int:
        """Fact rows in the window, corrections included."""
        return int(self._rows.frame_starts[-1])

    def sums(self, axes: Sequence[int], min_size: float = 1) -> GroupSums:
        """All segments over exactly these axes with at least ``min_size`` contexts in all frames together."""
        items = [self._rows.codes[axis] for axis in axes]
        listed = [item for item in items if isinstance(item, Elements)]
        if len(listed) > 1:
            raise BadRequest("a segment may hold one array field only")
        origin = listed[0].rows if listed else None  # the row of each item; None: items are rows
        codes = [_of_items(item, origin) for item in items]
        sign = self._rows.sign if origin is None or self._rows.sign is None else self._rows.sign[origin]
        length = self.rows if origin is None else len(origin)
        group, kept = _groups(codes, [len(self.axes[a].conditions) for a in axes], length, sign, max(min_size, 1))
        size, count, total, square = self._scatter(group, len(kept), origin)
        return GroupSums(tuple(axes), kept, size, count, total, square)

    def atoms(self, segments: Sequence[Segment], spans: Sequence[tuple[int, int]] | None = None) -> AtomSums:
        """One scan that tells how segments (of any fields of the class) overlap; ``spans`` add frames up."""
        atom: Codes = np.zeros(self.rows, np.int32)
        member = np.zeros((1 if self.rows else 0, 0), bool)
        for first in range(0, len(segments), 62):
            part = segments[first : first + 62]
            words, label = np.unique(self._bits(part), return_inverse=True)
            pair, atom64 = np.unique(atom.astype(np.int64) * len(words) + label, return_inverse=True)
            atom = atom64.astype(np.int32)
            bits = (words[pair % len(words)][:, None] >> np.arange(len(part))) & 1
            member = np.concatenate([member[pair // len(words)], bits.astype(bool)], axis=1)
        return AtomSums(np.ascontiguousarray(member), *self._scatter(atom, len(member), None, spans))

    def residual(self, effects: Mapping[int, Effects]) -> FactSums:
        """The same source with residuals as further metrics; see :class:`SumsSource`."""
        self._kept.clear()  # two sets of columns at a time would not fit
        return FactSums(self._facts, self._question, self._rows.with_residuals(effects))

    def net_values(self, segment: Segment, metric: str, first_frame: int, last_frame: int) -> NetValues:
        """Exact values over frames first..last-1, ascending."""
        bind = Binder()
        question, edges = self._question, self._question.edges_ms
        column = self._facts.column(metric)
        number = column.numeric_like or column.kind == "timestamp"
        value = f"CAST({column.sql} AS DOUBLE)" if number else "CAST(0 AS DOUBLE)"
        has_value = f"NOT {segment_sql(self._facts, Segment.of({metric: Equals(None)}), bind)}"
        where = row_filter(self._facts, (question.within, segment), question.excluded, bind)
        frames = frame_filter_sql(self._facts, question, bind)
        relation = relation_of(self._facts, question, [metric, *segment.fields], edges[first_frame], edges[last_frame])
        found = self._facts.arrays(
            f'SELECT {value} AS x, CAST(sum("MONA_SIGN") AS BIGINT) AS n FROM {relation} '
            f'WHERE {has_value} AND {where} AND {frames} GROUP BY 1 HAVING sum("MONA_SIGN") <> 0 ORDER BY 1',
            bind.values,
        )
        return NetValues(np.asarray(found["x"], np.float64), np.asarray(found["n"], np.float64))

    def _bits(self, segments: Sequence[Segment]) -> Indexes:
        """(rows,): bit i says whether the row is inside of segment i. From codes where the axes tell, else one scan."""
        word = np.zeros(self.rows, np.int64)
        asked: list[tuple[int, Segment]] = []
        for i, segment in enumerate(segments):
            inside = self._coded_mask(segment)
            if inside is None:
                asked.append((i, segment))
            else:
                word |= inside.astype(np.int64) << i
        if asked:
            bind = Binder()
            bits = [
                f"CASE WHEN {segment_sql(self._facts, segment, bind)} THEN {1 << i} ELSE 0 END" for i, segment in asked
            ]
            word |= self._rows.ask(self._facts, self._question, " + ".join(bits), [s for _, s in asked], bind)
        return word

    def _coded_mask(self, segment: Segment) -> NDArray[np.bool_] | None:
        """(rows,): inside or not, by the codes of the axes; None when they cannot tell."""
        inside = np.ones(self.rows, bool)
        for name, options in segment.conditions:
            for axis, codes in zip(self.axes, self._rows.codes, strict=True):
                chosen = _codes_for(axis, options) if axis.field == name and not isinstance(codes, Elements) else None
                if chosen is not None and not isinstance(codes, Elements):
                    table = np.zeros(len(axis.conditions) + 1, bool)
                    table[chosen] = True
                    inside &= table[codes]
                    break
            else:
                return None
        return inside

    def _block(self, frame: int, low: int, high: int) -> Floats:
        """(rows of the frame, width): the columns X."""
        if frame in self._kept:
            return self._kept[frame]
        block = np.empty((high - low, self._width))
        block[:, 0] = 1.0
        for m, deviations in enumerate(self._rows.deviations):
            deviation = deviations[low:high]
            block[:, 1 + m] = deviation
            with np.errstate(over="ignore"):
                np.multiply(deviation, deviation, out=block[:, 1 + self._metrics + m])
        for i, m in enumerate(self._partial):
            present = self._rows.present[m]
            assert present is not None
            block[:, 1 + 2 * self._metrics + i] = present[low:high]
        if self._keep:
            self._kept[frame] = block
        return block

    def _scatter(
        self, group: Codes, groups: int, origin: Indexes | None, spans: Sequence[tuple[int, int]] | None = None
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Size (S, K) and count, total, square (M, S, K). ``group`` of each item, ``groups`` = in none of them.

        ``origin`` is the row of each item, ascending; None: items are rows. K are the frames, or ``spans`` of them.
        The arrays are views in which the groups of one frame are contiguous.
        """
        starts = self._rows.frame_starts
        bounds = starts if origin is None else np.searchsorted(origin, starts)
        wanted = spans if spans is not None else [(frame, frame + 1) for frame in range(self._frames)]
        out = np.zeros((self._width, len(wanted), groups))

        def add(column: int) -> None:
            for frame in range(*wanted[column]):
                low, high = int(bounds[frame]), int(bounds[frame + 1])
                if low < high and groups:
                    out[:, column, :] += self._product(frame, group[low:high], groups, origin, low, high)

        _in_threads(add, len(wanted), self._facts.engine.threads)
        # Frames last, without a copy: the sums of many segments are most of the memory of a search.
        count: Floats = np.broadcast_to(out[0], (self._metrics, *out.shape[1:]))
        if self._partial:
            count = count.copy()
            count[self._partial] = out[1 + 2 * self._metrics :]
        total, square = out[1 : 1 + self._metrics], out[1 + self._metrics : 1 + 2 * self._metrics]
        return out[0].T, count.transpose(0, 2, 1), total.transpose(0, 2, 1), square.transpose(0, 2, 1)

    def _product(self, frame: int, group: Codes, groups: int, origin: Indexes | None, low: int, high: int) -> Floats:
        """(width, groups): the sums of the items ``low`` to ``high``, all of one frame."""
        from scipy.sparse import csc_array  # 143 MiB, needed by the search alone

        first, last = int(self._rows.frame_starts[frame]), int(self._rows.frame_starts[frame + 1])
        block, sign = self._block(frame, first, last), self._rows.sign
        places: Indexes | slice = slice(first, last)
        if origin is not None:
            places = origin[low:high]
            block = block[places - first]
        weight = np.ones(high - low) if sign is None else sign[places]
        matrix = csc_array((weight, group, np.arange(high - low + 1, dtype=np.int32)), (groups + 1, high - low))
        return np.asarray(matrix @ block)[:groups].T


def _in_threads(work: object, frames: int, threads: int) -> None:
    assert callable(work)
    if threads < 2 or frames < 2:
        for frame in range(frames):
            work(frame)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(frames)):
            pass


def _groups(
    codes: Sequence[Codes], widths: Sequence[int], length: int, sign: Floats | None, min_size: float
) -> tuple[Codes, Codes]:
    """The group of each item (S = none) and the codes (S, d) of the S groups that hold ``min_size`` contexts.

    Codes are multiplied out axis by axis; before the cells would outnumber the rows, what is too small already is
    dropped and the rest numbered anew (a part of a too small segment is too small). So memory follows the rows, not
    the product of the widths.
    """
    key: Codes = np.zeros(length, np.int32)
    cells, kept = 1, np.zeros((1, 0), np.int32)
    out: NDArray[np.bool_] | None = None
    radix: list[int] = []
    if not codes:
        return key, kept  # everybody is there, even where nobody is
    for code, width in zip(codes, widths, strict=True):
        if cells * width > length + 1_000_000 and radix:
            key, kept = _support(key, cells, kept, radix, out, sign, min_size)
            out, radix, cells = key == len(kept), [], len(kept)
        if cells * width >= 2**31:
            key = key.astype(np.int64)
        key = key * width if radix or cells > 1 else key
        key += code
        if int(code.min(initial=0)) < 0:
            out = code < 0 if out is None else out | (code < 0)
        radix.append(width)
        cells *= width
    return _support(key, cells, kept, radix, out, sign, min_size)


def _support(
    key: NDArray[Any],
    cells: int,
    kept: Codes,
    radix: Sequence[int],
    out: NDArray[np.bool_] | None,
    sign: Floats | None,
    min_size: float,
) -> tuple[Codes, Codes]:
    """Number the cells that hold ``min_size`` contexts; ``key`` = row of ``kept``, then one digit per new axis."""
    if out is not None and out.any():
        key = np.where(out, cells, key)
    if cells <= 4 * len(key) + 4_000_000:
        sizes = np.bincount(key, sign, cells + 1)[:cells]
        alive = np.flatnonzero(sizes >= min_size)
        place = np.full(cells + 1, len(alive), np.int32)
        place[alive] = np.arange(len(alive), dtype=np.int32)
        group = place[key]
    else:
        there, inverse = np.unique(key, return_inverse=True)
        sizes = np.bincount(inverse, sign, len(there))
        chosen = np.flatnonzero((sizes >= min_size) & (there < cells))
        alive = there[chosen]
        place = np.full(len(there), len(alive), np.int32)
        place[chosen] = np.arange(len(alive), dtype=np.int32)
        group = place[inverse]
    digits = []
    rest = alive
    for width in reversed(radix):
        digits.append(rest % width)
        rest = rest // width
    new = np.array(digits[::-1], np.int32).reshape(len(radix), len(alive)).T
    return group, np.ascontiguousarray(np.concatenate([kept[rest], new], axis=1))


def _of_items(codes: Codes | Elements, origin: Indexes | None) -> Codes:
    if isinstance(codes, Elements):
        return codes.codes
    return codes if origin is None else codes[origin]


def _codes_for(axis: Axis, options: Sequence[Condition]) -> list[int] | None:
    """The codes that together are exactly these alternatives; None when some cannot be told from codes."""
    chosen: list[int] = []
    for option in options:
        if option in axis.conditions:
            chosen.append(axis.conditions.index(option))
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
