"""A page is one documented dataclass and one template that reads all of it, and nothing else."""

from __future__ import annotations

import dataclasses
import re

import pytest

from mona_server.web.getting_started import GettingStartedPage
from mona_server.web.insight_list import InsightsPage
from mona_server.web.insight_page import InsightPage
from mona_server.web.pages import HERE, FailurePage
from mona_server.web.sign_in import SignInPage

PAGES = [
    (InsightsPage, "insights.html"),
    (InsightPage, "insight.html"),
    (GettingStartedPage, "getting_started.html"),
    (SignInPage, "sign_in.html"),
    (FailurePage, "failure.html"),
]
BY_PARTS = {"title", "lead", "segment"}
"""Read by the macro that writes an insight's sentence."""


@pytest.mark.parametrize(("context", "template"), PAGES, ids=[template for _, template in PAGES])
def test_template_and_context_fit(context: type, template: str) -> None:
    """Every attribute of the context is shown, every one that the template reads exists, and the context is frozen."""
    text = (HERE / "templates" / template).read_text(encoding="utf-8")
    read = set(re.findall(r"\bpage\.(\w+)", text))
    fields = {field.name for field in dataclasses.fields(context)}
    assert read <= fields
    assert fields - read <= (BY_PARTS if "sentence(page)" in text else set())
    assert context.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert context.__doc__ == f"Everything that ``{template}`` shows." or template == "failure.html"


def test_every_page_has_a_context() -> None:
    """A template that is added needs its line above."""
    shared = {"document.html", "base.html", "parts.html"}
    assert {path.name for path in (HERE / "templates").glob("*.html")} - shared == {name for _, name in PAGES}
