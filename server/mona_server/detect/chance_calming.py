"""Turmoil again, once the findings are known: how wide do all candidates scatter without what the findings explain?

Where a large segment moves, so do all that share contexts with it, each by its share. That is no storm, but until it is known
which segments moved the two look alike: a large change would make all others look like chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from mona_server.detect.candidates import Block, keys_of
from mona_server.detect.chance_judging import Joined, Judging
from mona_server.detect.source import Floats, GroupSums, SumsSource
from mona_server.detect.windows import runs
from mona_server.segment import Segment

MOST = 20
"""So many findings are taken off, the strongest: each costs a pass over its contexts."""
WORTH = 0.05
"""By less than this turmoil need not fall for a second look."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A finding, and what it added per context of its segment in each part: per expected one for sizes."""

    segment: Segment
    by: tuple[float, ...]


Counted = dict[Segment, tuple[Floats, Floats]]
"""Finding → contexts of it in each candidate (parts, C) and in all (parts, 1), so that a second look need not count them again."""


def calmed(judging: Judging, test: int, moved: Sequence[Moved], counted: Counted) -> list[Joined] | None:
    """The parts of one metric with the turmoil that is left beside what moved; None where that is no less.

    ``counted`` is filled, and read where a finding is in it already.
    """
    parts = judging.joined[test]
    if not moved or all(part.turmoil.max(initial=1.0) < 1 + WORTH for part in parts):
        return None
    left = [part.stats.change for part in parts]
    for one in moved[:MOST]:
        if one.segment not in counted:
            source = judging.source.within(one.segment)
            everybody = next(iter(source.spans_of([()], _spans(judging))))
            counted[one.segment] = (_contexts(judging, test, source), _contexts_of(judging, test, everybody))
        inside, whole = counted[one.segment]
        for i, part in enumerate(parts):
            share = part.stats.target_exposure / max(float(judging.everybody(test, i)), 1e-9)
            left[i] = left[i] - one.by[i] * (inside[i] - share * float(whole[i, 0]))
    calmer = [np.minimum(part.turmoil, judging.turmoil(part, change)) for part, change in zip(parts, left, strict=True)]
    if all((part.turmoil - now).max(initial=0.0) < WORTH for part, now in zip(parts, calmer, strict=True)):
        return None
    return [replace(part, turmoil=now) for part, now in zip(parts, calmer, strict=True)]


def _contexts(judging: Judging, test: int, inside: SumsSource) -> Floats:
    """(parts, C): the contexts of each candidate that are inside, as :func:`_contexts_of`."""
    found = list[Floats]()
    # Blocks over the same axes follow each other.
    together = [(axes, list(some)) for axes, some in groupby(judging.seen.blocks, lambda block: block.groups.axes)]
    summed = inside.spans_of([axes for axes, _ in together], _spans(judging))
    for (_, some), groups in zip(together, summed, strict=True):
        values = _contexts_of(judging, test, groups)
        found += [_looked_up(block, groups, values, inside) for block in some]
    return np.concatenate(found, axis=1) if found else np.zeros((len(judging.joined[test]), 0))


def _spans(judging: Judging) -> list[tuple[int, int]]:
    """Runs of reference frames, then of judged ones."""
    windows = judging.setting.windows
    return [*runs(windows.reference), *runs(windows.target)]


def _contexts_of(judging: Judging, test: int, groups: GroupSums) -> Floats:
    """(parts, S) over :func:`_spans`: expected contexts for sizes, judged ones with a value for means."""
    first, sized = len(runs(judging.setting.windows.reference)), judging.evidence.sized
    found = []
    if sized:
        found.append(groups.size[:, :first].sum(axis=1) * judging.growth)
    if len(judging.joined[test]) > len(found):
        found.append(judging.evidence.moments(groups, test).count[:, first:].sum(axis=1))
    return np.array(found, np.float64).reshape(len(found), len(groups.codes))


def _looked_up(block: Block, groups: GroupSums, values: Floats, source: SumsSource) -> Floats:
    """(parts, S) of the segments of a block: the sum over their codes, 0 where there is no context."""
    out = np.zeros((len(values), len(block)))
    if not len(groups.codes):
        return out
    keys = keys_of(groups.axes, groups.codes, source.axes)
    for step in np.ndindex(*block.widths):
        wanted = keys_of(groups.axes, block.groups.codes + np.array(step, np.int32), source.axes)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        out += np.where(keys[place] == wanted, values[:, place], 0.0)
    return out
