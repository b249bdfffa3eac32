"""An engine and an empty lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.facts import Kind
from mona_server.settings import Engine
from tests.query.lab import Lab


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckEngine]:
    engine = DuckEngine(Engine(memory="1GB", threads=2), tmp_path_factory.mktemp("spill"))
    yield engine
    engine.close()


@pytest.fixture
def new_lab(tmp_path: Path, engine: DuckEngine) -> Callable[[Mapping[str, Kind]], Lab]:
    """``new_lab({"city": "string"})`` is an empty lake with these fields."""
    made: list[Lab] = []

    def make(kinds: Mapping[str, Kind]) -> Lab:
        made.append(Lab(tmp_path / f"lake{len(made)}", kinds, engine))
        return made[-1]

    return make
