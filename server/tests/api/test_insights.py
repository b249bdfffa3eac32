"""Insights over both families: found by a run on demand, listed, changed, commented, exported, kept apart by class."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select

from mona_server.api import background
from mona_server.insights.runs import Desk
from mona_server.insights.work import answer_jobs
from mona_server.store.tables_insights import insights as table
from tests.api.conftest import NOW_MS, Api

DAY = 86_400
T = NOW_MS // 1000 // DAY * DAY
CONFIG = {
    "fields": {"score": {"type": "numeric"}, "city": {"type": "string"}},
    "stanzas": {
        "first": {
            "metrics": ["score"],
            "segment_by": ["city"],
            "verses": [
                {
                    "type": "AverageDrift",
                    "min_segment_size": 5,
                    "target_set_period": "1d",
                    "benchmark_set_period": "1w",
                    "min_anomaly_level": 0.5,
                    "chance_gate": False,
                }
            ],
        }
    },
}
ASK = {"context_class": "LOAN", "min_segment_size": 1}


def rows() -> list[dict[str, Any]]:
    """Eight days of two cities; in the last day the score of Haifa rises."""
    return [
        {
            "id": f"{day}-{i}",
            "at": T - day * DAY - DAY + i * 600,
            "score": (10 if day == 0 and i % 2 else 1) + (i % 7) / 10,
            "city": ["Eilat", "Haifa"][i % 2],
        }
        for day in range(8)
        for i in range(40)
    ]


@pytest.fixture
def found(api: Api) -> Api:
    """Two classes with the same data, of which one was searched."""
    api.post("/upload_config", {"config": {"LOAN": CONFIG, "OTHER": CONFIG}, "commit_message": "m"})
    api.send("LOAN", rows())
    api.send("OTHER", rows())
    started = api.post("/api/v1/runs", {"context_class": "LOAN", "timestamp": T})
    assert started.status_code == 202, started.text
    desk = Desk.of(api.store)
    answer_jobs(desk, lambda: datetime.fromtimestamp(api.now_ms / 1000, UTC))
    desk.engine.close()
    job = api.get(f"/api/v1/jobs/{started.json()['job_id']}").json()
    assert job["state"] == "done", job
    return api


def test_run_on_demand_finds_what_the_public_client_reads(found: Api) -> None:
    """The six first keys in their order, highest score first, without `error_message`."""
    answer = found.post("/insights", ASK).json()
    assert set(answer) == {"response_data"}
    first = answer["response_data"][0]
    assert list(first)[:6] == ["user_id", "arc_class", "stanza_name", "verse_name", "score", "main_signal"]
    assert first["main_signal"]["segment"] == {"city": [{"value": "Haifa"}]}
    scores = [insight["score"] for insight in answer["response_data"]]
    assert scores == sorted(scores, reverse=True)


def test_filters(found: Api) -> None:
    """Each filter of the original, in old and new spelling, keeps or drops the insight."""
    for kept in (
        {"insight_types": ["AverageDrift"]},
        {"metric_name": "score"},
        {"min_insight_score": 0},
        {"time_range_seconds": [T - DAY, T + DAY]},
        {"first_discovered_on_range_seconds": [T - DAY, T + DAY]},
        {"min_segment_size": 0.1},
        {"states": ["new"]},
    ):
        assert found.post("/insights", {**ASK, **kept}).json()["response_data"], kept
    for dropped in (
        {"insight_types": ["SumDrift"]},
        {"metric_name": "nothing"},
        {"min_insight_score": 1e12},
        {"time_range_seconds": [0, 1]},
        {"min_segment_size": 1_000},
        {"archived": True},
    ):
        assert found.post("/insights", {**ASK, **dropped}).json() == {"response_data": []}, dropped
    old = {"contextClass": "LOAN", "minSegmentSize": "1"}
    assert found.post("/insights", old).json()["response_data"]


def test_wrong_questions(found: Api) -> None:
    """What is missing or wrong is named; an unknown class has the text that existing code knows."""
    assert "min_segment_size" in found.post("/insights", {"context_class": "LOAN"}).json()["error_message"]
    told = found.post("/insights", {"context_class": "NOPE", "min_segment_size": 1}).json()
    assert told["error_message"] == "Unknown context class: NOPE"
    for bad in (
        {"states": ["sad"]},
        {"sort": "luck"},
        {"time_range_seconds": [2, 1]},
        {"urgency": "very"},
        {"limit": 0},
    ):
        assert "error_message" in found.post("/insights", {**ASK, **bad}).json(), bad
        assert found.post_2("/insights", {**ASK, **bad}).status_code == 400
    assert found.post("/insights", ASK, token={}).status_code == 401
    other = found.post("/insights", ASK, token=found.token(tenant="acme")).json()
    assert other["error_message"] == "Unknown context class: LOAN"


def test_list_pages_and_counts(found: Api) -> None:
    """Pages walk through all insights once; the total comes on request; filters are query keys."""
    everything = found.get("/api/v1/insights?count=true&limit=1000").json()
    assert everything["total"] == len(everything["items"]) > 0
    walked = [item["insight_id"] for page in found.pages("/api/v1/insights?limit=1") for item in page]
    assert walked == [item["insight_id"] for item in everything["items"]]
    assert found.get("/api/v1/insights?metric_name=nothing").json()["items"] == []
    segment = json.dumps({"city": [{"value": "Haifa"}]})
    assert found.get(f"/api/v1/insights?segment={segment}").json()["items"]
    for bad in ("cursor=rubbish", "limit=0", "sort=luck", "archived=maybe", "nonsense=1", "time_range_seconds=1"):
        assert found.get(f"/api/v1/insights?{bad}").status_code == 400, bad


def test_one_insight_is_changed_and_commented(found: Api) -> None:
    """Archive, snooze, feedback, comment: each by who may, guarded by an ETag, seen by everybody."""
    insight_id = found.get("/api/v1/insights").json()["items"][0]["insight_id"]
    path = f"/api/v1/insights/{insight_id}"
    full = found.get(path)
    assert {"series", "runs", "comments"} <= set(full.json())
    viewer, participant = found.token("Viewer"), found.token("Participant")

    def patch(body: dict[str, Any], token: dict[str, str]) -> Any:
        return found.client.request("PATCH", path, json=body, headers=token)

    assert patch({"feedback": "useful"}, viewer).json()["feedback"] == "useful"
    assert patch({"feedback": "useful"}, participant).status_code == 403
    assert patch({"archived": True}, viewer).status_code == 403
    stale = found.token() | {"If-Match": full.headers["etag"]}
    assert patch({"archived": True}, stale).status_code == 412
    assert patch({"archived": True}, found.token()).json()["archived"] is True
    assert patch({"archived": "yes?"}, found.token()).status_code == 400
    assert found.get("/api/v1/insights").json()["items"] == []
    assert found.get("/api/v1/insights?archived=any").json()["items"]
    assert found.post(f"{path}/comments", {"text": "hello"}, token=viewer).status_code == 201
    assert found.post(f"{path}/comments", {"text": "hello"}, token=participant).status_code == 403
    assert [one["text"] for one in found.get(path).json()["comments"]] == ["hello"]
    assert "insight.change" in found.get("/api/v1/audit").text
    assert found.get(f"{path}/export").json()["insight"]["insight_id"] == insight_id
    for way in (path, f"{path}/export"):
        assert found.get(way, token=found.token(tenant="acme")).status_code == 404


def test_distribution_of_the_metric(found: Api) -> None:
    """Judged over compared contexts in the same bins, from today's data; the ETag is that of the insight alone."""
    insight_id = found.get("/api/v1/insights").json()["items"][0]["insight_id"]
    path = f"/api/v1/insights/{insight_id}"
    full = found.get(path)
    spread = full.json()["distribution"]
    assert (spread["field"], spread["exact"]) == ("score", True)
    assert [spread[side]["size"] for side in ("target", "benchmark")] == [20, 140]
    assert spread["target"]["segment"] == spread["benchmark"]["segment"] == {"city": [{"value": "Haifa"}]}
    assert (spread["benchmark"]["to"], spread["target"]["to"]) == (T - DAY, T)
    assert spread["js_distance"] == pytest.approx(1)
    assert spread["target"]["statistics"]["average"] > spread["benchmark"]["statistics"]["max"]
    bins = [[item["segment"] for item in spread[side]["histogram"]] for side in ("target", "benchmark")]
    assert bins[0] == bins[1]
    found.send("LOAN", [{"id": "late", "at": T - 1, "score": 11.0, "city": "Haifa"}])
    assert found.get(path).json()["distribution"]["target"]["size"] == 21
    assert found.get(path, If_None_Match=full.headers["etag"]).status_code == 304
    changed = {"archived": False}
    headers = found.token() | {"If-Match": full.headers["etag"]}
    assert found.client.request("PATCH", path, json=changed, headers=headers).status_code == 200


def test_a_context_names_its_insights(found: Api) -> None:
    """Those whose judged window and segment hold it; an archived insight is nobody's."""
    insight_id = found.get("/api/v1/insights").json()["items"][0]["insight_id"]
    for context_id, insights in (("0-1", [insight_id]), ("0-0", []), ("1-1", [])):
        assert found.get(f"/api/v1/classes/LOAN/contexts/{context_id}").json()["insights"] == insights, context_id
    found.client.request("PATCH", f"/api/v1/insights/{insight_id}", json={"archived": True}, headers=found.token())
    assert found.get("/api/v1/classes/LOAN/contexts/0-1").json()["insights"] == []


def test_fields_name_their_uses(found: Api) -> None:
    """The verse that follows or segments by a field stands with it."""
    shown = {one["name"]: one["used_by"] for one in found.get("/api/v1/classes/LOAN/fields").json()["items"]}
    used = [{"kind": "verse", "name": "first__AverageDrift"}]
    assert shown == {"score": used, "city": used}


@pytest.mark.parametrize(("path", "first"), [("runs", 2), ("jobs", 2), ("events", 2), ("views", 2)])
def test_lists_by_time_page_to_their_end(found: Api, path: str, first: int) -> None:
    """Page by page each item once, newest first, whatever has the same time; a foreign cursor is refused."""
    desk = Desk.of(found.store)
    for i in range(4):
        found.post("/api/v1/runs", {"context_class": "LOAN", "timestamp": T - i * DAY})
        answer_jobs(desk, lambda i=i: datetime.fromtimestamp(found.now_ms / 1000 + i // 2, UTC))  # type: ignore[misc]
        found.post("/api/v1/events", {"time": T + i // 2, "title": f"e{i}"})
        found.post("/api/v1/views", {"name": f"v{i}"})
    desk.engine.close()
    everything = [item["id"] for item in found.get(f"/api/v1/{path}?limit=1000").json()["items"]]
    assert len(everything) >= 4
    walked = [item["id"] for page in found.pages(f"/api/v1/{path}?limit={first}") for item in page]
    assert walked == everything
    for wrong in ("rubbish", "WzFd", "WyJhIiwxXQ"):
        assert found.get(f"/api/v1/{path}?cursor={wrong}").status_code == 400


def test_distribution_of_what_is_gone(found: Api) -> None:
    """Without its field an insight can still be read; its distribution cannot."""
    insight_id = found.get("/api/v1/insights").json()["items"][0]["insight_id"]
    config = {"LOAN": {"fields": {"city": {"type": "string"}}, "stanzas": {}}}
    assert "error_message" not in found.post("/upload_config", {"config": config, "commit_message": "m"}).json()
    full = found.get(f"/api/v1/insights/{insight_id}")
    assert full.status_code == 200
    assert full.json()["distribution"] is None


def test_runs(found: Api) -> None:
    """The run tells what it did; another tenant and a role of another class do not see it."""
    (run,) = found.get("/api/v1/runs").json()["items"]
    assert (run["state"], run["reason"], run["arc_class"]) == ("done", "demand", "LOAN")
    assert run["insights"]
    assert found.get(f"/api/v1/runs/{run['id']}").json() == run
    assert found.get(f"/api/v1/runs/{run['id']}", token=found.token(tenant="acme")).status_code == 404
    other = found.token({"role": "Context Class Viewer", "arc_class": "OTHER"})
    assert found.get(f"/api/v1/runs/{run['id']}", token=other).status_code == 404
    assert found.get("/api/v1/runs", token=other).json()["items"] == []
    for bad in ({"context_class": "NOPE"}, {"context_class": "LOAN", "verses": ["nope"]}):
        assert found.post("/api/v1/runs", bad).status_code == 404
    assert found.post("/api/v1/runs", {"context_class": "LOAN"}, token=found.token("Viewer")).status_code == 403


def test_backtest(found: Api) -> None:
    """What would have fired, per verse, without saving anything; wrong verses and configurations are refused at once."""
    before = len(found.get("/api/v1/insights?limit=1000").json()["items"])
    ask = {"config": CONFIG, "context_class": "OTHER"}
    started = found.post("/api/v1/config/backtest", ask)
    assert started.status_code == 202, started.text
    background.work(found.edge.settings)
    job = found.get(f"/api/v1/jobs/{started.json()['job_id']}").json()
    assert job["state"] == "done", job
    (told,) = job["result"]["verses"]
    assert told["runs"] > 0
    assert told["days"][-1] == T
    assert told["error"] is None
    assert len(found.get("/api/v1/insights?limit=1000").json()["items"]) == before
    for bad in ({**ask, "verses": ["nope"]}, {"config": {"A": CONFIG, "B": CONFIG}}, {"config": {"A": {"fields": 7}}}):
        assert found.post("/api/v1/config/backtest", bad).status_code == 400
    assert found.post("/api/v1/config/backtest", ask, token=found.token("Viewer")).status_code == 403


def test_class_roles_read_their_insights_only(found: Api) -> None:
    """A role of one class lists that class; a role of another one cannot read, change or find the insight."""
    insight_id = found.get("/api/v1/insights").json()["items"][0]["insight_id"]
    mine = found.token({"role": "Context Class Viewer", "arc_class": "LOAN"})
    other = found.token({"role": "Context Class Admin", "arc_class": "OTHER"})
    assert found.get("/api/v1/insights", token=mine).json()["items"]
    assert found.get("/api/v1/insights", token=other).json()["items"] == []
    assert found.get(f"/api/v1/insights/{insight_id}", token=other).status_code == 404
    changed = found.client.request("PATCH", f"/api/v1/insights/{insight_id}", json={"archived": True}, headers=other)
    assert changed.status_code == 404
    assert "missing permission" in found.post("/insights", ASK, token=other).json()["error_message"]


def test_no_insights_yet(make_api: Callable[..., Api]) -> None:
    """A class without any insight answers an empty list."""
    api = make_api()
    api.post("/upload_config", {"config": {"LOAN": CONFIG}, "commit_message": "m"})
    assert api.post("/insights", ASK).json() == {"response_data": []}


@pytest.mark.slow
def test_ten_thousand_insights_page_without_loss_or_repetition(found: Api) -> None:
    """While stronger and weaker insights arrive between the pages, each of the old ones is shown exactly once."""
    with found.store.meta.connect() as db:
        row = dict(db.execute(select(table).where(table.c.tenant == "default").limit(1)).mappings().one())

    def add(first: int, count: int) -> None:
        made = [
            {**row, "id": f"ins_{i:06}", "identity": f"i{i}", "score": float(i * 7919 % 10_007)}
            for i in range(first, first + count)
        ]
        with found.store.meta.begin() as db:
            db.execute(insert(table), made)

    add(0, 10_000)
    seen: list[str] = []
    for page in found.pages("/api/v1/insights?limit=1000"):
        seen += [item["insight_id"] for item in page]
        add(20_000 + len(seen), 50)
    old = [insight_id for insight_id in seen if insight_id < "ins_010000" and insight_id.startswith("ins_0")]
    assert len(seen) == len(set(seen))
    assert len(old) == 10_000
