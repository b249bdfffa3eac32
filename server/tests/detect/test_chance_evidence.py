"""What is taken of each candidate does not depend on how candidates are put together."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import cast

import numpy as np
import pytest

from mona_server.detect import chance_evidence
from mona_server.detect.candidates import Block
from mona_server.detect.chance_evidence import Comparison, Evidence, Setting
from mona_server.detect.chance_judging import Judging
from mona_server.detect.chance_parts import Windows
from mona_server.detect.chance_series import Placebos, Stats
from mona_server.detect.shape import Shape
from mona_server.detect.source import GroupSums, SumsSource
from mona_server.detect.verses.base import Statistic

WINDOWS = Windows(np.arange(42, 56), np.arange(42), 7)
NO_SOURCE = cast(SumsSource, None)
"""Only segments by name need one."""


def groups(rng: np.random.Generator, axes: tuple[int, ...], segments: int) -> GroupSums:
    """Sums of segments of random size, in each of 56 frames."""
    size = rng.poisson(30, (segments, 56)).astype(float)
    total = rng.standard_normal((1, segments, 56)) * np.sqrt(size)
    square = size * rng.uniform(0.8, 1.2, (1, segments, 56))
    return GroupSums.of(axes, np.zeros((segments, len(axes)), np.int32), size, size[None], total, square)


def taken(
    statistic: Statistic, batch: int, monkeypatch: pytest.MonkeyPatch, windows: Windows = WINDOWS
) -> tuple[Evidence, list[list[Stats]]]:
    """The evidence from blocks of different lengths, and its stats."""
    monkeypatch.setattr(chance_evidence, "BATCH", batch)
    rng = np.random.default_rng(3)
    metrics = () if statistic is Statistic.SIZE else (0,)
    evidence = Evidence(Setting(statistic, "reference", windows, metrics, metrics, 0.05), groups(rng, (), 1))
    for axes, segments in (((0,), 12), ((1,), 9), ((0, 1), 40), ((0, 2), 3), ((1, 2), 70)):
        evidence.add(Block(groups(rng, axes, segments), (1,) * len(axes)))
    evidence.complete()
    return evidence, evidence.seen.stats[0]


def joined(some: list[Stats], name: str) -> np.ndarray:
    """One array of all candidates; halves side by side, and what is kept of placebo windows."""
    whole = Stats.joined(some)
    if name == "placebos":
        kept = [np.concatenate([getattr(one, field.name) for one in whole.placebos]) for field in fields(Placebos)]
        return np.concatenate(kept, axis=1, dtype=np.float64)
    return np.array(whole.halves).T if name == "halves" else getattr(whole, name)


@pytest.mark.parametrize("days", [1, 10])
def test_a_season_is_pooled_over_each_block(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Whatever it is taken together with, and however large it is. Neither a day nor ten days hold whole weeks."""
    windows = Windows(np.arange(42, 42 + days), np.arange(42), 7)
    _, alone = taken(Statistic.AVERAGE, 1, monkeypatch, windows)
    _, at_once = taken(Statistic.AVERAGE, 1_000, monkeypatch, windows)
    monkeypatch.setattr(chance_evidence, "PIECE", 16)
    _, large = taken(Statistic.AVERAGE, 1, monkeypatch, windows)
    assert (len(alone[0]), len(at_once[0]), len(large[0])) == (5, 2, 5)
    for name in ("change", "between", "spread", "placebos"):
        assert joined(at_once[0], name) == pytest.approx(joined(alone[0], name), rel=1e-6), name
        assert np.array_equal(joined(large[0], name), joined(alone[0], name)), name


@pytest.mark.parametrize("statistic", [Statistic.AVERAGE, Statistic.SUM, Statistic.SIZE])
def test_blocks_taken_together_give_what_each_gives_alone(
    statistic: Statistic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number of every candidate, in the order of the blocks; and large blocks what their pieces give."""
    alone, each = taken(statistic, 1, monkeypatch)
    together, at_once = taken(statistic, 1_000, monkeypatch)
    monkeypatch.setattr(chance_evidence, "PIECE", 16)
    _, in_pieces = taken(statistic, 1, monkeypatch)
    assert {len(part) for part in at_once} == {2}  # those that show the shocks, and the others
    assert {len(part) for part in each} == {5}
    assert {len(part) for part in in_pieces} == {1 + 1 + 3 + 1 + 5}
    assert [b.groups.axes for b in together.seen.blocks] == [b.groups.axes for b in alone.seen.blocks]
    assert np.array_equal(np.concatenate(alone.seen.sizes), np.concatenate(together.seen.sizes))
    for some, *others in zip(each, at_once, in_pieces, strict=True):
        for field, other in itertools.product(fields(Stats), others):
            assert joined(other, field.name) == pytest.approx(joined(some, field.name), rel=1e-5), field.name


def spreads(own: np.ndarray, judged: float = 1.0, everybody: float = 1.0) -> np.ndarray:
    """(S,) by how much judged rows spread wider.

    5 contexts a frame with variance ``own`` (S,), ``judged`` times as much in judged frames, where everybody's is
    ``everybody`` times as much.
    """
    size = np.full((len(own), 56), 5.0)
    square = own[:, None] * size
    square[:, 42:] *= judged
    whole = np.full((1, 56), 2_000.0)
    spread = whole.copy()
    spread[:, 42:] *= everybody

    def sums(axes: tuple[int, ...], size: np.ndarray, square: np.ndarray) -> GroupSums:
        codes = np.zeros((len(size), len(axes)), np.int32)
        return GroupSums.of(axes, codes, size, size[None], np.zeros((1, *size.shape)), square[None])

    setting = Setting(Statistic.AVERAGE, "reference", WINDOWS, (0,), (0,), 0.05)
    evidence = Evidence(setting, sums((), whole, spread))
    evidence.add(Block(sums((0,), size, square), (1,)))
    evidence.complete()
    found = Stats.joined(evidence.handed_over(0)[0])
    return found.wider / found.target_exposure


def test_quiet_and_wild_segments_do_not_spread_wider_than_they_did() -> None:
    """Though judged rows are fewer, so that everybody's variance would tell more about them than about those before."""
    own = np.geomspace(1e-3, 1e3, 13)
    assert spreads(own) == pytest.approx(0.0, abs=1e-9)
    assert spreads(own, 2.0, everybody=2.0) == pytest.approx(0.0, abs=1e-9)  # a storm
    assert spreads(own, 2.0, everybody=0.5) == pytest.approx(spreads(own, 2.0))


def test_judged_rows_that_spread_wider_are_noisier_by_that() -> None:
    """Seventy of them against a hundred rows' worth of what was usual."""
    own = np.geomspace(1e-3, 1e3, 13)
    assert spreads(own, 4.0) == pytest.approx(3 * own * 70 / 170)


def test_a_placebo_day_is_as_often_the_furthest_out_as_the_last_day() -> None:
    """Where nothing changes: else the limit that placebo days give is not that of the last day. Heavy tails show it."""
    rng, windows, above = np.random.default_rng(0), Windows(np.array([29]), np.arange(29), 7), list[float]()
    for _ in range(100):
        size = np.full((300, 30), 25.0)
        total = np.clip(5 * rng.standard_t(2.5, (1, 300, 30)), -40, 40)
        square = size[None] * (1 + total.var() / 25)
        everybody = (one.sum(axis=-2, keepdims=True) for one in (size, size[None], total, square))
        setting = Setting(Statistic.AVERAGE, "reference", windows, (0,), (0,), 0.05)
        evidence = Evidence(setting, GroupSums.of((), np.zeros((1, 0), np.int32), *everybody))
        codes = np.arange(300, dtype=np.int32)[:, None]
        evidence.add(Block(GroupSums.of((0,), codes, size, size[None], total, square), (1,)))
        judging = Judging(evidence, NO_SOURCE, base_allowed=False)
        above.append(float((judging.placebo_maxima(0) > judging.scores(0)[1].max()).mean()))
    assert np.mean(above) == pytest.approx(
        0.5, abs=0.08
    )  # 0.26 when placebo days helped to learn what they are held to


@pytest.mark.parametrize(
    ("statistic", "comparison"),
    [
        (Statistic.AVERAGE, "reference"),
        (Statistic.AVERAGE, "everybody"),
        (Statistic.SUM, "reference"),
        (Statistic.SIZE, "reference"),
    ],
)
def test_nothing_is_said_where_no_segment_is_large_enough(statistic: Statistic, comparison: Comparison) -> None:
    """As on the first day of a new class: no candidate, so no score, no limit, no failure."""
    metrics = () if statistic is Statistic.SIZE else (0,)
    shapes = (Shape(),) if metrics else ()
    base = groups(np.random.default_rng(0), (), 1)
    judging = Judging(
        Evidence(Setting(statistic, comparison, WINDOWS, metrics, metrics, 0.05, shapes=shapes), base),
        NO_SOURCE,
        base_allowed=False,
    )
    z, score = judging.scores(0)
    assert len(z) == len(score) == 0
    assert len(judging.placebo_maxima(0)) == 0
