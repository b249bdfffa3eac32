"""Guessed values of texts: they change what a search costs, never its rows."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.config.segmentations import Segmentation
from mona_server.detect.source import AxisRequest, SourceQuestion
from mona_server.query import axes, guesses, rows
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.rows import Elements, Rows, load_rows
from mona_server.segment import Equals, OneOf, Segment
from tests.query.lab import DAY_MS, Lab, Step

EDGES = tuple(day * DAY_MS for day in range(5))
KINDS: Any = {"city": "string", "plan": "string", "tags": "string", "vip": "boolean", "x": "numeric"}
CITIES = ["Haifa", "Acre", "Łódź", "it's", "", "a\0b", "y" * 500, "z" * 501, "c1", "c2", "c3"]
AXES = tuple(AxisRequest(name, avoid_values=("c1",)) for name in (*KINDS, "MONA_ID"))


@st.composite
def many_steps(draw: st.DrawFn) -> list[Step]:
    """Creations, changes and deletions over some files, each of which may hold other texts."""
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 4))):
        texts = draw(st.lists(st.sampled_from([None, *CITIES]), min_size=1, max_size=6))
        for i in range(draw(st.integers(0, 12))):
            text = draw(st.sampled_from(texts))
            values = {} if text is None else {"city": text, "plan": text[:1], "tags": [text, "t"] if i % 3 else text}
            gone = draw(st.sampled_from([False] * 5 + [True]))
            context, time_ms = draw(st.integers(0, 20)), draw(st.integers(0, 4 * DAY_MS - 1))
            steps.append(
                (f"id-{context}", time_ms, None if gone else values, draw(st.sampled_from([False] * 4 + [True])))
            )
    return steps


def same(found: Rows, wanted: Rows) -> None:
    assert [(p.axis, p.remap) for p in found.plans] == [(p.axis, p.remap) for p in wanted.plans]
    np.testing.assert_array_equal(found.frame_starts, wanted.frame_starts)
    np.testing.assert_equal(found.sign, wanted.sign)
    for mine, his in zip(found.codes, wanted.codes, strict=True):
        if isinstance(mine, Elements) and isinstance(his, Elements):
            np.testing.assert_array_equal(mine.rows, his.rows)
            mine, his = mine.codes, his.codes
        assert isinstance(mine, np.ndarray)
        assert isinstance(his, np.ndarray)
        assert mine.dtype == his.dtype
        np.testing.assert_array_equal(mine, his)


@settings(max_examples=60, deadline=None)
@given(
    steps=many_steps(),
    max_values=st.sampled_from([1, 3, 1000]),
    groups=st.sampled_from([{}, {"north": ("Haifa", "Acre")}]),
    within=st.sampled_from([Segment(), Segment.parse({"plan": [{"value": "c"}]})]),
    guess_values=st.sampled_from([2, 1000]),
    short_list=st.sampled_from([0, 256]),
)
def test_a_guess_gives_the_same_rows(
    engine: DuckEngine,
    steps: list[Step],
    max_values: int,
    groups: dict[str, Any],
    within: Segment,
    guess_values: int,
    short_list: int,
) -> None:
    """Corrections, values that are gone, rare, long, grouped, avoided or in old files only, arrays: as without guesses."""
    chosen = Segmentation(name="default", kind="values", default=True, max_values=max_values, groups=groups)
    question = SourceQuestion(AXES[:4], ("x",), EDGES, within)
    with tempfile.TemporaryDirectory() as folder:
        facts = Lab(Path(folder), KINDS, engine).play(steps).facts()
        with patch.object(rows, "guess_axis", lambda *_: None):
            wanted = load_rows(facts, question, lambda *_: chosen)
        # One row is enough for a guess: of many files only the newest is looked at.
        with (
            patch.object(rows, "GUESS_ROWS", 1),
            patch.object(guesses, "GUESS_VALUES", guess_values),
            patch.object(guesses, "BLOCK_ROWS", 7),
            patch.object(axes, "SHORT_LIST", short_list),
        ):
            same(load_rows(facts, question, lambda *_: chosen), wanted)


@settings(max_examples=30, deadline=None)
@given(steps=many_steps())
def test_codes_count_the_contexts_of_each_value(engine: DuckEngine, steps: list[Step]) -> None:
    """A recount in plain Python, of texts that only some files hold."""
    with tempfile.TemporaryDirectory() as folder, patch.object(rows, "GUESS_ROWS", 1):
        lab = Lab(Path(folder), KINDS, engine).play(steps)
        found = load_rows(lab.facts(), SourceQuestion((AxisRequest("city"),), (), EDGES), lambda *_: None)
    codes = found.codes[0]
    assert isinstance(codes, np.ndarray)
    sign = np.ones(len(codes)) if found.sign is None else found.sign
    contexts = {
        condition.value: n
        for code, condition in enumerate(found.plans[0].axis.conditions)
        if isinstance(condition, Equals) and (n := sign[codes == code].sum())
    }
    wanted = Counter(values.get("city") for _, values in lab.state.values())
    assert contexts == {text: n for text, n in wanted.items() if text is None or len(text) <= 500}


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fields whose values were all looked at."""
    fields: list[str] = []

    def plan_axis(facts: Any, request: AxisRequest, *more: Any) -> Any:
        fields.append(request.field)
        return axes.plan_axis(facts, request, *more)

    monkeypatch.setattr(rows, "plan_axis", plan_axis)
    return fields


def test_values_that_were_guessed_are_not_looked_up(new_lab: Any, looked_at: list[str]) -> None:
    """Missing ones and corrections are no reason to read a column again."""
    lab = new_lab(KINDS)
    for i in range(40):
        lab.put(f"id-{i % 30}", i % 4 * DAY_MS, {"city": f"c{i % 3}"} if i % 4 else {"plan": "a"})
        if i % 9 == 8:
            lab.flush()
    found = load_rows(lab.facts(), SourceQuestion(AXES[:2], (), EDGES), lambda *_: None)
    assert found.plans[0].axis.conditions == (Equals("c0"), Equals("c2"), Equals(None))
    assert looked_at == []


def test_only_columns_with_unknown_values_are_looked_up(
    new_lab: Any, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that the newest file does not have costs another look at its own column."""
    lab = new_lab(KINDS)
    for city in ("Haifa", "Acre"):
        for i in range(4):
            lab.put(f"{city}-{i}", i * DAY_MS, {"city": city, "plan": "ab"[i % 2]})
        lab.flush()
    monkeypatch.setattr(rows, "GUESS_ROWS", 1)
    found = load_rows(
        lab.facts(), SourceQuestion((AxisRequest("city"), AxisRequest("plan")), (), EDGES), lambda *_: None
    )
    assert looked_at == ["city"]
    assert [plan.axis.conditions for plan in found.plans] == [
        (Equals("Acre"), Equals("Haifa"), Equals(None)),
        (Equals("a"), Equals("b"), Equals(None)),
    ]


def test_too_many_values_are_no_guess(new_lab: Any, looked_at: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are looked at as they are, because others follow."""
    lab = new_lab(KINDS)
    for i in range(50):
        lab.put(f"id-{i}", i % 4 * DAY_MS, {})
    monkeypatch.setattr(guesses, "GUESS_VALUES", 20)
    found = load_rows(lab.facts(), SourceQuestion((AxisRequest("MONA_ID"),), (), EDGES), lambda *_: None)
    assert looked_at == ["MONA_ID"]
    assert len(found.plans[0].axis.conditions) == 51


@pytest.mark.parametrize("count", [125, 126, 255, 256, 257, 700])
def test_as_many_texts_as_there_are_have_codes(new_lab: Any, count: int) -> None:
    """At the ends of a byte and of short lists; with groups, codes are not the places of the texts."""
    lab = new_lab(KINDS)
    for i in range(count):
        lab.put(f"id-{i}", i % 4 * DAY_MS, {"city": f"c{i:03}"})
    lab.put("none", 0, {})
    lab.flush()
    grouped = Segmentation(name="default", kind="values", default=True, groups={"g": ("c000", f"c{count - 1:03}")})
    question = SourceQuestion((AxisRequest("city", avoid_values=("c001",)),), (), EDGES)
    for guess_values in (0, 1000):
        with patch.object(guesses, "GUESS_VALUES", guess_values):
            found = load_rows(lab.facts(), question, lambda *_: grouped)
        codes, conditions = found.codes[0], found.plans[0].axis.conditions
        assert isinstance(codes, np.ndarray)
        assert conditions[0] == OneOf(("c000", f"c{count - 1:03}"))
        assert Counter(codes.tolist()) == {-1: 1, 0: 2, **dict.fromkeys(range(1, count - 1), 1)}
        assert codes.dtype == (np.int8 if count + 2 < 128 else np.int16)
