"""Arguments, environment, addresses, logging (Q25, Q27, Q44)."""

from __future__ import annotations

import inspect
import logging
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.client_exceptions import MonaInitializationException
from mona_sdk.settings import ClientSettings
from mona_sdk.tests.conftest import a_message
from mona_sdk.tests.servers import RecordingServer, always

PARTIAL = always(400, {"total": 2, "failed": 1, "sent": 1, "failure_reasons": {"1": "contextId must be a string"}})
WAYS = ["argument", "MONA_SDK_RAISE_EXPORT_EXCEPTIONS", "RAISE_EXPORT_EXCEPTIONS"]


def test_signature_is_that_of_the_newest_original() -> None:
    """The same 25 arguments in the same positions; ours are keyword-only."""
    parameters = list(inspect.signature(Client.__init__).parameters.values())[1:]
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [
        "api_key",
        "secret",
        "raise_authentication_exceptions",
        "raise_export_exceptions",
        "raise_service_exceptions",
        "num_of_retries_for_authentication",
        "wait_time_for_authentication_retries",
        "should_log_failed_messages",
        "should_use_ssl",
        "should_use_authentication",
        "auth_mode",
        "override_rest_api_full_url",
        "override_rest_api_host",
        "override_app_server_host",
        "override_app_server_full_url",
        "user_id",
        "filter_none_fields_on_export",
        "default_sampling_rate",
        "context_class_to_sampling_rate",
        "sampling_config_name",
        "access_token",
        "oidc_scope",
        "auth_api_token_url",
        "refresh_token_url",
        "should_use_refresh_tokens",
    ]
    keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert keywords | set(positional) <= set(ClientSettings._fields)


@pytest.mark.parametrize(
    ("arguments", "send", "services"),
    [
        ({"override_rest_api_host": "h:1"}, "https://h:1/export", "https://h:1"),
        ({"override_app_server_host": "h:1"}, "https://h:1/export", "https://h:1"),
        ({"override_rest_api_host": "h:1", "should_use_ssl": False}, "http://h:1/export", "http://h:1"),
        ({"override_rest_api_host": "h:1", "override_app_server_host": "h:2"}, "https://h:1/export", "https://h:2"),
        ({"override_rest_api_full_url": "http://h/x"}, "http://h/x", "http://h"),
        ({"override_app_server_full_url": "http://h/x/"}, "http://127.0.0.1:8420/export", "http://h/x"),
        ({"override_rest_api_full_url": "http://h/x", "override_app_server_host": "a"}, "http://h/x", "https://a"),
        ({"server_url": "http://s:9/"}, "http://s:9/export", "http://s:9"),
        ({}, "http://127.0.0.1:8420/export", "http://127.0.0.1:8420"),
    ],
)
def test_addresses(arguments: dict[str, Any], send: str, services: str) -> None:
    """Full URL, then host, then the one base address; a local one when nothing is said."""
    client = Client(access_token="t", user_id="U", **arguments)
    assert (client._rest_api_url, client._app_server_url) == (send, services)


def test_token_addresses_follow(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Authentication goes where the services are, unless told otherwise by argument or variable."""
    host = f"127.0.0.1:{server.port}"
    assert Client("k", "s", override_app_server_host=host, should_use_ssl=False).is_active()
    assert Client("k2", "s", override_rest_api_host=host, should_use_ssl=False).is_active()
    server.routes["/t"] = server.issue_token
    assert Client("k3", "s", auth_api_token_url=f"{server.url}/t", server_url="http://127.0.0.1:1").is_active()
    monkeypatch.setenv("AUTH_API_TOKEN_URL", f"{server.url}/t")
    assert Client("k4", "s", server_url="http://127.0.0.1:1").is_active()
    assert server.paths()[-2:] == ["/t", "/t"]


def test_environment_is_read_at_construction(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefixed, un-prefixed, booleans of all spellings; no reload."""
    monkeypatch.setenv("MONA_SDK_SERVER_URL", server.url)
    monkeypatch.setenv("MONA_SDK_API_KEY", "env-key")
    monkeypatch.setenv("MONA_SDK_SECRET", "env-secret")
    assert Client().is_active()
    assert server.requests[0].json == {"clientId": "env-key", "secret": "env-secret"}
    for text, value in (
        ("true", True),
        ("YES", True),
        ("on", True),
        ("1", True),
        ("False", False),
        ("no", False),
        ("off", False),
        ("0", False),
    ):
        monkeypatch.setenv("MONA_SDK_FILTER_NONE_FIELDS_ON_EXPORT", text)
        assert Client().filter_none_fields_on_export is value
    monkeypatch.setenv("MONA_SDK_SAMPLING_CONFIG", '{"LOAN": 0.25}')
    assert Client()._settings.context_class_to_sampling_rate == {"LOAN": 0.25}
    monkeypatch.setenv("MONA_SDK_SAMPLING_CONFIG", "nonsense")
    with pytest.raises(MonaInitializationException, match="MONA_SDK_SAMPLING_CONFIG"):
        Client()


def test_an_unknown_word_warns_once(
    make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the default is used."""
    monkeypatch.setenv("RAISE_EXPORT_EXCEPTIONS", "perhaps")
    with caplog.at_level(logging.WARNING, "mona-logger"):
        for _ in range(2):
            assert make_client().raise_export_exceptions is False
    assert caplog.text.count("RAISE_EXPORT_EXCEPTIONS has a value that cannot be read") == 1


def test_logging_leaves_the_program_alone(make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """A NullHandler and nothing else; the level only when the environment names one; the root logger never."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    logger = logging.getLogger("mona-logger")
    logger.setLevel(logging.NOTSET)
    make_client().export(5)  # type: ignore[arg-type]
    assert logger.level == logging.NOTSET
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    for text, level in (("ERROR", 40), ("10", 10), ("debug", 10), ("NOTSET", 0)):
        monkeypatch.setenv("MONA_LOGGING_LEVEL", text)
        make_client()
        assert logger.level == level
    assert (root.level, list(root.handlers)) == before


def test_sampled_out_and_filtered_are_logged_without_content(
    make_client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, on our logger."""
    client = make_client(default_sampling_rate=0)
    with caplog.at_level(logging.DEBUG):
        assert client.export(a_message(amount="hidden")) is True
        assert client.export_batch([a_message(a=None)], filter_none_fields=True)["skipped"] == 1
    ours = [record for record in caplog.records if "was not sent" in record.message]
    assert {record.name for record in ours} == {"mona-logger"}
    assert {record.levelno for record in ours} == {logging.DEBUG}
    assert "hidden" not in caplog.text
