"""The clocks of senders, as the doctor tells them."""

from __future__ import annotations

from typing import Any

import pytest

from mona_server.api.skew import MAX_SAMPLES, MAX_TENANTS, ClockSkew
from mona_server.store import doctor
from mona_server.store.doctor import CLOCKS_MS
from tests.api.conftest import NOW_MS, Api

MESSAGES = {"messages": [{"arcClass": "LOAN", "message": {"amount": 1}}]}


def send(api: Api, *skews_s: float, tenant: str = "default") -> None:
    for skew_s in skews_s:
        sent_at = str(int(api.now_ms + skew_s * 1000))
        answer = api.post("/export", MESSAGES, token=api.token(tenant=tenant), X_Mona_Sent_At=sent_at)
        assert answer.status_code == 200


def shown(api: Api, tenant: str = "default") -> dict[str, Any] | None:
    items = api.get("/api/v1/doctor", token=api.token(tenant=tenant)).json()["items"]
    return next((item for item in items if item["id"] == "clock_skew_s"), None)


def test_doctor_tells_the_median_of_the_last_minutes(api: Api) -> None:
    """Unknown until a sender tells its time; one odd machine changes nothing; after ten quiet minutes unknown again."""
    api.post("/export", MESSAGES)
    assert shown(api) is None
    send(api, -0.2, -0.1, 9_000)
    told = shown(api)
    assert told is not None
    assert (told["value"], told["unit"], told["status"], told["advice"]) == (-0.1, "s", "ok", "")
    api.clock.now_ms += CLOCKS_MS
    assert shown(api) is None


@pytest.mark.parametrize(("skew_s", "way"), [(3_600, "ahead of"), (-3_600, "behind")])
def test_clocks_that_are_off_are_a_warning(api: Api, skew_s: float, way: str) -> None:
    """An hour off, in either direction: a warning that stands before what is well, and says what to do."""
    send(api, skew_s)
    told = shown(api)
    assert told is not None
    assert (told["value"], told["status"]) == (skew_s, "warning")
    assert way in told["advice"]
    statuses = [item["status"] for item in api.get("/api/v1/doctor").json()["items"]]
    assert statuses == sorted(statuses, key=["bad", "warning", "ok"].index)


def test_a_tenant_sees_its_own_senders_only(api: Api) -> None:
    """The clocks of another tenant are not told."""
    send(api, 5_000, tenant="acme")
    assert shown(api) is None
    assert shown(api, tenant="acme") is not None


def test_the_command_line_is_told_too(api: Api) -> None:
    """The api part writes the medians down, so that `mona doctor` tells the worst of all tenants without asking it."""
    send(api, 3_600)
    send(api, -5, tenant="acme")
    edge = api.edge
    for _ in range(2):
        edge.skew.save(edge.meta, now_ms=api.now_ms)
    (told,) = [r for r in doctor.examine(edge.store, edge.settings, api.now_ms) if r.id == "clock_skew_s"]
    assert (told.value, told.status) == (3_600, "warning")
    assert "of default" in told.title
    assert all(r.id != "clock_skew_s" for r in doctor.examine(edge.store, edge.settings, api.now_ms + CLOCKS_MS + 1))


@pytest.mark.parametrize("text", ["", "now", "-5", "1e12", "1.5", "9" * 5_000, "\u00b2"])
def test_a_time_that_is_none_is_ignored(text: str) -> None:
    """The header is for diagnosis: whatever stands in it, sending goes on."""
    skew = ClockSkew()
    skew.note("default", text.encode("latin-1"), arrival_ms=NOW_MS)
    skew.note("default", None, arrival_ms=NOW_MS)
    assert skew.median_s("default", now_ms=NOW_MS) is None


def test_memory_is_bounded() -> None:
    """The newest samples of the newest tenants are kept."""
    skew = ClockSkew()
    for number in range(2 * MAX_SAMPLES):
        skew.note("busy", str(NOW_MS + number * 1000).encode(), arrival_ms=NOW_MS)
    assert skew.median_s("busy", now_ms=NOW_MS) == pytest.approx(1.5 * MAX_SAMPLES - 0.5)
    for number in range(MAX_TENANTS):
        skew.note(f"tenant{number}", b"1", arrival_ms=NOW_MS)
    assert skew.median_s("busy", now_ms=NOW_MS) is None
    assert skew.median_s("tenant0", now_ms=NOW_MS) is not None
