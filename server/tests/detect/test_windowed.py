"""Windows that overlap are read once, and each sees what it would have read by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mona_server.detect.source import GroupSums, SourceQuestion, SumsSource
from mona_server.detect.table_source import TableSource
from mona_server.detect.windowed import WindowedSource, effects_of, remembering, shared
from mona_server.segment import Equals, Segment
from tests.detect.test_sliced import question, table


class Reader:
    """Opens questions over one table and counts them."""

    def __init__(self) -> None:
        self.data = table(3)
        self.opened: list[SourceQuestion] = []

    def __call__(self, asked: SourceQuestion) -> TableSource:
        self.opened.append(asked)
        return TableSource(self.data.columns, self.data.time_ms, asked)


QUESTIONS = [question(20 - back, back) for back in (2, 1, 0)]
JUDGED = [len(one.edges_ms) - 2 for one in QUESTIONS]


def sums_of(source: SumsSource, groups: GroupSums) -> tuple[np.ndarray, ...]:
    """Sums with the offset taken back."""
    return groups.codes, groups.size, groups.count, groups.total + source.offsets[0] * groups.count


@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1)])
def test_each_window_sees_the_sums_it_would_have_read_by_itself(axes: tuple[int, ...]) -> None:
    """Segments, contexts and totals are those of a source of its own; the table is opened once."""
    reader = Reader()
    look = shared(reader, QUESTIONS, JUDGED)
    for asked in QUESTIONS:
        window, alone = look(asked), TableSource(reader.data.columns, reader.data.time_ms, asked)
        assert isinstance(window, WindowedSource)
        assert window.edges_ms.tolist() == alone.edges_ms.tolist()
        for least in (1, 60, 30):  # a later, smaller one is read again
            for mine, theirs in zip(
                sums_of(window, window.sums(axes, least)), sums_of(alone, alone.sums(axes, least)), strict=True
            ):
                np.testing.assert_allclose(mine, theirs, atol=1e-9)
    assert len(reader.opened) == 1


def test_atoms_and_values_are_those_of_the_window() -> None:
    """Spans and frames count from the start of the window."""
    reader = Reader()
    window, alone = shared(reader, QUESTIONS, JUDGED)(QUESTIONS[1]), reader(QUESTIONS[1])
    segments = [Segment.of({"a": Equals("p")}), Segment.of({"b": Equals("u")})]
    for spans in (None, [(0, 5), (5, 18)]):
        mine, theirs = window.atoms(segments, spans), alone.atoms(segments, spans)
        assert sorted(mine.size.sum(axis=1)) == sorted(theirs.size.sum(axis=1))
    values = [one.net_values(segments[0], "x", 3, 9).values.tolist() for one in (window, alone)]
    assert values[0] == values[1]
    inside = [one.within(segments[0]) for one in (window, alone)]
    for mine, theirs in zip(*(sums_of(one, one.sums((0, 1))) for one in inside), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


def test_effects_are_learnt_once_from_the_past_of_every_window() -> None:
    """No window's effects know a day that another one judges, and all windows share one residual source."""
    reader = Reader()
    look = shared(reader, QUESTIONS, JUDGED)
    windows = [look(asked) for asked in QUESTIONS]
    effects = [effects_of(one, (0, 1), one.sums(()), slice(0, 17), (0,)) for one in windows]
    assert effects[0] is effects[1] is effects[2]
    early = TableSource(reader.data.columns, reader.data.time_ms, question(18, 3))
    expected = effects_of(early, (0, 1), early.sums(()), slice(None), (0,))
    shift = early.offsets[0] - windows[0].offsets[0]
    assert effects[0][0].constant == pytest.approx(expected[0].constant + shift)
    np.testing.assert_allclose(effects[0][0].by_axis[0], expected[0].by_axis[0], atol=1e-9)


def test_questions_that_differ_in_more_than_time_are_read_apart() -> None:
    """Other filters, a single question, or windows without a common past pass through."""
    other = replace(QUESTIONS[0], within=Segment.of({"a": Equals("p")}))
    for questions in ([QUESTIONS[0], other], QUESTIONS[:1], [question(20, 12), question(8, 0)]):
        reader = Reader()
        look = shared(reader, questions, [len(one.edges_ms) - 2 for one in questions])
        assert all(isinstance(look(one), TableSource) for one in questions)


def test_the_last_questions_are_opened_once() -> None:
    """What was asked before the last few is read again."""
    reader = Reader()
    look = remembering(reader, 2)
    first, second, third = QUESTIONS
    assert look(first) is look(first)
    assert look(second) is not look(first)
    assert reader.opened == [first, second]
    look(third)
    look(second)
    assert reader.opened == [first, second, third]
    look(first)
    assert reader.opened == [first, second, third, first]
