"""Sums from signed facts: they equal the sums of the table of what is true now, whatever the history."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.config.segmentations import Segmentation
from mona_server.detect.source import AxisRequest, Effects, GroupSums, SourceQuestion
from mona_server.detect.table_columns import Elements, coded
from mona_server.detect.table_source import TableSource
from mona_server.errors import BadRequest
from mona_server.query import rows
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.sums import FactSums, open_source
from mona_server.segment import MISSING, Condition, Differs, Equals, Range, Segment
from mona_server.settings import Engine
from tests.query.lab import DAY_MS, Lab, histories

KINDS: Any = {"city": "string", "vip": "boolean", "x": "numeric", "tags": "string"}
EDGES = tuple(day * DAY_MS for day in range(5))
WIDTH = Segmentation(name="default", kind="boundaries", boundaries=(0.0, 10.0), default=True)

history = histories([-3.5, 0.0, 1.0, 7.0, 12.25, 1e6], 8, 30)


def segmentation_of(field: str, _name: str | None) -> Segmentation | None:
    return WIDTH if field == "x" else None


def filled(folder: Path, engine: DuckEngine, steps: Any) -> Lab:
    return Lab(folder, KINDS, engine).play(steps)


def table(lab: Lab, question: SourceQuestion) -> TableSource:
    """The in-memory source over what is true now."""
    rows = list(lab.state.values())
    city = coded([row.get("city") for _, row in rows])
    vip = coded([row.get("vip") for _, row in rows])
    x = np.array([row.get("x", np.nan) for _, row in rows], np.float64)
    place, elements = [], []
    for i, (_, row) in enumerate(rows):
        for tag in dict.fromkeys(row.get("tags", [])):
            place.append(i)
            elements.append(tag)
    found = coded(elements)
    tags = Elements(np.array(place, np.int64), found.codes, found.values, len(rows))
    x_buckets: tuple[Condition, ...] = (*WIDTH.buckets(0, 1).conditions, Equals(None))
    return TableSource(
        {"city": city, "vip": vip, "x": x, "tags": tags},
        np.array([time for time, _ in rows], np.int64),
        question,
        {("x", None): x_buckets},
    )


def by_segment(source: Any, sums: GroupSums) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Sums under the words of their segment, moved to plain moments so that offsets do not matter."""
    found = {}
    c = source.offsets[:, None]
    for s, codes in enumerate(sums.codes):
        key = tuple(
            str(Segment.of({source.axes[a].field: source.axes[a].conditions[k]}))
            for a, k in zip(sums.axes, codes, strict=True)
        )
        n, total, square = sums.count[:, s], sums.total[:, s], sums.square[:, s]
        found[key] = (sums.size[s], n, total + n * c, square + 2 * c * total + n * c * c)
    return found


def assert_same(mine: Any, his: Any, axes: tuple[int, ...], min_size: float = 1) -> None:
    ours, theirs = by_segment(mine, mine.sums(axes, min_size)), by_segment(his, his.sums(axes, min_size))
    assert set(ours) == set(theirs)
    for key, arrays in theirs.items():
        for left, right in zip(ours[key], arrays, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-3)


def effects(source: Any) -> Effects:
    """Some effect of each value, the same in both sources."""
    by_axis = [
        np.array([0.0 if axis.field == "tags" else len(str(c)) / 8 for c in axis.conditions], np.float64)
        for axis in source.axes
    ]
    # The constant makes up for the offset, which may differ.
    centre = np.linspace(-4, 4, len(source.edges_ms) - 1)
    return Effects(tuple(by_axis), constant=float(1.5 - source.offsets[0]), limit=3.0, centre=centre)


AXES = (AxisRequest("city"), AxisRequest("vip"), AxisRequest("x"), AxisRequest("tags"))
SEGMENTS = (
    Segment.parse({"city": [{"value": "Haifa"}]}),
    Segment.parse({"city": [{"values": ["Acre", MISSING]}]}),
    Segment.parse({"x": [{"min_value": 1, "max_value": 8}]}),
    Segment.parse({"tags": [{"value": "a"}], "vip": [{"value": True}]}),
    Segment.parse({"tags": [{"value": MISSING}]}),
    Segment.parse({"city": [{"not_value": "Haifa"}]}),
    Segment.parse({"city": [{"regex": "^[AŁ]"}]}),
    Segment.parse({"tags": [{"regex": "[bc]"}]}),
)


@settings(max_examples=25, deadline=None)
@given(
    steps=history,
    within=st.sampled_from([Segment(), *SEGMENTS]),
    excluded=st.sampled_from([(), SEGMENTS[:1], SEGMENTS[3:5]]),
)
def test_any_history_sums_to_what_is_true_now(
    engine: DuckEngine, steps: Any, within: Segment, excluded: tuple[Segment, ...]
) -> None:
    """Random creations, changes, moves and deletions, flushed anywhere: sums equal those of the net contexts."""
    question = SourceQuestion(AXES, ("x", "vip", "city"), EDGES, within, excluded)
    with tempfile.TemporaryDirectory() as folder:
        lab = filled(Path(folder), engine, steps)
        mine, his = open_source(lab.facts(), question, segmentation_of), table(lab, question)
        for depth in range(4):
            for axes in itertools.combinations(range(4), depth):
                assert_same(mine, his, axes)
        assert_same(mine, his, (0, 1), min_size=2)
        rest, expected_rest = mine.residual({0: effects(mine)}), his.residual({0: effects(his)})
        for axes in ((), (0,), (1, 3)):
            left, right = rest.sums(axes), expected_rest.sums(axes)
            np.testing.assert_allclose(left.total[3], right.total[3], rtol=1e-9, atol=1e-3)
            np.testing.assert_array_equal(left.count[3], right.count[3])
        spans = ((0, 2), (1, 4))
        by_span, by_frame = mine.atoms(SEGMENTS, spans), mine.atoms(SEGMENTS)
        for i, (a, b) in enumerate(spans):
            np.testing.assert_array_equal(by_span.size[:, i], by_frame.size[:, a:b].sum(axis=1))
            np.testing.assert_allclose(by_span.total[..., i], by_frame.total[..., a:b].sum(axis=-1), atol=1e-6)
        for segment in (SEGMENTS[0], SEGMENTS[3]):
            inner, expected_inner = mine.within(segment), his.within(segment)
            inner_rest, expected_inner_rest = rest.within(segment), expected_rest.within(segment)
            for axes in ((), (0,), (0, 1), (1, 3)):
                assert_same(inner, expected_inner, axes)
                found, wanted = (one.sums(axes).total[3] for one in (inner_rest, expected_inner_rest))
                np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-3)
            assert inner.atoms(SEGMENTS).size.sum() == expected_inner.atoms(SEGMENTS).size.sum()
        ours, theirs = mine.atoms(SEGMENTS), his.atoms(SEGMENTS)
        atoms = {tuple(m): size for m, size in zip(ours.member, ours.size, strict=True) if size.any()}
        expected = {tuple(m): size for m, size in zip(theirs.member, theirs.size, strict=True)}
        assert set(atoms) == set(expected)
        for key, size in expected.items():
            np.testing.assert_array_equal(atoms[key], size)
        for segment in SEGMENTS:
            net, naive = mine.net_values(segment, "x", 1, 3), his.net_values(segment, "x", 1, 3)
            np.testing.assert_array_equal(net.values, naive.values)
            np.testing.assert_array_equal(net.weights, naive.weights)


@settings(max_examples=15, deadline=None)
@given(steps=history)
def test_frame_filters_bind_their_frames_only(engine: DuckEngine, steps: Any) -> None:
    """A filter on frames 2 and 3 leaves frames 0 and 1 alone, in sums, atoms and net values."""
    question = SourceQuestion(AXES, ("x",), EDGES, frame_filters=((2, 4, SEGMENTS[0]),))
    with tempfile.TemporaryDirectory() as folder:
        lab = filled(Path(folder), engine, steps)
        mine, his = open_source(lab.facts(), question, segmentation_of), table(lab, question)
        assert_same(mine, his, (0,))
        assert_same(mine, his, (1, 2))
        net, naive = mine.net_values(Segment(), "x", 0, 4), his.net_values(Segment(), "x", 0, 4)
        np.testing.assert_array_equal(net.weights, naive.weights)


def test_many_rows_and_values_sum_like_the_table(new_lab: Any) -> None:
    """More values than a byte counts, some missing, some avoided, and enough rows for small sets."""
    lab = new_lab(KINDS)
    rng = np.random.default_rng(3)
    for i in range(6000):
        given: dict[str, Any] = {"vip": bool(rng.integers(2)), "x": float(rng.integers(-3, 14))}
        if rng.random() < 0.9:
            given["city"] = f"c{rng.integers(160)}"
        lab.put(f"id-{i % 5000}", int(rng.integers(0, 4 * DAY_MS)), given)
        if i in (2000, 4500):
            lab.flush()
    axes = (AxisRequest("city", avoid_values=("c3", "c4")), *AXES[1:3])
    question = SourceQuestion(axes, ("x", "vip"), EDGES)
    mine, his = open_source(lab.facts(), question, segmentation_of), table(lab, question)
    for depth in range(4):
        for chosen in itertools.combinations(range(3), depth):
            assert_same(mine, his, chosen)
            assert_same(mine, his, chosen, min_size=3)
    rest, expected = mine.residual({0: effects(mine)}), his.residual({0: effects(his)})
    np.testing.assert_allclose(rest.sums((0,)).total[2], expected.sums((0,)).total[2], rtol=1e-9, atol=1e-6)
    coarse, stretches = rest.coarser(((0, 2), (2, 3), (3, 4))), (slice(0, 2), slice(2, 4), slice(0, 4))
    for chosen in ((), (0,), (0, 2)):
        fine, told = rest.sums(chosen), coarse.sums(chosen)
        np.testing.assert_array_equal(fine.contexts, told.contexts)
        np.testing.assert_array_equal(fine.total_of(2), told.total_of(2))
        for metric, frames in itertools.product(range(3), stretches):
            np.testing.assert_allclose(fine.over(metric, frames), told.over(metric, frames), rtol=1e-9, atol=1e-6)
    with pytest.raises(ValueError, match="cut a stretch"):
        coarse.sums((0,)).over(0, slice(1, 3))
    whole, told_whole = mine.everybody({0: effects(mine)}), his.everybody({0: effects(his)})
    for part in ("count", "total", "square"):
        np.testing.assert_allclose(getattr(whole, part), getattr(told_whole, part), rtol=1e-9, atol=1e-3)
    spans, sets = ((0, 1), (2, 4)), ((0,), (1, 2), ())
    for joined, told, frames in zip(
        mine.spans_of(sets, spans), his.spans_of(sets, spans), mine.sums_of(sets), strict=True
    ):
        np.testing.assert_array_equal(joined.codes, told.codes)
        np.testing.assert_array_equal(joined.size, told.size)
        np.testing.assert_array_equal(joined.size[:, 1], frames.size[:, 2:].sum(axis=1))
        np.testing.assert_array_equal(joined.count, told.count)
        for part in ("total", "square"):
            np.testing.assert_allclose(getattr(joined, part), getattr(told, part), rtol=1e-9, atol=1e-6)
    for sizes in (mine.without_metrics(), his.without_metrics()):
        np.testing.assert_array_equal(sizes.sums((0, 1)).size, mine.sums((0, 1)).size)


def large(folder: Path, engine: DuckEngine, rows: int = 20_000) -> FactSums:
    lab = Lab(folder, KINDS, engine)
    rng = np.random.default_rng(1)
    for i in range(rows):
        lab.put(
            f"id-{i % (rows * 3 // 4)}",
            int(rng.integers(0, 4 * DAY_MS)),
            {"city": f"c{rng.integers(50)}", "x": float(rng.normal())},
        )
        if i == rows // 2:
            lab.rows, lab.flushed = lab.rows, 0
    return open_source(lab.facts(), SourceQuestion(AXES[:3], ("x",), EDGES), segmentation_of)


def test_a_sample_holds_a_share_of_the_rows(new_lab: Any) -> None:
    """Of every segment and frame about the same one, each time the same rows; all rows where some are corrections."""
    lab = new_lab(KINDS)
    for i in range(4_000):
        lab.put(f"id-{i}", i % 4 * DAY_MS, {"city": f"c{i % 3}", "x": float(i % 7)})
    question = SourceQuestion(AXES[:1], ("x",), EDGES)
    source = open_source(lab.facts(), question, segmentation_of)
    sample = source.sampled(1_000)
    share = sample.sums((0,)).size / source.sums((0,)).size
    assert share.min() > 0.15
    assert share.max() < 0.35
    assert 900 < sample.rows < 1_100
    assert sample.sums((0,)).total.tobytes() == source.sampled(1_000).sums((0,)).total.tobytes()
    assert source.sampled(2_001) is source
    lab.put("id-1", DAY_MS, {"city": "c9", "x": 1.0})
    corrected = open_source(lab.facts(), question, segmentation_of)
    assert corrected.rows > source.rows
    assert corrected.sampled(1_000) is corrected


def test_threads_do_not_change_a_bit(tmp_path: Path) -> None:
    """One thread and four give bit-identical sums."""
    answers = []
    for threads in (1, 4):
        engine = DuckEngine(Engine(memory="1GB", threads=threads))
        source = large(tmp_path / str(threads), engine)
        sums = source.sums((0, 2))
        answers.append((sums.codes.tobytes(), sums.size.tobytes(), sums.total.tobytes(), sums.square.tobytes()))
        engine.close()
    assert answers[0] == answers[1]


def test_a_window_is_read_in_parts(new_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """File by file, with pending rows after them, and corrections of other days anywhere: the same bits as at once."""
    lab = new_lab(KINDS)
    for i in range(60):
        lab.put(f"id-{i % 45}", i * 7 % 4 * DAY_MS, {"city": f"c{i % 3}", "x": i / 7, "tags": [f"t{i % 4}"]})
        if i % 13 == 12:
            lab.flush()
    question = SourceQuestion(AXES, ("x",), EDGES)

    def answers() -> list[tuple[bytes, ...]]:
        source = open_source(lab.facts(), question, segmentation_of)
        sums = [source.sums(axes) for axes in ((), (0,), (1, 2), (0, 3))]
        return [tuple(a.tobytes() for a in (one.codes, one.size, one.count, one.total, one.square)) for one in sums]

    at_once = answers()
    monkeypatch.setattr(rows, "PART_BYTES", 0)
    assert answers() == at_once


def test_sums_keep_the_digits_of_a_small_spread_far_from_zero(new_lab: Any) -> None:
    """A spread of 1 around a billion comes out, in spite of corrections."""
    lab = new_lab(KINDS)
    x = 1e9 + np.random.default_rng(2).normal(0, 1, 400)
    for i, value in enumerate(x):
        lab.put(str(i), 0, {"x": float(value) + 3})
        lab.put(str(i), 0, {"x": float(value)})
    source = open_source(lab.facts(), SourceQuestion((), ("x",), EDGES[:2]))
    sums = source.sums(())
    n, total, square = (a[0, 0, 0] for a in (sums.count, sums.total, sums.square))
    assert n == 400
    assert np.sqrt(square / n - (total / n) ** 2) == pytest.approx((x - 1e9).std(), rel=1e-6)
    assert source.offsets[0] + total / n == pytest.approx(x.mean(), rel=1e-15)


def test_the_time_axis_may_be_a_metric(new_lab: Any) -> None:
    """Its mean is the mean time, in milliseconds."""
    lab = new_lab(KINDS)
    lab.put("1", 1000, {})
    lab.put("2", 3000, {})
    source = open_source(lab.facts(), SourceQuestion((), ("MONA_TIMESTAMP",), EDGES[:2]))
    sums = source.sums(())
    assert source.offsets[0] + sums.total[0, 0, 0] / sums.count[0, 0, 0] == 2000


def test_as_of_shows_what_was_known_then(new_lab: Any) -> None:
    """Rows of later revisions do not count."""
    lab = new_lab(KINDS)
    lab.put("1", 0, {"x": 1.0})
    known = lab.revision
    lab.flush()
    lab.put("1", 0, {"x": 5.0})
    question = SourceQuestion((), ("x",), EDGES[:2])

    def mean(as_of: int | None) -> float:
        source = open_source(lab.facts(as_of), question)
        sums = source.sums(())
        return float(source.offsets[0] + sums.total[0, 0, 0] / sums.count[0, 0, 0])

    assert mean(known) == 1.0
    assert mean(None) == 5.0


def test_edges_may_be_uneven_and_below_a_day(new_lab: Any) -> None:
    """Frames are half open, of any width; rows outside of all are left out."""
    lab = new_lab(KINDS)
    for i, time in enumerate([0, 59_999, 60_000, 3_600_000, 7_200_000]):
        lab.put(str(i), time, {})
    source = open_source(lab.facts(), SourceQuestion((), (), (0, 60_000, 3_600_001)))
    assert source.sums(()).size.tolist() == [[2, 2]]


def test_another_time_axis_is_a_timestamp_field(new_lab: Any) -> None:
    """Contexts without that time are left out; a field of another type is refused."""
    lab = new_lab({"due": "timestamp", "city": "string"})
    lab.put("1", 0, {"due": DAY_MS + 5})
    lab.put("2", 0, {})
    lab.flush()
    lab.put("3", 0, {"due": 3})
    question = SourceQuestion((), (), EDGES[:3], timestamp_field="due")
    assert open_source(lab.facts(), question).sums(()).size.tolist() == [[1, 1]]
    with pytest.raises(BadRequest, match="not a time axis"):
        open_source(lab.facts(), SourceQuestion((), (), EDGES[:3], timestamp_field="city"))


def test_no_rows_at_all(new_lab: Any) -> None:
    """An empty class has no segments but everybody, with size 0."""
    source = open_source(new_lab(KINDS).facts(), SourceQuestion(AXES, ("x",), EDGES), segmentation_of)
    assert source.sums((0,)).codes.shape == (0, 1)
    assert source.sums(()).codes.shape == (1, 0)
    assert source.sums(()).size.tolist() == [[0, 0, 0, 0]]
    assert source.atoms(SEGMENTS).size.sum() == 0
    assert source.net_values(Segment(), "x", 0, 2).values.shape == (0,)


def test_conditions_that_the_axes_cannot_tell_are_asked_from_the_facts(new_lab: Any) -> None:
    """Atoms over a pattern, a negation and a bucket union agree with the rows."""
    lab = new_lab(KINDS)
    for i, (city, x) in enumerate([("Haifa", 5.0), ("Acre", 15.0), (None, -1.0)]):
        lab.put(str(i), 0, {"city": city, "x": x})
    source = open_source(lab.facts(), SourceQuestion(AXES[:3], (), EDGES[:2]), segmentation_of)
    segments = (
        Segment.of({"x": Range(None, 10)}),
        Segment.of({"city": Differs("Acre")}),
        Segment.of({"city": Equals("Acre")}),
    )
    atoms = source.atoms(segments)
    assert sorted(map(tuple, atoms.member.tolist())) == [(False, False, True), (True, True, False)]
    assert sorted(atoms.size[:, 0].tolist()) == [1, 2]
