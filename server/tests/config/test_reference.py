"""The configuration reference is in step with the code, and its example is valid."""

from __future__ import annotations

import re
from pathlib import Path

from mona_server.config import parse
from mona_server.config.reference import renewed

DOCUMENT = Path(__file__).parents[3] / "docs/configuration.md"


def test_the_tables_are_those_of_the_registries() -> None:
    """Renew with ``python -m mona_server.config.reference docs/configuration.md``."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert renewed(text) == text


def test_the_example_is_valid() -> None:
    """What people copy must work."""
    (example,) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert parse(example).issues == ()
