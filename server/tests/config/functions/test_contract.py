"""What every build function must keep to; adding one to the table puts it under this suite."""

from __future__ import annotations

import copy
import json
import math
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mona_server.config.fields import BUDGET_NS, FieldBuilder
from mona_server.config.functions import FUNCTIONS, GROUPS, ArgContext, BadArg, BuildFunction, Problem
from mona_server.config.model import ContextClass, Field, Source

NOW_MS = 1611930299000
EVERY = pytest.mark.parametrize("function", list(FUNCTIONS.values()), ids=list(FUNCTIONS))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(["", "2021-01-29T14:24:59Z", "a@b.co", "https://a.b/c", "[1, 2]", "1e400"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def run(function: BuildFunction, sources: tuple[Any, ...], args: tuple[Any, ...]) -> tuple[Any, list[str]]:
    """The raw result for these sources, and the problems."""
    names = [f"s{i}" for i in range(len(sources))]
    field = Field(
        name="r",
        type=None,
        function=function.name,
        args=args,
        sources=tuple(Source((name,)) for name in names),
        saved=False,
    )
    (step,) = FieldBuilder(ContextClass(name="C", fields={"r": field}))._steps
    try:
        return step.run(dict(zip(names, sources, strict=True)), {}, NOW_MS), []
    except Problem as problem:
        return None, [str(problem)]


@EVERY
def test_the_example_holds(function: BuildFunction) -> None:
    """Each function documents itself by an example, which is executed."""
    result, problems = run(function, function.example.sources, function.example.args)
    assert problems == []
    expected = function.example.result
    if isinstance(expected, float):
        assert result == pytest.approx(expected, rel=1e-9)
    else:
        assert result == expected
    assert isinstance(result, bool) == isinstance(expected, bool)


@EVERY
def test_it_is_documented(function: BuildFunction) -> None:
    """The table that forms and docs are made of says what each function, source and argument is."""
    shown = function.to_json()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["doc"].endswith((".", ")"))
    assert len(shown["sources"]) == len(function.sources)
    assert all(arg["form"] for arg in shown["args"] + shown["operands"])


@EVERY
def test_nulls_follow_the_rule(function: BuildFunction) -> None:
    """A null source gives null, unless the function skips nulls or wants to see them."""
    sources = function.example.sources
    for i in range(len(sources)):
        holed = (*sources[:i], None, *sources[i + 1 :])
        result, problems = run(function, holed, function.example.args)
        assert problems == []
        if function.nulls == "null":
            assert result is None
    everything_null, problems = run(function, (None,) * len(sources), function.example.args)
    assert problems == []
    if sources and function.nulls != "see":
        assert everything_null is None


@EVERY
def test_a_source_of_the_wrong_kind_is_a_problem(function: BuildFunction) -> None:
    """It gives null and one entry for the report, which does not show the value."""
    wrong = {"N": "SECRET", "S": 4711, "B": "SECRET", "A": "SECRET", "O": "SECRET", "T": "SECRET", "G": "SECRET"}
    for i in range(len(function.example.sources)):
        kind = function.kind_of(i)
        if kind == "X":
            continue
        sources = function.example.sources
        result, problems = run(function, (*sources[:i], wrong[kind], *sources[i + 1 :]), function.example.args)
        assert result is None
        assert len(problems) == 1
        assert "SECRET" not in problems[0]
        assert "4711" not in problems[0]


@EVERY
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_value_is_survived(function: BuildFunction, data: st.DataObject) -> None:
    """Whatever a message holds: pure, the same twice, finite, sources untouched, at most one problem."""
    sources = tuple(data.draw(JSON) for _ in function.example.sources)
    before = copy.deepcopy(sources)
    first, problems = run(function, sources, function.example.args)
    assert sources == before
    assert (first, problems) == run(function, sources, function.example.args)
    assert len(problems) <= 1
    assert not (isinstance(first, float) and not math.isfinite(first))


@EVERY
def test_too_many_arguments_or_sources_are_refused(function: BuildFunction) -> None:
    """At upload, not when messages come."""
    n = len(function.example.sources)
    with pytest.raises(BadArg):
        function.read_args((*function.example.args, 1, 2, 3, 4, 5), n, ArgContext())
    if function.max_sources is not None:
        assert function.check_sources(function.max_sources + 1)
    if function.min_sources > 0:
        assert function.check_sources(function.min_sources - 1)
    assert function.check_sources(n) is None


LONG: dict[str, Any] = {
    "S": ("Ignore the cat; write to a.b@example.com or +1 555 010 9999, 4111 1111 1111 1111. " * 4000)[:256_000],
    "A": [i % 997 for i in range(10_000)],
    "O": {f"k{i}": i % 997 for i in range(5_000)},
    "N": 17.5,
    "B": True,
    "T": NOW_MS,
    "G": [34.78, 32.08],
}
AT_ONCE_MS = 20
"""Of processor time: what takes less is not told from noise."""


def cpu_ms(function: BuildFunction, sources: tuple[Any, ...]) -> float:
    """Processor time of one call, the least of three."""
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        run(function, sources, function.example.args)
        best = min(best, (time.process_time() - start) * 1000)
    return best


def a_quarter(value: Any) -> Any:
    """The first quarter of a text, an array or an object; anything else as it is."""
    if isinstance(value, dict):
        return dict(list(value.items())[: len(value) // 4])
    return value[: len(value) // 4] if isinstance(value, (str, list)) and len(value) > 10 else value


@EVERY
def test_the_largest_message_takes_as_long_as_its_parts(function: BuildFunction) -> None:
    """Four times the text or array takes four times as long, on any machine: a quadratic body would take sixteen times."""
    sources = tuple(
        LONG.get(function.kind_of(i), LONG["A"] if isinstance(source, list) else LONG["S"])
        for i, source in enumerate(function.example.sources)
    )
    quarter = cpu_ms(function, tuple(map(a_quarter, sources)))
    assert cpu_ms(function, sources) < 9 * max(quarter, AT_ONCE_MS)


def test_texts_beyond_the_budget_are_not_worked_on() -> None:
    """All functions of one context share a budget of time, estimated from characters; what does not fit is null and reported."""
    fields = {
        f"f{i}": Field(name=f"f{i}", type="numeric", function="word_count", sources=(Source(("s",)),)) for i in range(4)
    }
    text = "a " * (BUDGET_NS // FUNCTIONS["word_count"].cost_ns // 6)
    values, problems = FieldBuilder(ContextClass(name="C", fields=fields)).build({"s": text}, 0)
    assert list(values) == ["f0", "f1", "f2"]
    assert [field for field, _ in problems] == ["f3"]


def test_groups_hold_every_function_once() -> None:
    """The table is the groups in order, and a function that no group lists is not offered."""
    assert [name for group in GROUPS for name in group.functions] == list(FUNCTIONS)
