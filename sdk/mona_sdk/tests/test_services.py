"""The service calls: bodies, results, and every kind of answer (Q22)."""

from __future__ import annotations

import socket
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.client_exceptions import MonaConfigUploadException, MonaServiceException
from mona_sdk.tests.servers import Answer, Handler, RecordingServer

FOUR_TIMES: Any = ([1, 2], [3, 4])
DATA = {"response_data": {"x": 1}}

# method, arguments, path, body, answer, data
CALLS: dict[str, tuple[tuple[Any, ...], str, dict[str, Any], dict[str, Any], Any]] = {
    "upload_config": (
        ({"LOAN": {}}, "why"),
        "/upload_config",
        {"config": {"tenant-1": {"LOAN": {}}}, "author": "key", "commit_message": "why", "user_id": "tenant-1"},
        {"response_data": {"new_config_id": "n-1"}},
        {"new_config_id": "n-1"},
    ),
    "get_config": (
        (),
        "/configs",
        {},
        {"response_data": {"raw_configuration_data": {"LOAN": {}}}},
        {"tenant-1": {"LOAN": {}}},
    ),
    "upload_config_per_context_class": (
        ("me", "why", "LOAN", {"fields": {}}),
        "/upload_config_for_context_class",
        {"author": "me", "commit_message": "why", "context_class": "LOAN", "config": {"fields": {}}},
        DATA,
        {"x": 1},
    ),
    "validate_config": (
        ({"LOAN": {}}, ["a"]),
        "/validate_config",
        {"config": {"LOAN": {}}, "list_of_context_ids": ["a"]},
        DATA,
        {"x": 1},
    ),
    "validate_config_per_context_class": (
        ({"LOAN": {}}, "LOAN", None, 5),
        "/validate_config_per_context_class",
        {
            "user_id": "tenant-1",
            "config": {"LOAN": {}},
            "context_class": "LOAN",
            "list_of_context_ids": None,
            "latest_amount": 5,
        },
        {"field_building_results": []},
        {"field_building_results": []},
    ),
    "get_suggested_config": (
        (),
        "/get_new_config_fields",
        {},
        {"response_data": {"suggested_config": {"LOAN": {}}}},
        {"LOAN": {}},
    ),
    "get_suggested_config_from_user_input": (
        ([{"a": 1}],),
        "/suggest_new_config",
        {"events": [{"a": 1}]},
        {"response_data": {"suggested_config": {"LOAN": {}}}},
        {"LOAN": {}},
    ),
    "get_config_history": (
        (3,),
        "/get_config_history",
        {"number_of_revisions": 3},
        {"msg": "Found 1 revisions", "configs": [{"config_id": "n-1"}]},
        {"Found 1 revisions": [{"config_id": "n-1"}], "number_of_revisions": 3},
    ),
    "get_insights": (
        ("LOAN", 10, "unused"[:0] or None, "m"),
        "/insights",
        {"context_class": "LOAN", "min_segment_size": 10, "insight_types": None, "metric_name": "m"},
        {"response_data": []},
        [],
    ),
    "get_ingested_data_for_a_specific_segment": (
        ("LOAN", 1, 2, {}, 100),
        "/get_ingested_data",
        {"context_class": "LOAN", "start_time": 1, "end_time": 2, "segment": {}, "sampling_threshold": 100},
        {"response_data": {"crcs": [{"contextId": "a"}]}},
        [{"contextId": "a"}],
    ),
    "get_aggregated_data_of_a_specific_segment": (
        ("LOAN", 1, 2, ["1d"], True),
        "/get_segment",
        {
            "context_class": "LOAN",
            "timestamp_from": 1,
            "timestamp_to": 2,
            "time_series_resolutions": ["1d"],
            "with_histogram": True,
        },
        DATA,
        {"aggregated_data": {"x": 1}},
    ),
    "get_aggregated_stats_of_a_specific_segmentation": (
        ("LOAN", "city", *FOUR_TIMES, "a", "b", "average", "sum", 5, "SIZE_TOP"),
        "/get_segments_for_dimensions",
        {
            "context_class": "LOAN",
            "dimension": "city",
            "target_time_range": [1, 2],
            "compared_time_range": [3, 4],
            "metric_1_field": "a",
            "metric_2_field": "b",
            "metric_1_type": "average",
            "metric_2_type": "sum",
            "min_segment_size": 5,
            "sort_function": "SIZE_TOP",
        },
        DATA,
        {"x": 1},
    ),
    "create_openai_context_class": (
        ("LLM", "Completion"),
        "/create_openai_context_class",
        {"context_class": "LLM", "openai_api_type": "Completion"},
        DATA,
        {"x": 1},
    ),
    "get_sampling_factors": (
        (),
        "/get_sampling_factors",
        {"config_name": None},
        {"response_data": [{"config_name": "a"}]},
        [{"config_name": "a"}],
    ),
    "create_sampling_factor": (
        ("a", 0.5, "LOAN"),
        "/create_sampling_factor",
        {"config_name": "a", "sampling_factor": 0.5, "context_class": "LOAN"},
        {"response_data": True},
        True,
    ),
    "initiate_csv_upload_request": (
        ("f.csv", "LOAN", "id"),
        "/initiate_csv_upload_request",
        {"file_path": "f.csv", "context_class": "LOAN", "context_id_field": "id", "export_timestamp_field": None},
        {"request_id": "r-1"},
        {"request_id": "r-1"},
    ),
}
METHODS = list(CALLS)


def call(client: Client, method: str) -> Any:
    """One call with its arguments."""
    return getattr(client, method)(*CALLS[method][0])


@pytest.mark.parametrize("method", METHODS)
def test_each_call_sends_its_body_and_returns_its_data(
    server: RecordingServer, make_client: Callable[..., Client], method: str
) -> None:
    """Paths, keys and shapes are those of the original."""
    _, path, body, answer, data = CALLS[method]
    server.routes[path] = lambda _: Answer(200, answer)
    result = call(make_client(), method)
    assert server.requests[-1].json == body
    assert server.requests[-1].headers["x-mona-protocol"] == "2"
    expected = {"success": True, "data": data, "error_message": None}
    if method == "upload_config":
        expected["new_config_id"] = "n-1"
    if method in ("get_config", "initiate_csv_upload_request"):
        assert result == data
    else:
        assert type(result) is dict
        assert result == expected


def _cut(sock: socket.socket) -> None:
    sock.close()


ANSWERS: dict[str, Handler] = {
    "200 html": lambda _: Answer(200, b"<html>"),
    "200 empty": lambda _: Answer(200, b""),
    "200 null": lambda _: Answer(200, None),
    "200 list": lambda _: Answer(200, []),
    "200 text": lambda _: Answer(200, "fine"),
    "200 number": lambda _: Answer(200, 5),
    "200 no keys": lambda _: Answer(200, {"success": False}),
    "200 null data": lambda _: Answer(200, {"response_data": None, "success": False}),
    "200 error": lambda _: Answer(200, {"success": False, "data": None, "error_message": "told"}),
    "200 empty error": lambda _: Answer(200, {"success": False, "data": None, "error_message": ""}),
    "200 issues": lambda _: Answer(200, {"issues": [{"path": "x"}], "success": False}),
    "200 inner issues": lambda _: Answer(200, {"response_data": {"issues": ["i"]}, "error_message": "told"}),
    "200 bad utf-8": lambda _: Answer(200, b'{"a": "\xff"}'),
    "400 json": lambda _: Answer(400, {"success": False, "error_message": "told", "issues": []}),
    "401 text": lambda _: Answer(401, b"unauthorised"),
    "403 json": lambda _: Answer(403, {"error_message": "told"}),
    "404 text": lambda _: Answer(404, b"nothing here"),
    "429 text": lambda _: Answer(429, b"later"),
    "500 html": lambda _: Answer(500, b"<html>"),
    "503 empty": lambda _: Answer(503, b""),
    "dropped": lambda _: _cut,
}


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_any_answer_becomes_a_service_dict_with_a_text(
    server: RecordingServer, make_client: Callable[..., Client], answer: str
) -> None:
    """16 methods x 21 answers: no exception, `success` False, and a text."""
    client = make_client()
    for method in METHODS:
        server.routes[CALLS[method][1]] = ANSWERS[answer]
        result = call(client, method)
        assert result["success"] is False, method
        assert result["data"] is None
        assert isinstance(result["error_message"], str)
        assert result["error_message"]
        told = answer in ("200 error", "400 json", "403 json", "200 inner issues")
        assert ("told" in result["error_message"]) is told
        if method == "get_config":
            assert result == {}
            assert not result
        if method == "upload_config":
            assert result["new_config_id"] == ""


@pytest.mark.parametrize("variable", [None, "MONA_SDK_RAISE_SERVICE_EXCEPTIONS", "RAISE_CONFIG_EXCEPTIONS"])
def test_the_flag_raises_the_servers_text(
    server: RecordingServer, make_client: Callable[..., Client], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By argument or either variable; configuration methods raise the exception of 0.0.11, which is one of 0.0.58."""
    if variable:
        monkeypatch.setenv(variable, "true")
    client = make_client(**({} if variable else {"raise_service_exceptions": True}))
    for method in METHODS:
        server.routes[CALLS[method][1]] = ANSWERS["400 json"]
        with pytest.raises(MonaServiceException, match=r"^told$") as caught:
            call(client, method)
        assert isinstance(caught.value, MonaConfigUploadException) == (
            method in ("upload_config", "get_config", "upload_config_per_context_class")
        )


def test_without_a_server_the_text_says_so(make_client: Callable[..., Client], server: RecordingServer) -> None:
    """No connection is its own text."""
    client = make_client()
    server.close()
    for method in METHODS:
        assert call(client, method)["error_message"] == "Cannot connect to app-server."


def test_config_must_be_a_dict(make_client: Callable[..., Client]) -> None:
    """Said before anything is sent."""
    bad: Any = [1]
    assert make_client().upload_config(bad, "why")["error_message"] == "Config must be a dict."


def test_a_config_with_the_user_id_level_is_not_wrapped_twice(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """Both forms arrive alike, and a given author is used."""
    server.routes["/upload_config"] = lambda _: Answer(200, CALLS["upload_config"][3])
    make_client().upload_config({"tenant-1": {"LOAN": {}}}, "why", "me")
    assert server.requests[-1].json["config"] == {"tenant-1": {"LOAN": {}}}
    assert server.requests[-1].json["author"] == "me"


def test_authors(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """The api key; a fixed text with a manual token; without authentication one must be given."""
    server.routes["/upload_config"] = lambda _: Answer(200, CALLS["upload_config"][3])
    assert make_client(access_token="t", user_id="U").upload_config({}, "why")["success"]
    assert server.requests[-1].json["author"] == "manual_token_mode"
    client = make_client(should_use_authentication=False, user_id="U")
    text = client.upload_config({}, "why")["error_message"]
    assert text is not None
    assert text.startswith("Author must be provided when using un-authenticated mode.")
    assert "AUTH_MODE" in text
    assert client.upload_config({}, "why", "me")["success"]


@pytest.mark.parametrize("shape", ["auto", "bare", "service"])
def test_get_config_shapes(server: RecordingServer, make_client: Callable[..., Client], shape: str) -> None:
    """Both generations' results, and one that is both."""
    client = make_client(get_config_shape=shape)
    _, path, _, answer, data = CALLS["get_config"]
    server.routes[path] = lambda _: Answer(200, answer)
    result = client.get_config()
    if shape != "service":
        assert result == data
        assert list(result) == ["tenant-1"]
    if shape != "bare":
        assert result["success"] is True
        assert result["data"] == data
        assert result.get("error_message") is None
        assert "success" in result
    server.routes[path] = ANSWERS["500 html"]
    failure = client.get_config()
    assert not failure if shape != "service" else failure["success"] is False
    if shape == "bare":
        assert failure is False


def test_history_counts_when_no_number_was_given(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """`number_of_revisions` is the number returned, and the argument is left out of the body."""
    _, path, _, answer, _ = CALLS["get_config_history"]
    server.routes[path] = lambda _: Answer(200, answer)
    assert make_client().get_config_history()["data"]["number_of_revisions"] == 1
    assert server.requests[-1].json == {}
    server.routes[path] = lambda _: Answer(200, {"msg": "No revisions", "configs": []})
    assert make_client().get_config_history()["data"] == {"No revisions": [], "number_of_revisions": 0}


def test_an_argument_that_is_no_json_is_a_failure_dict(make_client: Callable[..., Client]) -> None:
    """Not an exception of the encoder."""
    assert "not JSON serializable" in str(make_client().get_insights("LOAN", object())["error_message"])  # type: ignore[arg-type]


def test_service_calls_renew_a_refused_token(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """One renewal and one repetition."""
    client = make_client()
    server.routes["/insights"] = lambda r: (
        Answer(200, {"response_data": []}) if "refresh" in server.paths()[-2] else Answer(401, b"expired")
    )
    assert client.get_insights("LOAN", 1)["success"]
    assert server.paths()[-3:] == ["/insights", "/identity/resources/auth/v1/api-token/token/refresh", "/insights"]
