"""The table of requirements is complete, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BENCHMARK = HERE.parents[2] / "benchmarks" / "sdk" / "__init__.py"
ROWS = dict(re.findall(r"^\| (Q\d+) \| (.+) \|$", (HERE / "REQUIREMENTS.md").read_text(), re.MULTILINE))


def test_every_requirement_has_a_row() -> None:
    """Q1 to Q46, in order, and nothing else."""
    assert list(ROWS) == [f"Q{number}" for number in range(1, 47)]


@pytest.mark.parametrize("requirement", list(ROWS))
def test_what_is_named_exists(requirement: str) -> None:
    """Tests by module and function, benchmarks by title."""
    tests = re.findall(r"(test_\w+)\.(test_\w+)", ROWS[requirement])
    benchmarks = re.findall(r'benchmark "([^"]+)"', ROWS[requirement])
    assert tests or benchmarks
    for module, function in tests:
        assert re.search(rf"^(async )?def {function}\(", (HERE / f"{module}.py").read_text(), re.MULTILINE), function
    if BENCHMARK.exists():  # not in the sdist
        titles = BENCHMARK.read_text()
        for title in benchmarks:
            assert f'"{title}"' in titles, title
