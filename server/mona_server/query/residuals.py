"""What the fields of each row let expect is taken off its values, for all rows at once.

Residuals stay uncut in memory. Where they are cut off is found in steps that look at everybody alone, and cutting a block of
rows in the processor's cache costs less than to hold them twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mona_server.detect.source import Effects, EverybodySums, Floats
from mona_server.query.rows import BLOCK_ROWS, Elements, Rows
from mona_server.threads import in_threads


def with_residuals(rows: Rows, effects: Mapping[int, Effects], uncut: Mapping[int, Floats]) -> Rows:
    """The same rows with residuals as further metrics, see :meth:`SumsSource.residual`; ``uncut`` are those of :func:`taken_off`."""
    first = len(rows.deviations)
    return replace(
        rows,
        deviations=(*rows.deviations, *(uncut[m] for m in effects)),
        present=(*rows.present, *(rows.present[m] for m in effects)),
        cuts={**rows.cuts, **dict(enumerate(effects.values(), start=first))},
    )


def taken_off(rows: Rows, effects: Mapping[int, Effects], threads: int) -> dict[int, Floats]:
    """(n,) of each metric: its deviations less what the fields let expect, 0 where there is no value."""
    uncut = {m: np.empty(len(rows.deviations[m])) for m in effects}
    added = {m: [np.append(effect, 0.0) for effect in expected.by_axis] for m, expected in effects.items()}
    starts = range(0, int(rows.frame_starts[-1]), BLOCK_ROWS)

    def take_off(start: int) -> None:
        some = slice(start, start + BLOCK_ROWS)
        for m, expected in effects.items():
            left = np.subtract(rows.deviations[m][some], expected.constant, out=uncut[m][some])
            for codes, effect in zip(rows.codes, added[m], strict=True):
                if not isinstance(codes, Elements) and effect.any():
                    left -= effect[codes[some]]  # code -1 adds nothing
            there = rows.present[m]
            if there is not None:
                left *= there[some]

    in_threads(take_off, starts, threads)
    return uncut


def everybody(rows: Rows, metrics: Sequence[int], threads: int) -> EverybodySums:
    """Sums over all rows of each frame, of some metrics."""
    frames = len(rows.frame_starts) - 1
    count, total, square = np.zeros((3, len(metrics), frames))

    def add_up(frame: int) -> None:
        low, high = int(rows.frame_starts[frame]), int(rows.frame_starts[frame + 1])
        weight = None if rows.sign is None else rows.sign[low:high]
        for i, m in enumerate(metrics):
            values, there = rows.values(m, low, high), rows.present[m]
            some = np.ones(high - low) if there is None else there[low:high]
            with np.errstate(over="ignore", invalid="ignore"):
                count[i, frame] = some.sum() if weight is None else weight @ some
                total[i, frame] = values.sum() if weight is None else weight @ values
                square[i, frame] = values @ values if weight is None else (weight * values) @ values

    in_threads(add_up, range(frames), threads)
    return EverybodySums(count, total, square)
