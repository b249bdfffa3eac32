"""The configuration over both families of paths: saving, errors with issues, history, revisions, class roles."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api

LOAN = {"fields": {"amount": {"type": "numeric"}}}
CHAT = {"fields": {"words": {"type": "numeric"}}}
BAD = {"LOAN": {"fields": {"amount": {"type": "number"}, "b": {"type": "numeric", "function": "nope"}}}}


def upload(api: Api, config: Any = None, **other: Any) -> Any:
    body = {"config": config or {"LOAN": LOAN, "CHAT": CHAT}, "author": "ann", "commit_message": "first"} | other
    return api.post("/upload_config", body)


def test_nothing_is_configured_at_first(api: Api) -> None:
    """An empty configuration is an empty object, and the history says so in words."""
    assert api.post("/configs", {}).json() == {"response_data": {"raw_configuration_data": {}}}
    assert api.post("/get_config_history", {}).json() == {"msg": "No revisions", "configs": []}


def test_upload_and_read_back(api: Api) -> None:
    """With or without the user id level, an upload comes back as it was written, without `error_message`."""
    for config in ({"LOAN": LOAN}, {"default": {"LOAN": LOAN}}):
        answer = upload(api, config)
        assert answer.status_code == 200
        assert set(answer.json()) == {"response_data"}
        assert set(answer.json()["response_data"]) == {"new_config_id", "new_config", "diffs", "warnings"}
        read = api.post("/configs", {}).json()["response_data"]
        assert read["raw_configuration_data"] == {"LOAN": LOAN}
        assert (read["author"], read["commit_message"]) == ("ann", "first")


def test_first_revision_has_no_diffs_then_each_change_is_told(api: Api) -> None:
    """`diffs` is empty for the first revision; later ones tell what changed."""
    assert upload(api, {"LOAN": LOAN}).json()["response_data"]["diffs"] == []
    changed = upload(api, {"LOAN": {"fields": {"amount": {"type": "string"}}}}).json()["response_data"]
    assert changed["diffs"] == [{"op": "change", "path": "LOAN.fields.amount.type", "old": "numeric", "new": "string"}]


def test_one_class_alone(api: Api) -> None:
    """The path for one class leaves the others as they are; the class object may be wrapped in its name."""
    upload(api)
    for config in (CHAT, {"LOAN": CHAT}):
        body = {"config": config, "context_class": "LOAN", "author": "a", "commit_message": "m"}
        assert api.post("/upload_config_for_context_class", body).status_code == 200
        read = api.post("/configs", {}).json()["response_data"]["raw_configuration_data"]
        assert read == {"LOAN": CHAT, "CHAT": CHAT}


def test_bad_configuration_for_each_kind_of_caller(api: Api) -> None:
    """A legacy client gets 200 with error_message and no response_data; protocol 2 gets 400 with all issues."""
    legacy = upload(api, BAD)
    assert legacy.status_code == 200
    assert (legacy.json()["success"], legacy.json()["data"]) == (False, None)
    assert "LOAN.fields.amount.type" in legacy.json()["error_message"]
    assert "response_data" not in legacy.json()
    honest = api.post_2("/upload_config", {"config": BAD})
    assert honest.status_code == 400
    assert {issue["path"] for issue in honest.json()["issues"]} >= {"LOAN.fields.amount.type"}
    assert api.post("/configs", {}).json()["response_data"]["raw_configuration_data"] == {}


def test_author_defaults_to_the_key(api: Api) -> None:
    """Without an author the revision carries the api key."""
    api.post("/upload_config", {"config": {"LOAN": LOAN}, "commit_message": "m"})
    author = api.post("/configs", {}).json()["response_data"]["author"]
    assert author.startswith("mona_")


def test_history(api: Api) -> None:
    """Newest first, as many as asked for."""
    for i in range(3):
        upload(api, {"LOAN": LOAN}, commit_message=f"c{i}")
    told = api.post("/get_config_history", {"number_of_revisions": 2}).json()
    assert told["msg"] == "Found 2 revisions"
    assert [item["commit_message"] for item in told["configs"]] == ["c2", "c1"]
    assert len(api.post("/get_config_history", {}).json()["configs"]) == 3
    wrong = api.post("/get_config_history", {"number_of_revisions": "many"})
    assert "number_of_revisions" in wrong.json()["error_message"]


def test_conditional_upload(api: Api) -> None:
    """An upload based on an old revision is refused: 409 for protocol 2, 412 for a stale ETag."""
    first = upload(api, {"LOAN": LOAN}).json()["response_data"]["new_config_id"]
    tag = api.get("/api/v1/config").headers["etag"]
    upload(api, {"CHAT": CHAT})
    stale = {"config": {"LOAN": LOAN}, "base_config_id": first}
    assert api.post_2("/upload_config", stale).status_code == 409
    assert api.post("/api/v1/config", stale).status_code == 409
    assert api.post("/api/v1/config", {"config": {"LOAN": LOAN}}, If_Match=tag).status_code == 412
    fresh = api.get("/api/v1/config").headers["etag"]
    assert api.post("/api/v1/config", {"config": {"LOAN": LOAN}}, If_Match=fresh).status_code == 201


def test_class_roles_see_and_change_their_class_only(api: Api) -> None:
    """A class Admin reads and writes its class; every spelling of another class, and the whole file, is refused."""
    upload(api)
    mine = api.token({"role": "Context Class Admin", "arc_class": "LOAN"})
    read = api.post("/configs", {}, token=mine).json()["response_data"]["raw_configuration_data"]
    assert set(read) == {"LOAN"}
    history = api.post("/get_config_history", {}, token=mine).json()["configs"]
    assert all(set(item["config"]) == {"LOAN"} for item in history)
    path = "/upload_config_for_context_class"
    assert "error_message" not in api.post(path, {"config": LOAN, "context_class": "LOAN"}, token=mine).json()
    for body in (
        {"context_class": "CHAT"},
        {"contextClass": "LOAN", "arcClass": "CHAT"},
        {"context_class": "LOAN", "ARC_CLASS": "CHAT"},
        {"contextClass": "CHAT", "context_class": "LOAN"},
    ):
        refused = api.post(path, {"config": LOAN, **body}, token=mine)
        assert "mona.config.write" in refused.json()["error_message"], body
    assert (
        "mona.config.write"
        in api.post("/upload_config", {"config": {"LOAN": LOAN}}, token=mine).json()["error_message"]
    )
    query = api.post(f"{path}?context_class=LOAN", {"config": LOAN, "context_class": "CHAT"}, token=mine)
    assert "mona.config.write" in query.json()["error_message"]
    read = api.post("/configs", {}).json()["response_data"]["raw_configuration_data"]
    assert read == {"LOAN": LOAN, "CHAT": CHAT}


def test_revisions_diff_and_restore(api: Api) -> None:
    """Revisions page newest first; two of them can be compared; an old one can come back as a new one."""
    first = upload(api, {"LOAN": LOAN}).json()["response_data"]["new_config_id"]
    second = upload(api, {"CHAT": CHAT}).json()["response_data"]["new_config_id"]
    page = api.get("/api/v1/config/revisions?limit=1").json()
    assert [item["config_id"] for item in page["items"]] == [second]
    rest = api.get(f"/api/v1/config/revisions?limit=1&cursor={page['next_cursor']}").json()
    assert [item["config_id"] for item in rest["items"]] == [first]
    diffs = api.get(f"/api/v1/config/diff?from={first}&to={second}").json()["diffs"]
    assert {(diff["op"], diff["path"]) for diff in diffs} == {("add", "CHAT"), ("remove", "LOAN")}
    assert api.post("/api/v1/config/restore", {"config_id": first}).status_code == 201
    assert api.get("/api/v1/config").json()["raw_configuration_data"] == {"LOAN": LOAN}
    assert api.get(f"/api/v1/config/revisions/{second}").json()["config"] == {"CHAT": CHAT}
    for missing in ("/api/v1/config/revisions/x", "/api/v1/config/diff?from=x&to=y"):
        assert api.get(missing).status_code == 404


def test_validate_stores_nothing(api: Api) -> None:
    """All issues at once, with severity; a good configuration is valid."""
    judged = api.post("/api/v1/config/validate", {"config": BAD}).json()
    assert judged["valid"] is False
    assert len([issue for issue in judged["issues"] if issue["severity"] == "error"]) == 2
    assert api.post("/api/v1/config/validate", {"config": {"LOAN": LOAN}}).json() == {"valid": True, "issues": []}
    assert api.get("/api/v1/config").json() == {"raw_configuration_data": {}}


def test_not_modified(api: Api) -> None:
    """A single object that the caller has already is answered 304 without a body."""
    upload(api)
    tag = api.get("/api/v1/config").headers["etag"]
    again = api.get("/api/v1/config", If_None_Match=tag)
    assert (again.status_code, again.content) == (304, b"")


def test_sampling_factors(api: Api) -> None:
    """A class factor and a default are set and read back; out of range is an error; an Exporter may read."""
    assert api.post("/get_sampling_factors", {}).json() == {"response_data": []}
    for body in (
        {"config_name": "s", "sampling_factor": 0.5, "context_class": "LOAN"},
        {"config_name": "s", "sampling_factor": 0.25, "context_class": None},
    ):
        assert api.post("/create_sampling_factor", body).json() == {"response_data": True}
    told = api.post("/get_sampling_factors", {"config_name": None}, token=api.token("Exporter")).json()
    assert told["response_data"] == [{"config_name": "s", "factors_map": {"LOAN": 0.5}, "default_factor": 0.25}]
    bad = api.post("/create_sampling_factor", {"config_name": "s", "sampling_factor": 2})
    assert "sampling_factor" in bad.json()["error_message"]


@pytest.mark.parametrize("path", ["/configs", "/upload_config", "/get_config_history", "/get_sampling_factors"])
def test_without_token_and_without_right(api: Api, path: str) -> None:
    """No token: 401 with plain text for legacy clients, JSON for protocol 2. Wrong role: the permission's name."""
    legacy = api.post(path, {}, token={})
    assert (legacy.status_code, legacy.headers["content-type"].split(";")[0]) == (401, "text/plain")
    assert api.post_2(path, {}, token={}).json()["success"] is False
    refused = api.post(path, {}, token=api.token("Participant"))
    assert refused.status_code == 200
    assert "missing permission mona." in refused.json()["error_message"]
    assert api.post_2(path, {}, token=api.token("Participant")).status_code == 403


def test_a_notification_that_cannot_be_sent_is_refused_at_upload(api: Api) -> None:
    """A bad address or schedule is an error with its path when it is written, not a line in a log at night."""
    bad = {"LOAN": LOAN | {"notifications": {"night": {"webhook": "ftp://nowhere", "schedule": "sometimes"}}}}
    answer = api.post_2("/upload_config", {"config": bad})
    assert answer.status_code == 400
    paths = {issue["path"] for issue in answer.json()["issues"]}
    assert {"LOAN.notifications.night.schedule"} <= paths
    assert any(path.startswith("LOAN.notifications.night.webhook") for path in paths)
    checked = api.post("/validate_config", {"config": bad}).json()
    assert checked["response_data"]["issues"]
    assert api.post("/configs", {}).json()["response_data"]["raw_configuration_data"] == {}
