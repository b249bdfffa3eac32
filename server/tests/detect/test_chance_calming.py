"""Turmoil measured again beside what was found: a large change makes no storm, and a storm stays one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mona_server.detect import SearchResult, chance_calming, chance_search, search
from mona_server.detect.chance_calming import Counted, Moved, calmed
from mona_server.detect.chance_explaining import Explaining, Judged
from mona_server.detect.chance_judging import Joined, Judging
from mona_server.detect.source import SourceQuestion, SumsSource
from mona_server.detect.table_columns import Coded, Column, matches
from mona_server.detect.table_source import TableSource
from mona_server.segment import Equals, Range, Segment
from tests.detect.ten_weeks import AT_MS, DAY_MS, DAYS, NOW, codes, names, recent
from tests.detect.tutorial import Table, verse

FIELDS = {"a": 3, "b": 8, "c": 10, "d": 12}
BROAD, SMALL = "a = a0", "b = b2 and c = c3"
EDGES = (None, 1.0, 2.0, 4.0, None)
BUCKETS = tuple(Range(low, high) for low, high in pairwise(EDGES))


class Bucketed(Table):
    """The same with the number of ``b`` in buckets."""

    def source(self, question: SourceQuestion) -> SumsSource:
        return TableSource(self.columns, self.time_ms, question, {("number", None): BUCKETS})


def table(seed: int, per_day: int = 500) -> Table:
    """Four fields, of which the first has one common value, and a score."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS), per_day)
    columns: dict[str, Column] = {
        name: Coded(
            np.minimum(rng.geometric(0.45 if name == "a" else 0.2, len(day)) - 1, count - 1).astype(np.int32),
            tuple(f"{name}{i}" for i in range(count)),
        )
        for name, count in FIELDS.items()
    }
    columns["score"] = rng.normal(0, 1, len(day))
    return Table(columns, AT_MS - (DAYS - day) * DAY_MS + rng.integers(0, DAY_MS, len(day)))


def broad_and_small(seed: int) -> Table:
    """A large change of a common value, and a small one of a segment that shares some contexts with it."""
    data = table(seed)
    score = np.asarray(data.columns["score"])
    score[recent(data) & (codes(data, "a") == 0)] += 1.0
    score[recent(data) & (codes(data, "b") == 2) & (codes(data, "c") == 3)] += 0.5
    return data


def run(of: Table, depth: int = 3, **given: Any) -> SearchResult:
    asked = {
        "max_false_discovery_rate": 0.05,
        "fold_redundant": True,
        "segment_by": list(FIELDS),
        "max_segment_depth": depth,
        "metrics": ["score"],
        "min_anomaly_level": 0,
        "min_segment_size_fraction": 0.001,
    }
    return search(verse("AverageDrift", **asked | given), of.source, NOW, data_start_ms=of.start_ms)


def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Judging, tuple[Moved, ...], float, float | None]]:
    """Filled while a search runs: who judged, what had moved, the most turmoil before and after the look."""
    seen: list[tuple[Judging, tuple[Moved, ...], float, float | None]] = []

    def look(judging: Judging, test: int, moved: Sequence[Moved], counted: Counted) -> list[Joined] | None:
        before = max(float(part.turmoil.max()) for part in judging.joined[test])
        found = calmed(judging, test, moved, counted)
        assert {one.segment for one in moved} <= set(counted) or found is None
        after = None if found is None else max(float(part.turmoil.max()) for part in found)
        seen.append((judging, tuple(moved), before, after))
        return found

    monkeypatch.setattr(chance_search, "calmed", look)
    return seen


def test_a_large_change_does_not_hide_a_small_one_as_a_storm_would(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = looks(monkeypatch)
    data = broad_and_small(5)
    assert sorted(names(run(data))) == [BROAD, SMALL]
    _, moved, before, after = seen[0]
    assert [str(one.segment) for one in moved] == [BROAD]
    assert moved[0].by[0] == pytest.approx(1.0, abs=0.1)  # per context
    assert before > 1.3
    assert after is not None
    assert after < 1.1
    monkeypatch.setattr(chance_search, "LOOKS", 0)
    assert names(run(data)) == [BROAD]


def test_what_findings_do_not_explain_stays_a_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all pairs of two fields move a little, each in its own way, the one that moves further is named, and no more."""
    data = table(1)
    score, own = np.asarray(data.columns["score"]), np.random.default_rng(2).normal(0, 0.15, (12, 12))
    now = recent(data)
    score[now] += own[codes(data, "c")[now], codes(data, "d")[now]]
    score[now & (codes(data, "a") == 0)] += 1.0
    seen = looks(monkeypatch)
    assert names(run(data)) == [BROAD]
    left = [before if after is None else after for *_, before, after in seen]
    assert seen[0][2] > 3
    assert left[-1] > 1.1  # none of which is the large change's


def test_what_grew_is_known_to_the_totals_of_all_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts are the same for each: turmoil of a metric whose own total tells nothing is measured beside them, too."""
    data = table(5)
    data.columns["cost"] = np.random.default_rng(1).gamma(2.0, 1.0, len(data.time_ms))
    data.columns["score"] = np.asarray(data.columns["score"]) + 10.0
    kept = ~recent(data) | (codes(data, "a") != 0) | (np.arange(len(data.time_ms)) % 2 == 0)
    columns: dict[str, Column] = {
        name: Coded(column.codes[kept], column.values) if isinstance(column, Coded) else np.asarray(column)[kept]
        for name, column in data.columns.items()
    }

    class Silent(Explaining):
        """As if the second metric were too wild to tell anything."""

        def run(self) -> tuple[list[Judged], list[Judged]]:
            found, beyond = super().run()
            if self.test == 0:
                return found, beyond
            self.moved = []
            return [], []

    beside: dict[int, list[Moved]] = {0: [], 1: []}

    def look(_: Judging, test: int, moved: Sequence[Moved], counted: Counted) -> None:
        beside[test] += moved

    monkeypatch.setattr(chance_search, "Explaining", Silent)
    monkeypatch.setattr(chance_search, "calmed", look)
    asked = {"segment_by": list(FIELDS), "metrics": ["score", "cost"], "min_anomaly_level": 0, "fold_redundant": True}
    half = Table(columns, data.time_ms[kept])
    verse_of = verse("SumDrift", max_segment_depth=2, max_false_discovery_rate=0.05, **asked)
    result = search(verse_of, half.source, NOW, data_start_ms=half.start_ms)
    assert [(str(signal.segment), signal.metric) for signal in result.signals] == [(BROAD, "score")]
    assert [str(one.segment) for one in beside[1]] == [BROAD]
    share = 0.45  # of all contexts before; half of them are gone, and everybody's count with them
    expected = share * (1 - share / 2)
    lost = (share / 2 - expected) / expected / (1 - share)
    assert beside[1][0].by == pytest.approx((lost, 0.0), abs=0.03)


def test_contexts_inside_of_a_finding_are_counted_for_every_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mask over the rows counts them, also for two neighbouring buckets."""
    plain = broad_and_small(5)
    score = np.where(np.arange(len(plain.time_ms)) % 7 == 0, np.nan, np.asarray(plain.columns["score"]))
    number = codes(plain, "b").astype(np.float64)
    data = Bucketed({**plain.columns, "score": score, "number": number}, plain.time_ms)
    seen = looks(monkeypatch)
    run(data, depth=2, segment_by=["a", "c", "number"], create_extra_adjacent_signals=True)
    judging = seen[0][0]
    inside = chance_calming._contexts(judging, 0, judging.source.within(Segment.of({"a": Equals("a0")})))
    assert inside.shape == (1, len(judging.size))
    segments = [judging.segment(candidate) for candidate in range(len(judging.size))]
    assert Segment.of({"c": Equals("c3"), "number": Range(1.0, 4.0)}) in segments
    for candidate, segment in enumerate(segments):
        mask = recent(data) & ~np.isnan(score) & (codes(data, "a") == 0)
        for field, (condition, *_) in segment.conditions:
            mask &= matches(data.columns[field], condition)
        assert inside[0, candidate] == mask.sum()
