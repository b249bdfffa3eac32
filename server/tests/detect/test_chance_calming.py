"""Contexts of findings in candidates, beside which turmoil is measured again."""

from __future__ import annotations

import numpy as np
import pytest

from mona_server.detect import chance_calming, chance_looks
from mona_server.detect.chance_judging import Judging
from mona_server.detect.table_columns import matches
from mona_server.segment import Equals, Range, Segment
from tests.detect.storms import Bucketed, broad_and_small, run
from tests.detect.ten_weeks import codes, recent


def test_contexts_inside_of_a_finding_are_counted_for_every_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mask over the rows counts them, also for two neighbouring buckets."""
    plain = broad_and_small(5)
    score = np.where(np.arange(len(plain.time_ms)) % 7 == 0, np.nan, np.asarray(plain.columns["score"]))
    number = codes(plain, "b").astype(np.float64)
    data = Bucketed({**plain.columns, "score": score, "number": number}, plain.time_ms)
    seen: list[Judging] = []
    monkeypatch.setattr(chance_looks, "calmed", lambda judging, *_: seen.append(judging))
    run(data, depth=2, segment_by=["a", "c", "number"], create_extra_adjacent_signals=True)
    judging = seen[0]
    inside = chance_calming._contexts(judging, 0, judging.source.within(Segment.of({"a": Equals("a0")})))
    assert inside.shape == (1, len(judging.size))
    segments = [judging.segment(candidate) for candidate in range(len(judging.size))]
    assert Segment.of({"c": Equals("c3"), "number": Range(1.0, 4.0)}) in segments
    for candidate, segment in enumerate(segments):
        mask = recent(data) & ~np.isnan(score) & (codes(data, "a") == 0)
        for field, (condition, *_) in segment.conditions:
            mask &= matches(data.columns[field], condition)
        assert inside[0, candidate] == mask.sum()
