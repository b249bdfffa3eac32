"""The original services around data and configuration, over real folded data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from mona_server.config import revisions
from tests.api.conftest import NOW_MS, Api

AT = NOW_MS // 1000 - 3600


def rows(n: int) -> list[dict[str, Any]]:
    return [{"id": f"c{i}", "at": AT + i, "amount": 10.5 * i, "city": ["Haifa", "Eilat"][i % 2]} for i in range(n)]


def test_suggestion_from_stored_data(api: Api) -> None:
    """New variables become fields; what is configured stays; few contexts are said to be few."""
    api.send("LOAN", rows(10))
    told = api.post("/get_new_config_fields", {}).json()["response_data"]
    assert told["new_fields"] == {"LOAN": ["amount", "city"]}
    assert told["suggested_config"]["LOAN"]["fields"]["city"] == {"type": "string"}
    assert told["confidence"] == {"LOAN": "low"}
    again = api.post("/api/v1/config/suggest", {"verses": True}).json()
    assert again["new_fields"] == told["new_fields"]


def test_suggestion_from_messages_stores_nothing(api: Api) -> None:
    """Messages of one context are merged first; a message that would be refused is named; nothing is stored."""
    messages = [
        {"arcClass": "LOAN", "contextId": "a", "message": {"amount": 1.5}},
        {"arcClass": "LOAN", "contextId": "a", "message": {"city": "Haifa"}},
    ]
    for events in (messages, {"messages": messages, "userId": "default"}):
        told = api.post("/suggest_new_config", {"events": events}).json()["response_data"]
        assert told["new_fields"] == {"LOAN": ["amount", "city"]}
    bad = api.post("/suggest_new_config", {"events": [*messages, {"arcClass": "", "message": {}}]}).json()
    assert bad["error_message"].startswith("events[2]: contextClass")
    for rubbish in (None, 7, "x", {}, {"messages": 7}):
        assert "error_message" in api.post("/suggest_new_config", {"events": rubbish}).json()
    assert api.store.classes("default") == []


def test_validate_builds_fields(api: Api) -> None:
    """A good configuration shows the built fields of the latest contexts, or of those asked for; errors stand beside."""
    api.send("LOAN", rows(20))
    config = {"LOAN": {"fields": {"amount": {"type": "numeric"}, "n": {"type": "numeric", "source": "city"}}}}
    told = api.post("/validate_config", {"config": config}).json()["response_data"]
    built = told["field_building_results"]["LOAN"]
    assert len(built) == 10
    assert built[0]["context"] == "c19"
    assert {"context", "user_id", "arc_class", "timestamp", "fields", "errors"} == set(built[0])
    assert built[0]["fields"]["amount"] == 199.5
    assert built[0]["errors"][0]["field"] == "n"
    one = {"config": config["LOAN"], "context_class": "LOAN", "list_of_context_ids": ["c1", "nobody"]}
    per_class = api.post("/validate_config_per_context_class", one).json()
    assert [item["context"] for item in per_class["field_building_results"]] == ["c1"]
    assert "issues" not in per_class
    assert (
        len(
            api.post("/validate_config", {"config": config, "latest_amount": 3}).json()["response_data"][
                "field_building_results"
            ]["LOAN"]
        )
        == 3
    )


def test_validate_tells_issues_where_the_public_client_looks(api: Api) -> None:
    """Inside of response_data for the whole file, at the top level for one class; 400 with issues for protocol 2."""
    bad = {"LOAN": {"fields": {"a": {"type": "nope"}}}}
    whole = api.post("/validate_config", {"config": bad}).json()
    assert whole["response_data"]["issues"][0]["path"] == "LOAN.fields.a.type"
    assert whole["error_message"]
    one = api.post("/validate_config_per_context_class", {"config": bad["LOAN"], "context_class": "LOAN"}).json()
    assert one["issues"][0]["path"] == "LOAN.fields.a.type"
    assert one["error_message"]
    honest = api.post_2("/validate_config", {"config": bad})
    assert (honest.status_code, honest.json()["issues"][0]["path"]) == (400, "LOAN.fields.a.type")


def test_class_for_language_model_calls(api: Api) -> None:
    """Made once, never overwritten; an unknown kind of API is an error; other classes stay."""
    api.post("/upload_config", {"config": {"LOAN": {"fields": {}}}, "commit_message": "m"})
    ask = {"context_class": "CHAT", "openai_api_type": "ChatCompletion"}
    first = api.post("/create_openai_context_class", ask).json()
    second = api.post("/create_openai_context_class", {**ask, "openai_api_type": "Completion"}).json()
    assert first["response_data"]["created"] is True
    assert second["response_data"] == {**first["response_data"], "created": False}
    assert "error_message" not in first
    classes = api.post("/configs", {}).json()["response_data"]["raw_configuration_data"]
    assert set(classes) == {"LOAN", "CHAT"}
    bad = api.post("/create_openai_context_class", {"context_class": "X", "openai_api_type": "Telepathy"}).json()
    assert "openai_api_type" in bad["error_message"]


def test_class_for_language_model_calls_beside_other_uploads(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that comes in between is no error and is not lost: the newest configuration is meant."""
    api.post("/upload_config", {"config": {"A": {"fields": {}}}, "commit_message": "m"})
    active = revisions.active
    interrupted: list[int] = []

    def interrupt(meta: Engine, tenant: str) -> Any:
        found = active(meta, tenant)
        if not interrupted:
            interrupted.append(1)
            revisions.save(meta, tenant, {"fields": {}}, author="b", commit_message="", now_ms=1, context_class="B")
        return found

    monkeypatch.setattr(revisions, "active", interrupt)
    made = api.post("/create_openai_context_class", {"context_class": "CHAT", "openai_api_type": "ChatCompletion"})
    assert made.json()["response_data"]["created"] is True
    monkeypatch.undo()
    assert set(api.post("/configs", {}).json()["response_data"]["raw_configuration_data"]) == {"A", "B", "CHAT"}


def test_upload_rebuilds_the_last_weeks(api: Api) -> None:
    """Data that came before its configuration gets its fields by a job that the upload queues."""
    api.send("LOAN", rows(5))
    api.post("/upload_config", {"config": {"LOAN": {"fields": {"amount": {"type": "numeric"}}}}, "commit_message": "m"})
    api.work()
    (job,) = api.get("/api/v1/jobs").json()["items"]
    assert (job["kind"], job["state"], job["result"]["changed"]) == ("backfill", "done", 5)
    again = api.post("/api/v1/backfill", {"context_class": "LOAN", "from": AT, "to": AT + 2})
    assert again.status_code == 202
    api.work()
    done = api.get(f"/api/v1/jobs/{again.json()['job_id']}").json()
    assert done["result"] == {"contexts": 2, "changed": 0}
    assert api.get("/api/v1/jobs/x").status_code == 404
    assert api.get(f"/api/v1/jobs/{job['id']}", token=api.token(tenant="acme")).status_code == 404
    assert api.post("/api/v1/backfill", {"context_class": "NOPE"}).status_code == 404
    both = api.post("/api/v1/backfill", {"context_class": "LOAN", "what": ["fields", "insights"]}).json()
    assert set(both["jobs"]) == {"fields", "insights"}


def test_only_changed_fields_are_rebuilt(api: Api) -> None:
    """An upload that changes no field queues nothing; one that does, queues its class alone."""
    config = {name: {"fields": {"amount": {"type": "numeric"}}} for name in ("LOAN", "CHAT")}
    api.post("/upload_config", {"config": config, "commit_message": "m"})
    api.send("LOAN", rows(3))
    api.send("CHAT", rows(3))
    config["LOAN"]["description"] = "words only"  # type: ignore[assignment]
    api.post("/upload_config", {"config": config, "commit_message": "m"})
    assert api.get("/api/v1/jobs").json()["items"] == []
    config["CHAT"]["fields"]["city"] = {"type": "string"}
    api.post("/upload_config", {"config": config, "commit_message": "m"})
    assert [job["parameters"]["context_class"] for job in api.get("/api/v1/jobs").json()["items"]] == ["CHAT"]


def test_operations(api: Api) -> None:
    """Readings of the server, its settings without passwords, and a test of a notification; for who may."""
    assert {"id", "title", "value", "unit", "status", "advice"} == set(api.get("/api/v1/doctor").json()["items"][0])
    assert api.get("/api/v1/settings").json()["limits"]["max_messages"] == 100_000
    assert api.get("/api/v1/settings", token=api.token("Viewer")).status_code == 403
    hook = {"webhook": "https://hooks.example/s3cr3t"}
    config = {"LOAN": {"fields": {"amount": {"type": "numeric"}}, "notifications": {"team": hook}}}
    api.post("/upload_config", {"config": config, "commit_message": "m"})
    sent = api.post("/api/v1/notifications/test", {"context_class": "LOAN", "name": "team"})
    assert (sent.status_code, len(sent.json()["deliveries"])) == (202, 1)
    assert "s3cr3t" not in sent.text
    assert api.post("/api/v1/notifications/test", {"context_class": "LOAN", "name": "nobody"}).status_code == 404


def test_settings_hide_passwords(make_api: Callable[..., Api]) -> None:
    """An address that holds a password is masked."""
    api = make_api(notifications={"smtp_url": "smtp://user:s3cr3t@mail.example"})
    shown = api.get("/api/v1/settings")
    assert shown.json()["notifications"]["smtp_url"] == "***"
    assert "s3cr3t" not in shown.text


def test_deletes_are_jobs(api: Api) -> None:
    """One context, then a range; both by a job; a Viewer may not."""
    api.send("LOAN", rows(10))
    path = "/api/v1/classes/LOAN"
    viewer = api.token("Viewer")
    assert api.client.request("DELETE", f"{path}/contexts/c1", headers=viewer).status_code == 403
    assert api.client.request("DELETE", f"{path}/contexts/c1", headers=api.token()).status_code == 202
    assert api.client.request("DELETE", f"{path}/data?from={AT + 5}", headers=api.token()).status_code == 202
    api.work()
    assert api.get(path).json()["contexts"] == 4


def test_classes(api: Api) -> None:
    """Classes with data or configuration, and only those that the caller may look into."""
    api.send("LOAN", rows(3))
    api.send("CHAT.PART", rows(2))
    api.post("/upload_config", {"config": {"EMPTY": {"fields": {"x": {"type": "string"}}}}, "commit_message": "m"})
    shown = {item["name"]: item for item in api.get("/api/v1/classes").json()["items"]}
    assert set(shown) == {"LOAN", "CHAT.PART", "EMPTY"}
    assert (shown["LOAN"]["contexts"], shown["LOAN"]["configured"]) == (3, False)
    assert shown["CHAT.PART"]["parent"] == "CHAT"
    assert shown["EMPTY"]["fields"] == 1
    mine = api.token({"role": "Context Class Participant", "arc_class": "LOAN"})
    assert [item["name"] for item in api.get("/api/v1/classes", token=mine).json()["items"]] == ["LOAN"]
    assert api.get("/api/v1/classes/CHAT.PART", token=mine).status_code == 403
    assert api.get("/api/v1/classes/NOPE").status_code == 404
    assert api.get("/api/v1/classes", token=api.token(tenant="acme")).json()["items"] == []
    report = api.get("/api/v1/classes/LOAN/ingestion").json()
    (frame,) = report["frames"]
    assert (frame["messages"], frame["new_contexts"], frame["updates"], frame["refused"]) == (3, 3, 0, 0)
    assert (report["resolution"], report["duplicates"], report["refused_by_reason"]) == ("1h", 0, [])
    assert report["update_age_seconds"] == {"p50": None, "p95": None}


def test_old_generation_by_setting(make_api: Callable[..., Api]) -> None:
    """A site of 0.0.11 clients gets the 4xx that they take for a clean refusal."""
    api = make_api(auth={"legacy_generation": "0.0.11"})
    refused = api.post("/upload_config", {"config": {"LOAN": {"fields": 7}}, "commit_message": "m"})
    assert refused.status_code == 400
    assert refused.json()["response_data"] == {"new_config_id": ""}
    good = api.post("/upload_config", {"config": {"LOAN": {"fields": {}}}, "commit_message": "m"})
    assert good.json()["response_data"]["new_config_id"]


def test_events(api: Api) -> None:
    """Markers are added, listed by time and class, shown as annotations, and removed."""
    made = api.post("/api/v1/events", {"time": 100, "title": "deploy 1", "kind": "deploy", "contextClass": "LOAN"})
    api.post("/api/v1/events", {"time": 200, "title": "holiday", "kind": "holiday", "end": 300})
    assert [e["title"] for e in api.get("/api/v1/events").json()["items"]] == ["holiday", "deploy 1"]
    assert [e["title"] for e in api.get("/api/v1/events?from=250&to=300").json()["items"]] == ["holiday"]
    assert [e["title"] for e in api.get("/api/v1/events?context_class=CHAT").json()["items"]] == ["holiday"]
    notes = api.get("/api/v1/events?format=annotations").json()
    assert notes[0] == {"time": 200000, "timeEnd": 300000, "title": "holiday", "text": "", "tags": ["holiday"]}
    for bad in ({"time": 1}, {"time": 5, "end": 4, "title": "x"}, {"time": 1, "title": "x", "segment": {"a": 7}}):
        assert api.post("/api/v1/events", bad).status_code == 400
    path = f"/api/v1/events/{made.json()['id']}"
    assert api.client.request("DELETE", path, headers=api.token(tenant="acme")).status_code == 404
    assert api.client.request("DELETE", path, headers=api.token()).status_code == 204
    assert api.get("/api/v1/events", token=api.token(tenant="acme")).json()["items"] == []


def test_views(api: Api) -> None:
    """Private to their owner unless shared; changed with an ETag; removed by the owner only."""
    mine, other = api.token("Viewer"), api.token("Participant")
    made = api.post("/api/v1/views", {"name": "mine", "state": {"x": 1}}, token=mine)
    path = f"/api/v1/views/{made.json()['id']}"
    assert api.get(path, token=other).status_code == 404
    tag = api.get(path, token=mine).headers["etag"]
    changed = api.client.request("PATCH", path, json={"shared": True}, headers=mine | {"If-Match": tag})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    stale = api.client.request("PATCH", path, json={"name": "x"}, headers=mine | {"If-Match": tag})
    assert stale.status_code == 412
    assert [view["name"] for view in api.get("/api/v1/views", token=other).json()["items"]] == ["mine"]
    assert api.client.request("DELETE", path, headers=other).status_code == 403
    assert api.get(path, token=api.token(tenant="acme")).status_code == 404
    assert api.client.request("DELETE", path, headers=mine).status_code == 204
