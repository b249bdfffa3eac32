"""The unmodified public clients complete every public method against this server, in every mode.

Each generation is installed from the package registry into an environment of its own, kept inside of the project's, and
driven from the outside by ``driver.py``. Run by ``make test-compat``, which says so and skips where the registry cannot
be reached: a machine without a network says nothing about this server. Any other failure of the installation fails.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from mona_server import settings as settings_module
from mona_server.store import Store
from tests.api.compat.public_clients import NEW, OLD, Call, Site
from tests.support import RunningServer, eventually, free_port

pytestmark = pytest.mark.compat

T = 1_700_006_400  # midnight UTC
CONFIG = {"LOAN": {"fields": {"amount": {"type": "numeric"}, "city": {"type": "string"}}, "stanzas": {}}}
BAD_CONFIG = {"LOAN": {"fields": {"amount": {"type": "no type"}}}}


def message(i: int = 0, **other: Any) -> dict[str, Any]:
    values = {"amount": i, "city": ["Haifa", "Eilat"][i % 2]}
    return {
        "$message": {"message": values, "contextClass": "LOAN", "contextId": f"c{i}", "exportTimestamp": T + i} | other
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = RunningServer(tmp_path_factory.mktemp("compat"), free_port(), {"MONA_SERVER_AUTH_ALLOW_NO_AUTH": "true"})
    server.start()
    yield Site(server)
    server.stop()


def contexts(site: Site, context_class: str) -> int:
    with Store.open(site.server.data, settings_module.load(site.server.data, environ={})) as store:
        return sum(info.contexts for info in store.classes("default") if info.name == context_class)


def is_good(result: Any) -> bool:
    return bool(result["success"]) and result["error_message"] is None


def is_clean_failure(result: Any) -> bool:
    return result["success"] is False and isinstance(result["error_message"], str) and bool(result["error_message"])


SEGMENT = {"city": [{"value": "Haifa"}]}
DIMENSIONS = ["LOAN", "city", [T, T + 86400], [T - 86400, T], "amount", "amount", "average", "sum", 1, "SIZE_TOP"]
GOOD: list[Call] = [
    ["get_config", [], {}],
    ["upload_config_per_context_class", ["ann", "one class", "LOAN", CONFIG["LOAN"]], {}],
    ["validate_config", [CONFIG], {"latest_amount": 5}],
    ["validate_config_per_context_class", [CONFIG["LOAN"], "LOAN"], {}],
    ["get_suggested_config", [], {}],
    ["get_suggested_config_from_user_input", [[{"arcClass": "NEW", "contextId": "a", "message": {"x": 1.5}}]], {}],
    ["get_config_history", [], {}],
    ["get_insights", ["LOAN", 1], {}],
    ["get_ingested_data_for_a_specific_segment", ["LOAN", T, T + 86400, SEGMENT], {}],
    ["get_aggregated_data_of_a_specific_segment", ["LOAN", T, T + 86400], {"with_histogram": True}],
    ["get_aggregated_stats_of_a_specific_segmentation", DIMENSIONS, {}],
    ["create_openai_context_class", ["CHAT", "ChatCompletion"], {}],
    ["create_sampling_factor", ["half", 0.5], {"context_class": "LOAN"}],
    ["get_sampling_factors", [], {}],
]
BAD: list[Call] = [
    ["upload_config", [BAD_CONFIG, "bad"], {}],
    ["upload_config_per_context_class", ["ann", "bad", "LOAN", BAD_CONFIG["LOAN"]], {}],
    ["validate_config", [BAD_CONFIG], {}],
    ["validate_config_per_context_class", [BAD_CONFIG["LOAN"], "LOAN"], {}],
    ["get_suggested_config_from_user_input", [[{"arcClass": "", "message": {}}]], {}],
    ["get_insights", ["NOPE", 1], {}],
    ["get_ingested_data_for_a_specific_segment", ["NOPE", T, T + 1, {}], {}],
    ["get_ingested_data_for_a_specific_segment", ["LOAN", T, T - 1, {}], {}],
    ["get_aggregated_data_of_a_specific_segment", ["NOPE", T, T + 1], {}],
    ["get_aggregated_stats_of_a_specific_segmentation", [*DIMENSIONS[:-1], "NO_SUCH_ORDER"], {}],
    ["create_openai_context_class", ["CHAT2", "Telepathy"], {}],
    ["create_sampling_factor", ["half", 2], {}],
]


SENDS: list[Call] = [
    ["export", [message(1)], {}],
    ["send_event", [message(2)], {}],
    ["export_batch", [[message(3), message(4)]], {}],
    ["send_events_batch", [[message(5), message(6)]], {}],
]
SYNC = {call[0] for call in [*GOOD, *SENDS]} | {"upload_config", "initiate_csv_upload_request"}
"""What the tests below call, of the new client."""
OLD_ONES = {"is_active", "export", "export_batch", "upload_config", "get_config"}


@pytest.fixture(scope="module")
def loaded(site: Site) -> Site:
    """The site with a configuration and forty contexts that can be queried."""
    assert is_good(site.drive(NEW, [["upload_config", [CONFIG, "first"], {}]])[0])
    result = site.drive(NEW, [["export_batch", [[message(i) for i in range(40)]], {}]])[0]
    assert result == {"total": 40, "failed": 0, "sent": 40, "failure_reasons": {}}
    eventually(lambda: contexts(site, "LOAN") == 40)
    return site


def test_every_service_of_the_new_client(loaded: Site) -> None:
    """Good input: every method succeeds with the data in the shape that the client unpacks."""
    results = dict(zip([call[0] for call in GOOD], loaded.drive(NEW, GOOD), strict=True))
    for name, result in results.items():
        assert is_good(result), (name, result)
    assert results["get_config"]["data"] == {"default": CONFIG}
    assert len(results["get_ingested_data_for_a_specific_segment"]["data"]) == 20
    history = results["get_config_history"]["data"]
    assert "number_of_revisions" in history
    assert set(results["get_aggregated_data_of_a_specific_segment"]["data"]) == {"aggregated_data"}


def test_bad_input_to_every_service_of_the_new_client(loaded: Site) -> None:
    """Bad input: every method gives its documented failure, with a text, and raises nothing."""
    for call, result in zip(BAD, loaded.drive(NEW, BAD), strict=True):
        assert is_clean_failure(result), (call, result)


def test_no_public_method_is_left_out(site: Site) -> None:
    """The clients themselves tell what methods they have."""
    assert set(site.drive(NEW, [["$methods", [], {}]])[0]) == SYNC
    assert set(site.drive(OLD, [["$methods", [], {}]])[0]) == OLD_ONES
    told = set(site.drive(NEW, [["$methods", [], {}]], asynchronous=True)[0])
    # The last one is no coroutine, gives None and asks nobody: there is nothing in it to drive.
    assert told == SYNC | {f"{name}_async" for name in SYNC} | {"is_active_async"}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_every_way_of_sending(site: Site, asynchronous: bool) -> None:
    """Single messages give true, batches their counts; the older names do the same."""
    sends = [[f"{name}_async", args, kwargs] for name, args, kwargs in SENDS] if asynchronous else SENDS
    counts = {"total": 2, "failed": 0, "sent": 2, "failure_reasons": {}}
    assert site.drive(NEW, sends, asynchronous=asynchronous) == [True, True, counts, counts]


def test_the_new_async_client(loaded: Site) -> None:
    """The same good and bad calls, all at once on one event loop; then a hundred exports."""
    asked = [*GOOD, ["upload_config", [CONFIG, "async"], {}]]
    good = [[f"{name}_async", args, kwargs] for name, args, kwargs in asked]
    for call, result in zip(good, loaded.drive(NEW, good, asynchronous=True), strict=True):
        assert is_good(result), (call, result)
    bad = [[f"{name}_async", args, kwargs] for name, args, kwargs in BAD]
    for call, result in zip(bad, loaded.drive(NEW, bad, asynchronous=True), strict=True):
        assert is_clean_failure(result), (call, result)
    sends = [["export_async", [message(i, contextClass="MANY", contextId=f"m{i}")], {}] for i in range(100)]
    assert loaded.drive(NEW, sends, asynchronous=True) == [True] * 100
    eventually(lambda: contexts(loaded, "MANY") == 100)


def test_the_old_client(loaded: Site) -> None:
    """All methods of the first generation: active, sending, configuration, refresh of its token."""
    calls: list[Call] = [
        ["$active", [], {}],
        ["export", [message(1)], {}],
        ["export_batch", [[message(2), message(3, contextClass="a b")]], {}],
        ["upload_config", [CONFIG, "old client"], {}],
        ["get_config", [], {}],
        ["$expire", [], {}],
        ["export", [message(4)], {}],
        ["get_config", [], {}],
    ]
    active, sent, mixed, uploaded, read, expired, again, read_again = loaded.drive(OLD, calls)
    assert (active, sent, expired, again) == (True, True, 1, True)
    assert (mixed["total"], mixed["failed"], mixed["sent"]) == (2, 1, 1)
    assert uploaded["success"] is True
    assert uploaded["new_config_id"]
    assert read == read_again == {"default": CONFIG}


def test_wrong_credentials(site: Site) -> None:
    """Refused credentials: both generations construct, are not active, and send nothing."""
    for version in (NEW, OLD):
        client = site.arguments(version, secret="wrong")
        if version == NEW:
            # Without a user id this client reads it from the token that it did not get, and raises.
            client |= {
                "user_id": "default",
                "num_of_retries_for_authentication": 1,
                "wait_time_for_authentication_retries": 0,
            }
        active, sent = site.drive(version, [["$active", [], {}], ["export", [message(1)], {}]], client=client)
        assert not active
        assert sent is not True  # the new client gives a service dict here


@pytest.mark.parametrize("version", [NEW, OLD])
def test_eight_threads(site: Site, version: str) -> None:
    """Eight threads share one client: every single export succeeds and is stored once."""
    name = f"THREADS_{version.replace('.', '_')}"
    sends = [["export", [message(i, contextClass=name, contextId=f"t{i}")], {}] for i in range(400)]
    assert site.drive(version, sends, threads=8) == [True] * 400
    eventually(lambda: contexts(site, name) == 400)


def test_refresh_and_its_fall_back(site: Site) -> None:
    """The new client refreshes an old token, and with refreshing switched off asks for a new one."""
    calls: list[Call] = [
        ["export", [message(1)], {}],
        ["$expire", [], {}],
        ["export", [message(2)], {}],
        ["get_config", [], {}],
    ]
    for refresh in (True, False):
        results = site.drive(NEW, calls, client=site.arguments(NEW, should_use_refresh_tokens=refresh))
        assert (results[0], results[2]) == (True, True)
        assert is_good(results[3])


@pytest.fixture(scope="module")
def modes(loaded: Site) -> dict[str, dict[str, Any]]:
    """Constructor arguments of each mode of authentication beside the usual one."""
    body = json.dumps({"clientId": loaded.key["client_id"], "secret": loaded.key["secret"]}).encode()
    url = loaded.server.url + "/identity/resources/auth/v1/api-token"
    with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
        access = json.loads(answer.read())["accessToken"]
    return {
        "OIDC": {
            "auth_mode": "OIDC",
            "user_id": "default",
            "auth_api_token_url": loaded.server.url + "/oauth/token",
            "oidc_scope": "mona",
        },
        "MANUAL_TOKEN": {"access_token": access, "user_id": "default", "auth_mode": "MANUAL_TOKEN"},
        "NO_AUTH": {
            "should_use_authentication": False,
            "user_id": "default",
            "override_rest_api_full_url": loaded.server.url + "/monaExport",
        },
    }


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("mode", ["OIDC", "MANUAL_TOKEN", "NO_AUTH"])
def test_modes_of_authentication(loaded: Site, modes: dict[str, dict[str, Any]], mode: str, asynchronous: bool) -> None:
    """Client credentials of OAuth, a token that was fetched elsewhere, none at all where the server allows it: sending
    and services work."""
    calls: list[Call] = [
        ["export", [message(1)], {}],
        ["get_config", [], {}],
        ["upload_config", [CONFIG, mode], {"author": "ann"}],
        ["get_insights", ["LOAN", 1], {}],
    ]
    if asynchronous:
        calls = [[f"{name}_async", args, kwargs] for name, args, kwargs in calls]
    client = loaded.arguments(NEW, **modes[mode])
    sent, *services = loaded.drive(NEW, calls, client=client, asynchronous=asynchronous)
    assert sent is True
    assert all(map(is_good, services)), services


TIMES: list[tuple[Any, bool]] = [
    (T, True),
    (float(T) + 0.5, True),
    (str(T), True),
    (T * 1000, True),
    (str(T * 1000), True),
    ("2023-11-15T00:00:00", True),
    ("2023-11-15T00:00:00Z", True),
    ("2023-11-15T00:00:00+02:00", True),
    ("2023-11-15", True),
    (None, True),
    (12345, False),
    ("yesterday", False),
    (99_999_999_999_999, False),
    (T + 10**9, False),
]


@pytest.mark.parametrize("version", [NEW, OLD])
def test_timestamps(site: Site, version: str) -> None:
    """Every accepted form of a timestamp is stored, every other one is refused alone with its reason."""
    sent = [message(i, exportTimestamp=given) for i, (given, _) in enumerate(TIMES)]
    result = site.drive(version, [["export_batch", [sent], {}]])[0]
    assert set(result["failure_reasons"]) == {str(i) for i, (_, good) in enumerate(TIMES) if not good}


def test_actions(loaded: Site) -> None:
    """OVERWRITE, ADD, NEW and DELETE do what they say; a default action holds where a message has none."""

    def sent(values: dict[str, Any], **other: Any) -> dict[str, Any]:
        return {"$message": {"message": values, "contextClass": "ACTIONS", "exportTimestamp": T, **other}}

    batch = [
        sent({"a": 1, "b": 2}, contextId="over"),
        sent({"a": 3}, contextId="over", action="OVERWRITE"),
        sent({"a": 1}, contextId="add"),
        sent({"a": 3}, contextId="add", action="ADD"),
        sent({"a": 1, "b": 2}, contextId="new"),
        sent({"b": 3}, contextId="new", action="NEW"),
        sent({"a": 1}, contextId="gone"),
        sent({"a": 0}, contextId="gone", action="DELETE"),  # this client does not send empty messages
    ]
    unknown = sent({"a": 1}, contextId="x", action="EXPLODE")
    first, refused, default = loaded.drive(
        NEW,
        [
            ["export_batch", [batch], {}],
            ["export_batch", [[unknown]], {}],
            ["export_batch", [[sent({"a": 5}, contextId="add")]], {"default_action": "ADD"}],
        ],
    )
    assert (first["sent"], default["sent"]) == (8, 1)
    assert refused["failure_reasons"] == {"0": "unknown action"}
    eventually(lambda: contexts(loaded, "ACTIONS") == 3)

    def merged() -> dict[str, Any]:
        call: Call = ["get_ingested_data_for_a_specific_segment", ["ACTIONS", T, T + 1, {}], {}]
        return {one["contextId"]: one["message"] for one in loaded.drive(NEW, [call])[0]["data"]}

    eventually(lambda: merged() == {"over": {"a": 3, "b": 2}, "add": {"a": [1, 3, 5]}, "new": {"b": 3}})


def test_csv_upload_request(loaded: Site) -> None:
    """A path that the server may not read is refused with a text, in the client's own failure shape."""
    call: Call = ["initiate_csv_upload_request", ["/etc/passwd", "LOAN", "id", "ts"], {}]
    (result,) = loaded.drive(NEW, [call])
    assert "error_message" in json.dumps(result)
    assert loaded.drive(NEW, [[f"{call[0]}_async", *call[1:]]], asynchronous=True) == [result]
