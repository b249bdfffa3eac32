"""Turmoil measured again beside what was found: a large change makes no storm, and a storm stays one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mona_server.detect import chance_looks, search
from mona_server.detect.chance_calming import Counted, Moved, calmed
from mona_server.detect.chance_explaining import Explaining, Judged
from mona_server.detect.chance_judging import Joined, Judging
from mona_server.detect.table_columns import Coded, Column
from tests.detect.storms import BROAD, FIELDS, SMALL, broad_and_small, run, table
from tests.detect.ten_weeks import NOW, codes, names, recent
from tests.detect.tutorial import Table, verse


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

    monkeypatch.setattr(chance_looks, "calmed", look)
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
    monkeypatch.setattr(chance_looks, "LOOKS", 0)
    assert names(run(data)) == [BROAD]


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_change_is_not_hidden_by_the_turmoil_that_it_makes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one day half of the contexts move, and most segments hold nothing but them or none of them."""
    data, rng = table(seed, per_day=200), np.random.default_rng(seed + 50)
    half = rng.integers(0, 2, len(data.time_ms))
    for name, parts in (("b", 1), ("c", 5), ("d", 6)):
        nested = half * parts + rng.integers(0, parts, len(half))
        data.columns[name] = Coded(nested.astype(np.int32), tuple(f"{name}{i}" for i in range(2 * parts)))
    np.asarray(data.columns["score"])[recent(data, 1) & (half == 0)] += 0.8
    asked = {"segment_by": list(FIELDS), "metrics": ["score"], "min_anomaly_level": 0, "fold_redundant": True}
    sudden = verse("AverageSuddenChange", max_segment_depth=2, max_false_discovery_rate=0.01, **asked)

    def said() -> list[str]:
        return names(search(sudden, data.source, NOW, data_start_ms=data.start_ms))

    assert said() == ["b = b0"]
    monkeypatch.setattr(chance_looks, "calmed", lambda *_: None)
    assert said() != ["b = b0"]


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

    monkeypatch.setattr(chance_looks, "Explaining", Silent)
    monkeypatch.setattr(chance_looks, "calmed", look)
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


def test_a_storm_without_a_cause_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The segment that moved furthest is supposed to have made it, but does not explain it."""
    data, own = table(1), np.random.default_rng(2).normal(0, 0.3, (12, 12, 12))
    now = recent(data)
    each = tuple(codes(data, field)[now] for field in ("b", "c", "d"))
    np.asarray(data.columns["score"])[now] += own[each]
    seen = looks(monkeypatch)
    assert names(run(data)) == []
    judging, supposed, before, _ = seen[0]
    assert len(supposed) == 1
    assert before > 1.3
    assert max(float(part.turmoil.max()) for part in judging.joined[0]) == before
