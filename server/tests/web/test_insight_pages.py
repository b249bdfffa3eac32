"""The insight pages over HTTP: who sees what, and what odd insights look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from mona_server.api.identity import users
from mona_server.config import revisions
from mona_server.store import Store
from mona_server.store.tables_insights import insights as table

from .conftest import NOW_MS, MakeInsight

OpenPages = Callable[..., TestClient]
PASSWORD = "violet harbour stapler 9"
CONFIG = {"FLIGHTS": {"fields": {"carrier": {"type": "string"}, "arrival_delay": {"type": "numeric"}}}}


@pytest.fixture
def keep(store: Store) -> Callable[..., None]:
    """``keep(insight, tenant=…)``: store an insight as a run would, and make its class known."""

    def write(insight: dict[str, Any], tenant: str = "default", **columns: Any) -> None:
        signal = insight["main_signal"]
        name = insight["arc_class"]
        if revisions.active(store.meta, tenant) is None:
            config = {name: CONFIG["FLIGHTS"]} | CONFIG
            revisions.save(store.meta, tenant, config, author="test", commit_message="", now_ms=NOW_MS)
        with store.meta.begin() as connection:
            connection.execute(
                insert(table).values(
                    id=insight["insight_id"],
                    tenant=tenant,
                    context_class=name,
                    stanza=insight["stanza_name"],
                    verse_name=insight["verse_name"],
                    verse_type=signal["verse"]["type"],
                    signal_type=signal["signal_type"],
                    metric=signal["kapi"],
                    desc=signal["is_desc"],
                    baseline="{}",
                    segment="{}",
                    time_axis="MONA_TIMESTAMP",
                    identity=insight["insight_id"],
                    state=insight["state"],
                    urgency=insight["urgency"],
                    score=insight["score"],
                    level=signal["anomaly_level"],
                    size=signal["segment_size"],
                    ratio=signal["segment_ratio"],
                    first_s=insight["first_discovered"],
                    last_s=insight["last_discovered"],
                    occurrences=1,
                    body={
                        name: insight[name] for name in ("title", "main_signal", "related_signals", "related_anomalies")
                    },
                    updated_ms=NOW_MS,
                    **columns,
                )
            )

    return write


@pytest.fixture
def browser(open_pages: OpenPages) -> TestClient:
    return open_pages(auth={"allow_no_auth": True})


def texts(html: str) -> str:
    """What a reader sees, without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_an_insight_without_its_data_still_reads(
    browser: TestClient, keep: Callable[..., None], insight: MakeInsight
) -> None:
    """The class lost its data: list and page show what was kept, and say that chart and contexts are gone."""
    keep(insight())
    assert "arrival_delay average rose from 25.5 to 119 where carrier = EV" in texts(browser.get("/insights").text)
    page = browser.get("/insights/ins_1")
    assert page.status_code == 200
    assert "There is no data in the windows of this insight any more" in page.text
    assert "passed, at least 2" in page.text


@pytest.mark.parametrize(
    "value", ["<script>alert(1)</script>", "\"' onmouseover=x", "שלום עולם ארוך מאוד כאן", "{{ 7*7 }}"]
)
def test_values_are_never_markup(
    browser: TestClient, keep: Callable[..., None], insight: MakeInsight, value: str
) -> None:
    """Field values of messages come out as text, whatever they hold."""
    segment = {"carrier": [{"value": value}]}
    keep(insight(signal={"segment": segment}, title=f"delay rose where carrier = {value} (1 contexts)"))
    for path in ("/insights", "/insights/ins_1"):
        html = browser.get(path).text
        assert "<script>alert" not in html
        assert '" onmouseover' not in html
        assert re.search(r"\b49\b", texts(html)) is None


def test_another_tenants_insight_does_not_exist(
    browser: TestClient, keep: Callable[..., None], insight: MakeInsight
) -> None:
    """Its id is not found, its class is not in the switch, its row not in the list."""
    keep(insight("ins_mine"))
    keep(insight("ins_theirs", arc_class="SECRET"), tenant="other")
    assert browser.get("/insights/ins_theirs").status_code == 404
    html = browser.get("/insights?class=SECRET&range=all").text
    assert "ins_theirs" not in html
    assert "SECRET" not in html


def test_a_role_of_one_class_sees_that_class_only(
    open_pages: OpenPages, store: Store, keep: Callable[..., None], insight: MakeInsight
) -> None:
    """A Context Class Viewer finds neither the other class nor its insights."""
    keep(insight("ins_loan", arc_class="LOAN"))
    keep(insight("ins_flight"))
    roles = [{"role": "Context Class Viewer", "arc_class": "LOAN"}, "HasMonaAccess"]
    _, link = users.invite(store.meta, "lea@example.org", roles, now_ms=NOW_MS)
    browser = open_pages()
    assert browser.post("/activate", data={"link": link, "password": PASSWORD}).status_code == 303
    html = browser.get("/insights?class=FLIGHTS").text
    assert "FLIGHTS" not in html
    assert "ins_loan" in html
    assert browser.get("/insights/ins_loan").status_code == 200
    assert browser.get("/insights/ins_flight").status_code == 404
    assert browser.get("/insights/ins_flight/series.csv").status_code == 404


def test_archived_and_suppressed_are_not_listed(
    browser: TestClient, keep: Callable[..., None], insight: MakeInsight
) -> None:
    """What a person put away and what could be chance stay out of the default list."""
    keep(insight("ins_shown"))
    keep(insight("ins_archived"), archived=True)
    keep(insight("ins_chance", state="suppressed"))
    assert set(re.findall(r'href="/insights/(ins_\w+)', browser.get("/insights").text)) == {"ins_shown"}


def test_the_class_is_remembered(browser: TestClient, keep: Callable[..., None], insight: MakeInsight) -> None:
    """The class of the last visit is shown when the address names none; one that is gone falls back to the first."""
    keep(insight("ins_loan", arc_class="LOAN"))
    keep(insight("ins_flight"))
    assert "ins_loan" in browser.get("/insights?class=LOAN").text
    assert "ins_loan" in browser.get("/insights").text
    assert "ins_flight" in browser.get("/insights?class=NOTHING").text


def test_endless_and_missing_numbers(browser: TestClient, keep: Callable[..., None], insight: MakeInsight) -> None:
    """A zero divisor reads as ∞, a value that is missing as a dash; neither breaks a page."""
    keep(insight(signal={"is_score_inf": True, "anomaly_level": 1e9, "std": 0.0, "kapi": None, "value": 5.0}))
    for path in ("/insights", "/insights/ins_1"):
        assert "∞" in browser.get(path).text


def test_a_long_list_is_bounded(browser: TestClient, keep: Callable[..., None], insight: MakeInsight) -> None:
    """The list stays bounded and says that it is."""
    for i in range(300):
        keep(insight(f"ins_{i}", score=float(i)))
    html = browser.get("/insights").text
    assert html.count('class="what"') == 200
    assert "The strongest 200 of 300 are shown" in html
    assert "ins_299" in html
    assert "ins_50&" not in html
