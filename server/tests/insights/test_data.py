"""What runs ask of the data of a class before they search."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mona_server.config.model import ContextClass
from mona_server.insights.data import DAY_MS, ClassData
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.settings import Engine
from tests.query.lab import Lab, Step

NO_FIELDS = ContextClass(name="LOAN")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckEngine]:
    engine = DuckEngine(Engine(memory="500MB", threads=1), tmp_path_factory.mktemp("spill"))
    yield engine
    engine.close()


MOMENTS = st.sampled_from([0, 1, DAY_MS - 1, DAY_MS, 3 * DAY_MS, 8 * DAY_MS, 9 * DAY_MS + 1, 500 * DAY_MS])
STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), MOMENTS, st.sampled_from([None, {"x": 1.0}]), st.booleans()), max_size=10
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_first_context_is_the_first_that_is_left(engine: DuckEngine, steps: list[Step]) -> None:
    """However long before it others were that moved or were taken back."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), {"x": "numeric"}, engine).play(steps)
        data = ClassData(lab.facts(), NO_FIELDS, 0)
        assert data.start_ms() == min((time for time, _ in lab.state.values()), default=None)
