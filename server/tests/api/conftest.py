"""A real meta database in a temporary folder, and a time that tests choose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from mona_server.store.meta import open_meta

NOW_MS = 1_790_000_000_000


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Engine]:
    engine = open_meta(tmp_path / "meta.db")
    yield engine
    engine.dispose()
