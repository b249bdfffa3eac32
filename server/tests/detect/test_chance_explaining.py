"""What suspects are explained by: the noise they share, what is known of new segments, and everybody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mona_server.detect import selection
from mona_server.detect.chance_explaining import Explaining
from mona_server.detect.overlaps import Overlaps
from mona_server.detect.selection import Aspect, Chosen
from mona_server.detect.table_columns import Coded
from mona_server.segment import Equals, Segment
from tests.detect.ten_weeks import AT_MS, DAY_MS, DAYS, codes, names, recent, run, table
from tests.detect.tutorial import Table

NEW = Segment.of({"a": Equals("B"), "b": Equals("y")})


@pytest.fixture
def explained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Segment], Aspect]]:
    """Suspects and their first aspect, of each choice that is made."""
    seen: list[tuple[list[Segment], Aspect]] = []
    batches: list[list[Segment]] = []
    choose_among, choose = Explaining._choose, selection.choose

    def suspects(self: Explaining, batch: list[int], named: set[int], base: bool) -> list[tuple[int, float, float]]:
        batches.append([self.judge.segment(c) for c in batch])
        return choose_among(self, batch, named, base)

    def chosen(aspects: list[Aspect], *args: Any, **more: Any) -> list[Chosen]:
        seen.append((batches[-1], aspects[0]))
        return choose(aspects, *args, **more)

    monkeypatch.setattr(Explaining, "_choose", suspects)
    monkeypatch.setattr(selection, "choose", chosen)
    return seen


def with_new(seed: int, fewer: float) -> Table:
    """Always 300 contexts a day; some of one pair came that had never been seen; a = D has fewer than usual by a share."""
    data, rng = table(seed), np.random.default_rng(seed)
    a, b, late = codes(data, "a"), codes(data, "b"), recent(data)
    pair = (a == 1) & (b == 2)
    kept = ~(pair & ~(late & (rng.random(len(a)) < 0.1))) & ~((a == 3) & late & (rng.random(len(a)) < fewer))
    columns: dict[str, Any] = {"a": Coded(a[kept], tuple("ABCDE")), "b": Coded(b[kept], tuple("wxyz"))}
    return Table(columns, data.time_ms[kept])


def test_what_new_segments_add_is_left_out(explained: list[tuple[list[Segment], Aspect]]) -> None:
    """What is fitted is the change without them, and nothing of it is theirs."""
    data = with_new(0, 0.3)
    run(data, "SegmentSizeDrift")
    run(data, "SegmentSizeDrift", known=[NEW])
    (suspects, fitted), (same, known) = explained
    assert suspects == same
    count, place = len(suspects), suspects.index(Segment.of({"a": Equals("D")}))
    assert (known.kernel[:, count + 1 :] == 0).all()
    late = recent(data)
    pair = late & (codes(data, "a") == 1) & (codes(data, "b") == 2)
    before = ~late & (codes(data, "a") == 3)
    dilution = float(before.sum() / (~late).sum() * pair.sum())
    assert known.change[place] - fitted.change[place] == pytest.approx(dilution, rel=0.05)
    assert known.change[count] - fitted.change[count] == pytest.approx(-float(pair.sum()))


def test_a_quota_is_no_evidence_for_everybody() -> None:
    """The total is always the same but for one segment: that segment is told, not that everybody came less often."""
    told = [names(run(with_new(seed, 0.18), "SegmentSizeDrift", known=[NEW])) for seed in range(12)]
    assert sum(one == ["a = D"] for one in told) >= 9
    assert not any("all data" in one for one in told)


def test_no_part_adds_more_noise_to_its_parent_than_it_has(explained: list[tuple[list[Segment], Aspect]]) -> None:
    """Lines come by a quota and make products in turns: a part is as noisy as its product, its line is calm."""
    rng = np.random.default_rng(0)
    day, line = np.repeat(np.arange(DAYS), 360), np.tile(np.repeat(np.arange(6), 60), DAYS)
    made = np.stack([np.repeat(rng.integers(0, 4, DAYS), rng.integers(2, 6, DAYS))[:DAYS] for _ in range(6)], axis=1)
    kept = (rng.random(len(day)) < 0.95) & ~((line == 1) & (day >= DAYS - 14) & (rng.random(len(day)) < 0.6))
    columns: dict[str, Any] = {
        "a": Coded(line[kept].astype(np.int32), tuple("ABCDEF")),
        "b": Coded(made[day, line][kept].astype(np.int32), tuple("wxyz")),
        "c": Coded((np.arange(len(day)) % 3)[kept].astype(np.int32), tuple("123")),
    }
    at = AT_MS - (DAYS - day) * DAY_MS + rng.integers(0, DAY_MS, len(day))
    assert names(run(Table(columns, at[kept]), "SegmentSizeDrift", segment_by=["a", "b", "c"])) == ["a = B"]
    suspects, aspect = explained[0]
    variance = np.diag(aspect.covariance)
    nested = [
        (p, c)
        for p, parent in enumerate(suspects)
        for c, part in enumerate(suspects)
        if p != c and set(parent.conditions) < set(part.conditions)
    ]
    assert nested
    for p, c in nested:
        assert 0 < aspect.covariance[p, c] <= min(variance[p], variance[c]) * (1 + 1e-9)


WHOLE_AND_PARTS = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], bool)
"""Three atoms: all of them are in the first segment, one each in the others."""


def test_noise_of_segments_is_made_of_that_of_their_atoms() -> None:
    """Variances that atoms can have are met, and a whole never differs from the sum of its parts."""
    rows, none = np.array([1.0, 1.0, 2.0]), np.zeros(4)
    met = Overlaps(WHOLE_AND_PARTS).covariance(rows, rows, none, np.array([7.0, 1.0, 4.0, 2.0]))
    assert np.diag(met) == pytest.approx([7, 1, 4, 2], rel=0.02)
    difference = np.array([1.0, -1.0, -1.0, -1.0])
    assert difference @ met @ difference == pytest.approx(0, abs=0.1)
    assert met[1:, 1:] == pytest.approx(np.diag(np.diag(met)[1:]))
    # With the past: as much again where as many contexts are expected as were there.
    past = Overlaps(WHOLE_AND_PARTS).covariance(rows, rows, np.ones(4), np.array([8.0, 2.0, 2.0, 4.0]))
    assert past == pytest.approx(Overlaps(WHOLE_AND_PARTS).weigh(2 * rows), rel=1e-6)
    # A whole that is wilder than its parts makes these wilder, and has the rest as noise of its own.
    wild = Overlaps(WHOLE_AND_PARTS).covariance(rows, rows, none, np.array([50.0, 1.0, 4.0, 2.0]))
    assert wild[0, 0] == 50
    assert (np.diag(wild)[1:] > [1, 4, 2]).all()
    assert np.diag(wild)[1:].sum() < 40


def test_noise_alone_explains_nothing() -> None:
    """Where the variances of a whole and of its parts do not fit each other, no hypothesis becomes certain by that."""
    rng = np.random.default_rng(0)
    wanted = np.array([14.0, 1.0, 4.0, 2.0])
    overlaps, atoms = Overlaps(WHOLE_AND_PARTS), np.ones(3)
    shared = overlaps.weigh(atoms)
    scaled = shared * np.sqrt(np.outer(wanted / np.diag(shared), wanted / np.diag(shared)))
    made = overlaps.covariance(atoms, atoms, np.zeros(4), wanted)
    gains = []
    for _ in range(100):
        moved = WHOLE_AND_PARTS.T @ (np.sqrt([1.0, 4.0, 2.0]) * rng.normal(0, 1, 3))
        gains.append([selection.best_gain([Aspect(moved, covariance, shared)]) for covariance in (made, scaled)])
    usual, by_scaling = np.quantile(gains, 0.95, axis=0)
    assert usual < 4  # half of a chi square of one degree, the best of four
    assert by_scaling > 2 * usual
