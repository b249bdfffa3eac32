"""``docs/api.md`` and ``docs/security.md`` say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from mona_server.api.reference import api_markdown, with_role_table

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent


def test_the_api_reference_is_up_to_date() -> None:
    """Made anew it is the same; else: python -m mona_server.api.reference."""
    assert (ROOT / "docs/api.md").read_text(encoding="utf-8") == api_markdown()


def test_the_role_table_is_up_to_date() -> None:
    """The table in the documentation is the one in the code."""
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    assert with_role_table(text) == text


def test_every_threat_names_tests_that_exist() -> None:
    """Each row of the threat table has at least one test, and each named one is there."""
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = [line for line in text.partition("## Threats")[2].splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([\w./]+\.py)(?:::(\w+))?`", row.rsplit("|", 2)[1])
        assert named, row
        for file, function in named:
            source = (HERE / file).read_text(encoding="utf-8")
            assert not function or f"def {function}(" in source, (file, function)
