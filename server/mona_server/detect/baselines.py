"""The baselines inside of which a verse searches: all data, or one per value of the fields that split it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from mona_server.detect.candidates import Block
from mona_server.detect.gate import Inside
from mona_server.detect.sliced import SlicedSource, both
from mona_server.detect.source import GroupSums, SumsSource
from mona_server.detect.verses.base import Statistic, Verse
from mona_server.detect.windows import Plan, axes_of

MOST_SPLITS = 3
"""Most fields of ``segment_baseline_by`` that split the baseline together."""


def baselines(verse: Verse, plan: Plan, source: SumsSource) -> Iterator[Inside]:
    """Each baseline that is large enough, all data first.

    ``always_segment_baseline_by`` is part of every split; ``segment_baseline_by`` adds each of its fields and
    intersections. Axes of a splitting field are not searched inside of it.
    """
    requests = axes_of(verse)
    place = {request: i for i, request in enumerate(requests)}
    searched = tuple(dict.fromkeys(place[request] for request in verse["segment_by"]))
    bins = (
        tuple(range(len(requests), len(requests) + len(verse.metrics)))
        if verse.type.statistic is Statistic.DISTRIBUTION
        else ()
    )
    always = tuple(place[request] for request in verse["always_segment_baseline_by"])
    optional = tuple(place[r] for r in verse["segment_baseline_by"] if place[r] not in always)
    for depth in range(min(len(optional), MOST_SPLITS) + 1):
        for chosen in combinations(optional, depth):
            split = (*always, *chosen)
            if not split:
                yield Inside(verse, plan, source, source.sums(()), verse["baseline_segment"], searched, bins)
                continue
            if len({source.axes[axis].field for axis in split}) < len(split):
                continue
            fields = {source.axes[axis].field for axis in split}
            inner = tuple(axis for axis in searched if source.axes[axis].field not in fields)
            block = Block(source.sums(split, verse["baseline_min_segment_size"]), (1,) * len(split))
            cache: dict[tuple[int, ...], GroupSums] = {}
            for row in range(len(block)):
                values = block.segment(row, source.axes)
                fixed = dict(zip(split, (int(code) for code in block.groups.codes[row]), strict=True))
                part = SlicedSource(source, fixed, values, cache)
                named = both(verse["baseline_segment"], values)
                yield Inside(verse, plan, part, part.sums(()), named, inner, bins)
