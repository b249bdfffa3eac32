"""A store in a temporary folder for each test of insights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.insights.mill import Mill


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[Mill]:
    made = Mill(tmp_path)
    yield made
    made.close()
