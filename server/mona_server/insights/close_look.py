"""A close look at what was found: sums by frame of each segment, for the metrics of the verse and all related fields.

The rows that the search read tell most of it; related fields take a scan for each few of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mona_server.detect.signal import Signal
from mona_server.detect.sliced import both
from mona_server.detect.source import AtomSums, AxisRequest, Floats, GroupSums, SumsSource
from mona_server.detect.verses import Verse
from mona_server.detect.windows import Look, Plan
from mona_server.insights.evidence import of_atoms

MOST_CLOSE = 20
"""So many findings of one run are looked at closely, all together."""
FIELDS_BYTES = 160 * 2**20
"""Values of related fields that are read at a time take about so much."""


@dataclass(frozen=True, slots=True)
class Close:
    """Sums of the segments of some findings and of their baseline, for the metrics of the verse and all related fields."""

    plan: Plan
    source: SumsSource
    """The contexts of the baseline, with the axes and metrics of the verse."""
    metrics: tuple[str, ...]
    """Those of the verse, then the related fields."""
    offsets: Floats
    groups: Mapping[str, GroupSums]
    """By segment text."""
    base: GroupSums


def look_closely(verse: Verse, plan: Plan, signals: Sequence[Signal], fields: Sequence[str], look: Look) -> Close:
    """The segments of signals that share a baseline: what the search read, then ``fields``, a few at a time."""
    from mona_server.detect.search import opened

    def read(metrics: Sequence[str], axes: tuple[AxisRequest, ...] | None = None) -> tuple[Plan, SumsSource]:
        asks = tuple(
            replace(
                ask,
                axes=ask.axes if axes is None else axes,
                metrics=tuple(metrics),
                within=both(ask.within, signals[0].baseline),
            )
            for ask in plan.questions
        )
        near = replace(plan, questions=asks)
        return near, opened(near, look)

    near, source = read(verse.metrics)
    segments = [signal.segment for signal in signals]
    named = {name for segment in segments for name in segment.fields}
    told = tuple(
        request
        for request, axis in zip(plan.questions[0].axes, source.axes, strict=True)
        if axis.field in named and not axis.overlapping
    )
    atoms, offsets = [source.atoms(segments)], [source.offsets]
    others = [name for name in dict.fromkeys(fields) if name not in verse.metrics]
    most = max(1, int(FIELDS_BYTES / (8 * max(float(atoms[0].size.sum()), 1.0))))
    for first in range(0, len(others), most):
        _, beside = read(others[first : first + most], told)
        atoms.append(beside.atoms(segments))
        offsets.append(beside.offsets)
    groups = {segment.text: _of_atoms(atoms, column) for column, segment in enumerate(segments)}
    metrics = (*verse.metrics, *others)
    return Close(near, source, metrics, np.concatenate(offsets), groups, _of_atoms(atoms, None))


def _of_atoms(parts: Sequence[AtomSums], column: int | None) -> GroupSums:
    """One segment as sums of a single group, with the metrics of several scans; ``None`` = everybody."""
    each = [of_atoms(part, column) for part in parts]
    sums = (np.concatenate([getattr(one, name) for one in each]) for name in ("count", "total", "square"))
    return GroupSums.of((), each[0].codes, each[0].size, *sums)
