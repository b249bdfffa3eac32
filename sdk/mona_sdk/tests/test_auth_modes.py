"""The four ways to get a token, and which of them is chosen."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.client_exceptions import MonaExportException, MonaInitializationException
from mona_sdk.tests.conftest import a_message
from mona_sdk.tests.servers import (
    OIDC_PATH,
    RecordingServer,
)


def test_mona_mode(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Key and secret in JSON; the tenant is a claim of the token."""
    client = make_client()
    assert server.requests[0].json == {"clientId": "key", "secret": "secret"}
    assert client.is_active()
    assert client._user_id == "tenant-1"
    assert client.export(a_message())
    assert server.sends[0].json["userId"] == "tenant-1"
    assert server.sends[0].path == "/export"


def test_oidc_mode(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """A form to the provider; the tenant is given."""
    client = make_client(auth_mode="OIDC", user_id="U", oidc_scope="s")
    request = server.requests[0]
    assert request.path == OIDC_PATH
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.form == {
        "client_id": "key",
        "client_secret": "secret",
        "grant_type": "client_credentials",
        "scope": "s",
    }
    assert client.export(a_message())
    assert server.sends[0].json["userId"] == "U"
    assert server.sends[0].headers["authorization"] == "Bearer oidc-1"


def test_manual_token_mode(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """The token is sent as it is; nobody is asked for one."""
    client = make_client(access_token="my-token", user_id="U")
    assert client.is_active()
    assert client.export(a_message())
    assert server.paths() == ["/export"]
    assert server.sends[0].headers["authorization"] == "Bearer my-token"


def test_no_auth_mode(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paths of the original, without a token; errors end with a hint."""
    client = make_client(should_use_authentication=False, user_id="U", raise_export_exceptions=True)
    assert client.export(a_message())
    assert server.paths() == ["/monaExport"]
    assert "authorization" not in server.sends[0].headers
    with pytest.raises(MonaExportException, match="AUTH_MODE"):
        client.export("no message")  # type: ignore[arg-type]
    monkeypatch.setenv("MONA_SDK_USE_SEND_EVENT_ENDPOINT", "1")
    assert make_client(should_use_authentication=False, user_id="U").export(a_message())
    assert make_client(user_id="U").export(a_message())
    assert [path for path in server.paths() if "send" in path.lower()] == ["/monaSendEvent", "/sendEvent"]


def test_modes_by_precedence(make_client: Callable[..., Client]) -> None:
    """`should_use_authentication=False` wins over a token, a token over `auth_mode`."""
    assert make_client(should_use_authentication=False, access_token="t", user_id="U")._settings.mode == "NO_AUTH"
    assert make_client(access_token="t", auth_mode="OIDC", user_id="U")._settings.mode == "MANUAL_TOKEN"


@pytest.mark.parametrize(
    "arguments",
    [
        {"auth_mode": "WORDS"},
        {"auth_mode": "OIDC"},
        {"access_token": "t"},
        {"auth_mode": "MANUAL_TOKEN", "user_id": "U"},
        {"should_use_authentication": False},
        {"sampling_config_name": "a", "default_sampling_rate": 0.5},
        {"context_class_to_sampling_rate": {"LOAN": 2}},
    ],
)
def test_contradictions_fail_at_construction(make_client: Callable[..., Client], arguments: dict[str, Any]) -> None:
    """Always, because no call could work."""
    with pytest.raises(MonaInitializationException):
        make_client(**arguments)
