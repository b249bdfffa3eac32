"""Sources made of sources answer as one source over the same contexts would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.detect.sliced import SlicedSource, StackedSource, both
from mona_server.detect.source import AxisRequest, Effects, GroupSums, SourceQuestion
from mona_server.detect.table_columns import Coded
from mona_server.detect.table_source import TableSource
from mona_server.detect.verses import Verse
from mona_server.detect.version_order import newest_first, semantic_key
from mona_server.segment import ALL, Equals, OneOf, Segment
from tests.detect.tutorial import Table, verse

DAY_MS = 86_400_000
AT_MS = 20_000 * DAY_MS


def table(seed: int, length: int = 400) -> Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(5, 2, length)
    x[rng.random(length) < 0.2] = np.nan
    return Table(
        {
            "a": Coded(rng.integers(-1, 3, length).astype(np.int32), ("p", "q", "r")),
            "b": Coded(rng.integers(0, 2, length).astype(np.int32), ("u", "v")),
            "x": x,
        },
        AT_MS - rng.integers(1, 20 * DAY_MS, length),
    )


def question(first: int, last: int, within: Segment = ALL) -> SourceQuestion:
    edges = tuple(AT_MS - day * DAY_MS for day in range(first, last - 1, -1))
    return SourceQuestion((AxisRequest("a"), AxisRequest("b")), ("x",), edges, within=within)


def moments(groups: GroupSums, source: TableSource | StackedSource | SlicedSource) -> dict[tuple[str, ...], np.ndarray]:
    """Conditions → size, count, Σx, per frame; offsets taken back."""
    found = {}
    for row, codes in enumerate(groups.codes):
        key = tuple(str(source.axes[axis].conditions[c]) for axis, c in zip(groups.axes, codes, strict=True))
        total = groups.total[0, row] + source.offsets[0] * groups.count[0, row]
        found[key] = np.stack([groups.size[row], groups.count[0, row], total])
    return found


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(2, 18))
def test_two_windows_stacked_are_the_whole(seed: int, cut: int) -> None:
    """Frames of two questions follow each other as if one had been asked."""
    data = table(seed)
    whole = TableSource(data.columns, data.time_ms, question(20, 0))
    parts = [TableSource(data.columns, data.time_ms, question(*span)) for span in ((20, cut), (cut, 0))]
    stacked = StackedSource(parts[0], parts[1])
    for axes in ((), (0,), (1,), (0, 1)):
        mine, theirs = moments(stacked.sums(axes, 3), stacked), moments(whole.sums(axes, 3), whole)
        assert set(mine) == set(theirs)
        for key, numbers in mine.items():
            np.testing.assert_allclose(numbers, theirs[key], rtol=1e-9, atol=1e-9)
    segments = [Segment.of({"a": Equals("p")}), Segment.of({"b": Equals("u")}), ALL]
    for spans in (None, [(0, 3), (0, 20), (cut - 1, 20)]):
        mine_atoms, their_atoms = stacked.atoms(segments, spans), whole.atoms(segments, spans)
        for column in range(3):
            np.testing.assert_allclose(
                mine_atoms.size[mine_atoms.member[:, column]].sum(axis=0),
                their_atoms.size[their_atoms.member[:, column]].sum(axis=0),
            )
    for first, last in ((0, 20), (0, 1), (3, 19)):
        mine_net, their_net = (s.net_values(segments[0], "x", first, last) for s in (stacked, whole))
        np.testing.assert_array_equal(mine_net.values, their_net.values)
        np.testing.assert_array_equal(mine_net.weights, their_net.weights)
    inside, expected = stacked.within(segments[0]), whole.within(segments[0])
    mine, theirs = moments(inside.sums((0, 1)), inside), moments(expected.sums((0, 1)), expected)
    assert set(mine) == set(theirs)
    for key, numbers in mine.items():
        np.testing.assert_allclose(numbers, theirs[key], rtol=1e-9, atol=1e-9)
    none = tuple(np.zeros(len(axis.conditions)) for axis in whole.axes)
    effects = {0: Effects(none, constant=float(-whole.offsets[0]), limit=1.0, centre=np.linspace(-1, 1, 20))}
    own = {0: replace(effects[0], constant=float(-stacked.offsets[0]))}
    left, right = stacked.residual(own).sums(()), whole.residual(effects).sums(())
    np.testing.assert_allclose(left.total[1], right.total[1], rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), code=st.integers(0, 3))
def test_a_slice_is_the_source_inside_of_its_baseline(seed: int, code: int) -> None:
    """Fixing a value of an axis is the same as asking within its segment."""
    data = table(seed)
    source = TableSource(data.columns, data.time_ms, question(20, 0))
    segment = Segment.of({"a": source.axes[0].conditions[code]})
    sliced = SlicedSource(source, {0: code}, segment, {})
    inside = TableSource(data.columns, data.time_ms, question(20, 0, segment))
    for _ in range(2):  # the second time from the cache
        for axes in ((), (1,)):
            mine, theirs = moments(sliced.sums(axes, 2), sliced), moments(inside.sums(axes, 2), inside)
            assert set(mine) == set(theirs)
            for key, numbers in mine.items():
                np.testing.assert_allclose(numbers, theirs[key], rtol=1e-9, atol=1e-9)
    nets = [s.net_values(Segment.of({"b": Equals("u")}), "x", 0, 20) for s in (sliced, inside)]
    np.testing.assert_array_equal(nets[0].values, nets[1].values)
    narrow = [s.within(Segment.of({"b": Equals("u")})).sums((1,)) for s in (sliced, inside)]
    np.testing.assert_array_equal(narrow[0].size, narrow[1].size)


def test_inner_conditions_stand_alone() -> None:
    """On the same field the narrower condition counts, other fields are added."""
    outer = Segment.of({"a": OneOf(("p", "q")), "c": Equals(1)})
    assert both(outer, Segment.of({"a": Equals("p"), "b": Equals(2)})) == Segment.of(
        {"a": Equals("p"), "b": Equals(2), "c": Equals(1)}
    )


def versions(order: str, data: Table) -> list[str]:
    asked: Verse = verse("AverageDriftAcrossVersions", metrics=["x"], version_field="v", order_versions_by=order)
    edges = np.array([AT_MS - 20 * DAY_MS + k * DAY_MS for k in range(21)])
    found = newest_first(asked, edges, data.source)
    return [str(one.value) for one in found]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("LATEST_TO_RECEIVE_DATA", ["1.9", "1.10", "1.10-rc1", "old"]),
        ("FIRST_SEEN", ["1.10", "1.9", "1.10-rc1", "old"]),
        ("ALPHABETICAL", ["old", "1.9", "1.10-rc1", "1.10"]),
        ("SEMANTIC", ["1.10", "1.10-rc1", "1.9", "old"]),
    ],
)
def test_orders_of_versions(order: str, expected: list[str]) -> None:
    """By last context (ties within a day by the exact time, then by the first), by first context, by text, by number."""
    seen = [
        ("old", 15.0),
        ("1.10-rc1", 9.0),
        ("1.10-rc1", 5.0),
        ("1.9", 8.0),
        ("1.9", 0.25),
        ("1.10", 3.0),
        ("1.10", 0.5),
    ]
    names = ("1.10", "1.10-rc1", "1.9", "old")
    data = Table(
        {
            "v": Coded(np.array([names.index(v) for v, _ in seen] + [-1], np.int32), names),
            "x": np.ones(len(seen) + 1),
        },
        np.array([AT_MS - int(days * DAY_MS) for _, days in seen] + [AT_MS - 1]),
    )
    assert versions(order, data) == expected


def test_semantic_order_of_mixed_texts() -> None:
    """Anything can be compared with anything."""
    assert sorted(["2024.1", "v2", "beta", "1.0.0", "1.0.0-alpha", ""], key=semantic_key)[-1] == "2024.1"
