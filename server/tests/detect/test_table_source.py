"""Sums over columns in memory, against the same sums written as loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mona_server.detect.source import AxisRequest, Effects, Floats, SourceQuestion
from mona_server.detect.table_columns import Coded, Column, Elements, coded
from mona_server.detect.table_source import TableSource
from mona_server.errors import BadRequest
from mona_server.segment import Equals, OneOf, Range, Segment

EDGES = (0, 100, 200, 300)


def table(seed: int, n: int = 200) -> tuple[list[str | None], Floats, list[bool | None], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    cities = [["Haifa", "Jaffa", None, "Eilat"][i] for i in rng.integers(0, 4, n)]
    amount = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 50, n).astype(float))
    flag = [[True, False, None][i] for i in rng.integers(0, 3, n)]
    time_ms = rng.integers(-20, 320, n)
    return cities, amount, flag, time_ms


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_sums_equal_a_plain_loop(seed: int, min_size: int) -> None:
    """Sizes, counts, totals and squares of every segment are those of a loop over rows."""
    cities, amount, flag, time_ms = table(seed)
    question = SourceQuestion(
        axes=(AxisRequest("city"), AxisRequest("amount"), AxisRequest("flag")),
        metrics=("amount", "flag"),
        edges_ms=EDGES,
    )
    buckets = (Range(None, 10), Range(10, 30), Equals(None))
    source = TableSource(
        {"city": coded(cities), "amount": amount, "flag": coded(flag)}, time_ms, question, {("amount", None): buckets}
    )
    numbers = {"amount": amount, "flag": np.array([np.nan if f is None else float(f) for f in flag])}
    for axes in [(), (0,), (0, 1), (0, 1, 2)]:
        sums = source.sums(axes, min_size)
        expected: dict[tuple[int, ...], list[int]] = {}
        for i in range(len(cities)):
            if not 0 <= time_ms[i] < 300:
                continue
            bucket = 2 if np.isnan(amount[i]) else 0 if amount[i] < 10 else 1 if amount[i] < 30 else -1
            city = {"Eilat": 0, "Haifa": 1, "Jaffa": 2, None: 3}[cities[i]]
            code = tuple((city, bucket, {False: 0, True: 1, None: 2}[flag[i]])[a] for a in axes)
            if -1 not in code:
                expected.setdefault(code, []).append(i)
        expected = {code: rows for code, rows in expected.items() if len(rows) >= min_size}
        assert {tuple(int(c) for c in code) for code in sums.codes} == set(expected)
        for s, code in enumerate(sums.codes):
            rows = np.array(expected[tuple(int(c) for c in code)])
            for k in range(3):
                frame = rows[(time_ms[rows] >= EDGES[k]) & (time_ms[rows] < EDGES[k + 1])]
                assert sums.size[s, k] == len(frame)
                for m, name in enumerate(source.metrics):
                    present = numbers[name][frame]
                    present = present[~np.isnan(present)] - source.offsets[m]
                    assert sums.count[m, s, k] == len(present)
                    assert sums.total[m, s, k] == pytest.approx(present.sum(), abs=1e-9)
                    assert sums.square[m, s, k] == pytest.approx((present**2).sum(), abs=1e-9)


def test_atoms_add_up_to_their_segments() -> None:
    """The atoms inside of a segment hold exactly its rows, and all atoms hold everybody."""
    cities, amount, flag, time_ms = table(5)
    columns: dict[str, Column] = {"city": coded(cities), "amount": amount, "flag": coded(flag)}
    source = TableSource(columns, time_ms, SourceQuestion((AxisRequest("city"),), ("amount",), EDGES))
    segments = [
        Segment.of({"city": Equals("Haifa")}),
        Segment.of({"amount": Range(5, 40)}),
        Segment.of({"flag": Equals(True), "city": Equals(None)}),
        Segment(),
    ]
    atoms = source.atoms(segments)
    everybody = source.sums(())
    assert atoms.size.sum(0) == pytest.approx(everybody.size[0])
    haifa = source.sums((0,))
    row = next(s for s, c in enumerate(haifa.codes) if source.axes[0].conditions[c[0]] == Equals("Haifa"))
    assert (atoms.size[atoms.member[:, 0]].sum(0) == haifa.size[row]).all()
    assert atoms.total[0][atoms.member[:, 0]].sum(0) == pytest.approx(haifa.total[0, row])
    joined = source.atoms(segments, [(0, 2), (1, 3)])
    assert (joined.member == atoms.member).all()
    assert joined.size == pytest.approx(np.stack([atoms.size[:, :2].sum(1), atoms.size[:, 1:].sum(1)], 1))
    assert joined.square[0] == pytest.approx(
        np.stack([atoms.square[0][:, :2].sum(1), atoms.square[0][:, 1:].sum(1)], 1)
    )
    for g, segment in enumerate(segments):
        values = source.net_values(segment, "amount", 0, 3)
        assert values.weights.sum() == atoms.count[0][atoms.member[:, g]].sum()
    assert len({tuple(pattern) for pattern in atoms.member}) == len(atoms.member)


@pytest.mark.parametrize(
    "segment", [Segment.of({"city": Equals("Haifa")}), Segment.of({"tags": Equals("b"), "flag": Equals(True)})]
)
def test_a_source_within_a_segment_answers_as_if_it_had_been_asked_for(segment: Segment) -> None:
    """Sums, atoms, residuals and values, also where an array field says who is inside."""
    cities, amount, flag, time_ms = table(4)
    tags = Elements(np.arange(0, 200, 2), np.arange(100, dtype=np.int32) % 3, ("a", "b", "c"), 200)
    columns: dict[str, Column] = {"city": coded(cities), "amount": amount, "flag": coded(flag), "tags": tags}
    question = SourceQuestion((AxisRequest("city"), AxisRequest("flag"), AxisRequest("tags")), ("amount",), EDGES)
    asked = TableSource(columns, time_ms, replace(question, within=segment))
    inside = TableSource(columns, time_ms, question).within(segment)
    effects = [
        {0: Effects(tuple(np.arange(len(a.conditions)) / 4.0 for a in one.axes), constant=2.0 - float(one.offsets[0]))}
        for one in (asked, inside)
    ]
    mine, theirs = inside.residual(effects[1]), asked.residual(effects[0])
    for axes in [(), (0,), (0, 1), (1, 2)]:
        one, other = mine.sums(axes), theirs.sums(axes)
        assert one.codes.tolist() == other.codes.tolist()
        assert one.size.tolist() == other.size.tolist()
        assert one.count.tolist() == other.count.tolist()
        np.testing.assert_allclose(one.total[1], other.total[1], atol=1e-9)
    segments = [Segment.of({"flag": Equals(True)}), Segment.of({"tags": Equals("b")})]
    assert sorted(inside.atoms(segments).size.sum(axis=1)) == sorted(asked.atoms(segments).size.sum(axis=1))
    assert (
        inside.net_values(segments[0], "amount", 0, 3).values.tolist()
        == asked.net_values(segments[0], "amount", 0, 3).values.tolist()
    )


def test_atoms_over_spans_hold_the_rows_of_these_frames() -> None:
    """A column for each span; what is in no span is in no column, and spans may overlap."""
    cities, amount, flag, time_ms = table(6)
    columns: dict[str, Column] = {"city": coded(cities), "amount": amount, "flag": coded(flag)}
    source = TableSource(columns, time_ms, SourceQuestion((AxisRequest("city"),), ("amount", "flag"), EDGES))
    segments = [Segment.of({"city": Equals("Haifa")}), Segment.of({"flag": OneOf((True, None))})]
    whole, spanned = source.atoms(segments), source.atoms(segments, [(2, 3), (0, 2), (0, 3)])
    assert np.array_equal(whole.member, spanned.member)
    for name in ("size", "count", "total", "square"):
        frames, columns_of = getattr(whole, name), getattr(spanned, name)
        for column, frame in enumerate((slice(2, 3), slice(0, 2), slice(0, 3))):
            assert columns_of[..., column] == pytest.approx(frames[..., frame].sum(axis=-1))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 3)).map(lambda s: (s[0], min(sum(s), 3))), min_size=1, max_size=3
    ),
)
def test_sums_over_spans_are_those_of_their_frames(seed: int, spans: list[tuple[int, int]]) -> None:
    """Also where spans leave frames out, or share some; segments without a row in them may be left out."""
    cities, amount, flag, time_ms = table(seed, n=60)
    question = SourceQuestion((AxisRequest("city"), AxisRequest("flag")), ("amount",), EDGES)
    source = TableSource({"city": coded(cities), "amount": amount, "flag": coded(flag)}, time_ms, question)
    sets = [(), (0,), (0, 1)]
    for found, by_frame in zip(source.spans_of(sets, spans), source.sums_of(sets), strict=True):
        expected = by_frame.joined(spans)
        alive = expected.size.sum(axis=1) > 0 if found.axes else np.ones(1, bool)
        told = found.size.sum(axis=1) > 0 if found.axes else np.ones(1, bool)
        assert np.array_equal(found.codes[told], expected.codes[alive])
        for name in ("size", "count", "total", "square"):
            mine, his = getattr(found.take(told), name), getattr(expected.take(alive), name)
            assert mine == pytest.approx(his, rel=1e-12, abs=1e-9), name


def test_an_array_field_counts_a_context_once_per_element() -> None:
    """A context with two tags is in both segments; one without tags is MISSING."""
    tags = Elements(np.array([0, 0, 2]), np.array([0, 1, 1], np.int32), ("a", "b"), 3)
    columns: dict[str, Column] = {"tags": tags, "x": np.array([1.0, 2.0, 4.0]), "g": coded(["u", "u", "v"])}
    question = SourceQuestion((AxisRequest("tags"), AxisRequest("g")), ("x",), (0, 10))
    source = TableSource(columns, np.array([1, 2, 3]), question)
    assert source.axes[0].overlapping
    sums = source.sums((0,))
    found = {source.axes[0].conditions[c[0]].value: s for s, c in enumerate(sums.codes)}
    assert {value: sums.size[s, 0] for value, s in found.items()} == {"a": 1, "b": 2, None: 1}
    assert sums.total[0, found["b"], 0] == pytest.approx(5 - 2 * source.offsets[0])
    both = source.sums((0, 1))
    assert both.size.sum() == 4
    assert source.net_values(Segment.of({"tags": Equals("b")}), "x", 0, 1).values.tolist() == [1.0, 4.0]


def test_filters_cut_rows_before_sums() -> None:
    """``within``, ``excluded`` and frame filters act on rows, each where it applies."""
    columns: dict[str, Column] = {"city": coded(["a", "a", "b", "b"]), "x": np.arange(4.0)}
    question = SourceQuestion(
        (AxisRequest("city"),), ("x",), (0, 10, 20), excluded=(Segment.of({"x": Equals(0)}),),
        frame_filters=((1, 2, Segment.of({"city": Equals("b")})),),
    )  # fmt: skip
    source = TableSource(columns, np.array([1, 11, 11, 2]), question)
    assert source.sums(()).size.tolist() == [[1, 1]]


def test_avoided_values_are_no_segments() -> None:
    """``avoid_values`` takes a value off the axis; its rows stay in everybody."""
    columns: dict[str, Column] = {"city": coded(["a", "b", "b"]), "x": np.arange(3.0)}
    question = SourceQuestion((AxisRequest("city", None, ("b",)),), ("x",), (0, 10))
    source = TableSource(columns, np.array([1, 1, 1]), question)
    assert [source.axes[0].conditions[c[0]] for c in source.sums((0,)).codes] == [Equals("a")]
    assert source.sums(()).size.tolist() == [[3]]


def test_many_axes_do_not_outgrow_memory() -> None:
    """Products of wide axes are numbered by what is there."""
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 500, 300).astype(np.int32) for _ in range(4)]
    columns = {f"d{j}": Coded(codes[j], tuple(map(str, range(500)))) for j in range(4)}
    question = SourceQuestion(tuple(AxisRequest(name) for name in columns), (), (0, 10))
    source = TableSource(columns, np.ones(300, np.int64), question)
    sums = source.sums((0, 1, 2, 3))
    assert sums.size.sum() == 300
    assert {tuple(code) for code in sums.codes} == set(zip(*codes, strict=True))


def test_an_unknown_field_is_named() -> None:
    """A question about a field that is not there is the caller's error."""
    with pytest.raises(BadRequest, match="no column town"):
        TableSource({"x": np.ones(1)}, np.ones(1, np.int64), SourceQuestion((AxisRequest("town"),), (), (0, 10)))


def test_residuals_take_off_what_the_fields_let_expect() -> None:
    """A residual metric is x - offset - the effects of the context's own values; no code adds nothing."""
    cities, amount, flag, time_ms = table(9)
    columns: dict[str, Column] = {"city": coded(cities), "amount": amount, "flag": coded(flag)}
    question = SourceQuestion((AxisRequest("city"), AxisRequest("flag", None, (True,))), ("amount",), EDGES)
    source = TableSource(columns, time_ms, question)
    effects = (np.array([1.0, -2.0, 0.5, 4.0]), np.array([10.0, 20.0]))
    assert [len(axis.conditions) for axis in source.axes] == [4, 2]
    residual = source.residual({0: Effects(effects, constant=0.25)})
    assert residual.metrics == source.metrics
    place = {"Eilat": 0, "Haifa": 1, "Jaffa": 2, None: 3}
    taken = np.array(
        [effects[0][place[c]] + {False: 10.0, True: 0.0, None: 20.0}[f] for c, f in zip(cities, flag, strict=True)]
    )
    moved = TableSource(columns | {"amount": amount - taken - 0.25}, time_ms, question)
    for axes in [(), (0,), (0, 1)]:
        got, expected, plain = residual.sums(axes), moved.sums(axes), source.sums(axes)
        by = moved.offsets[0] - source.offsets[0]
        assert got.count.shape[0] == 2
        assert (got.count[1] == plain.count[0]).all()
        assert (got.total[0] == plain.total[0]).all()
        assert got.total[1] == pytest.approx(expected.total[0] + by * expected.count[0])
        assert got.square[1] == pytest.approx(
            expected.square[0] + 2 * by * expected.total[0] + by * by * expected.count[0]
        )


def test_a_small_spread_far_from_zero_keeps_its_digits() -> None:
    """Values around 1.7e9 that vary by 0.01: the variance from the sums is that of the values, to 9 digits."""
    values = np.asarray(1.7e9 + 1e-2 * np.random.default_rng(5).integers(-50, 50, 2_000), np.float64)
    question = SourceQuestion((), ("m",), (0, 100))
    source = TableSource({"m": values}, np.full(len(values), 50), question)
    sums = source.sums(())
    count, total, square = (float(part[0, 0, 0]) for part in (sums.count, sums.total, sums.square))
    near = values - 1.7e9
    assert square / count - (total / count) ** 2 == pytest.approx(float(near.var()), rel=1e-9)
    assert source.offsets[0] + total / count == pytest.approx(float(1.7e9 + near.mean()), rel=1e-15)
