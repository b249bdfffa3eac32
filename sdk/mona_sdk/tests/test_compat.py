"""Names, patch points and stand-ins that existing code relies on (section 1 and 9 of the specification)."""

from __future__ import annotations

import importlib
import json
import unittest.mock
from typing import Any, Callable

import pytest

from mona_sdk import Client, MonaSingleMessage
from mona_sdk.client_exceptions import MonaExportException
from mona_sdk.tests.conftest import a_message
from mona_sdk.tests.servers import TOKEN_PATH, RecordingServer, make_token

NAMES = {
    "mona_sdk": "Client MonaSingleMessage AsyncClient __version__",
    "mona_sdk.client": (
        "Client MonaSingleMessage Decorators UNPROVIDED_VALUE AUTHENTICATED_ENDPOINT UNAUTHENTICATED_ENDPOINT "
        "CONTEXT_CLASS_FIELD_NAME CONTEXT_ID_FIELD_NAME RAISE_CONFIG_EXCEPTIONS GET_CONFIG_ERROR_MESSAGE "
        "UPLOAD_CONFIG_ERROR_MESSAGE APP_SERVER_CONNECTION_ERROR_MESSAGE RAISE_EXPORT_EXCEPTIONS "
        "RAISE_AUTHENTICATION_EXCEPTIONS NUM_OF_RETRIES_FOR_AUTHENTICATION requests jwt"
    ),
    "mona_sdk.async_client": "AsyncClient",
    "mona_sdk.mona_single_message": "MonaSingleMessage",
    "mona_sdk.messages": "NOT_AUTHENTICATED",
    "mona_sdk.validation": (
        "mona_messages_to_dicts_validation validate_mona_single_message update_mona_fields_names "
        "validate_inner_message_type handle_export_error"
    ),
    "mona_sdk.client_exceptions": (
        "MonaExportException MonaAuthenticationException MonaServiceException MonaInitializationException "
        "MonaConfigUploadException"
    ),
    "mona_sdk.authentication": (
        "first_authentication is_authenticated get_current_token_by_api_key get_basic_auth_header Decorators "
        "API_KEYS_TO_TOKEN_DATA _get_auth_response_with_retries"
    ),
    "mona_sdk.auth.utils": (
        "get_auth_response_with_retries handle_authentications_error get_token_info_by_api_key "
        "get_current_token_by_api_key get_error_string_from_token_info API_KEYS_TO_TOKEN_DATA authentication_lock"
    ),
    "mona_sdk.auth.globals": "MONA_REFRESH_TOKEN_KEY",
    "mona_sdk.auth.authenticators.base_authenticator": "BaseAuthenticator",
    "mona_sdk.auth.authenticators.mona": "MonaAuth",
    "mona_sdk.auth.authenticators.oidc": "OidcAuth",
    "mona_sdk.auth.authenticators.manual_token": "ManualTokenAuth",
    "mona_sdk.auth.authenticators.no_auth": "NoAuth",
    "mona_sdk.auth.authenticators.factory": "get_authenticator",
    "mona_sdk.client_util": "get_boolean_value_for_env_var",
    "mona_sdk.logger": "get_logger",
}


@pytest.mark.parametrize("module", list(NAMES))
def test_names_exist_and_survive_a_reload(
    module: str, server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """Before and after a reload, and a client made before or after it works."""
    before = make_client()
    loaded = importlib.import_module(module)
    for _ in range(2):
        for name in NAMES[module].split():
            assert hasattr(loaded, name), f"{module}.{name}"
        importlib.reload(loaded)
    message: Any = importlib.import_module("mona_sdk.mona_single_message").MonaSingleMessage
    newest: Any = importlib.import_module("mona_sdk.client").Client
    for client in (before, make_client(), newest("key", "secret", server_url=server.url)):
        assert client.export(message(message={"a": 1}, contextClass="C")) is True
        assert client.export_batch([a_message()])["sent"] == 1


def test_constants() -> None:
    """With the values of the original."""
    from mona_sdk import client, messages
    from mona_sdk.auth import globals as names

    assert client.UNPROVIDED_VALUE == "mona_unprovided_value"
    assert (client.AUTHENTICATED_ENDPOINT, client.UNAUTHENTICATED_ENDPOINT) == ("export", "monaExport")
    assert names.MONA_REFRESH_TOKEN_KEY == "refreshToken"
    assert client.GET_CONFIG_ERROR_MESSAGE == "Could not get server response with the current config."
    assert client.UPLOAD_CONFIG_ERROR_MESSAGE == ("Could not upload the new configuration, please check it is valid.")
    assert client.APP_SERVER_CONNECTION_ERROR_MESSAGE == "Cannot connect to app-server."
    assert messages.NOT_AUTHENTICATED == "Mona's client is not authenticated"


def _answer(ok: bool, body: Any) -> Any:
    """What existing tests put in the place of an answer: `.ok` and `.json()`, everything else a mock."""
    answer = unittest.mock.MagicMock()
    answer.ok = ok
    answer.json.return_value = body
    return answer


def _patched(answer: Any) -> Any:
    def request(method: str, url: str, **kwargs: Any) -> Any:
        if url.endswith(TOKEN_PATH):
            return _answer(True, {"accessToken": make_token("T"), "refreshToken": "r", "expiresIn": 1000})
        return answer

    return unittest.mock.patch("mona_sdk.client.requests.request", side_effect=request)


@pytest.mark.parametrize(
    ("ok", "body", "success"),
    [
        (True, {}, True),
        (True, {"failed": 5}, True),
        (False, {"failed": 0}, True),
        (False, {"failed": 1, "failure_reasons": {}}, False),
        (False, {"failed": 1, "failure_reasons": {"0": "x"}}, False),
        (False, {}, False),
        (False, "text", False),
    ],
)
def test_a_patched_request_decides(ok: bool, body: Any, success: bool) -> None:
    """`export` is True exactly when `.ok` is, or the body says `failed: 0`; nothing is retried for a mock."""
    with _patched(_answer(ok, body)) as mock:
        assert Client("patched-key", "s").export(a_message()) is success
        assert mock.call_count == 2


def test_all_traffic_goes_through_the_patch_point() -> None:
    """Authentication, sending, services, in the foreground and from the worker."""
    with _patched(_answer(True, {"response_data": []})) as mock:
        client = Client("patched-key", "s", server_url="http://nowhere.invalid", background=True)
        assert client.export(a_message())
        assert client.flush(5)
        assert client.get_insights("LOAN", 1)["success"]
        client.close()
        assert [call.args[0] for call in mock.call_args_list] == ["POST"] * 3


def test_the_module_attribute_may_be_replaced() -> None:
    """`mona_sdk.client.requests` itself is looked up at the call."""
    with unittest.mock.patch("mona_sdk.client.requests") as carrier:
        carrier.request.return_value = _answer(True, {"accessToken": make_token("T"), "expires": None})
        client = Client("patched-key", "s")
        assert client.is_active()
        assert client._user_id == "T"
        assert client.export(a_message())


def test_the_token_decoder_may_be_replaced(make_client: Callable[..., Client], server: RecordingServer) -> None:
    """`mona_sdk.client.jwt.decode` gives the tenant."""
    with unittest.mock.patch("mona_sdk.client.jwt") as jwt:
        jwt.decode.return_value = {"tenantId": "from-the-mock"}
        assert make_client().export(a_message())
    assert server.sends[0].json["userId"] == "from-the-mock"


@pytest.mark.parametrize("failure", [OSError("refused"), RuntimeError("odd"), ValueError("bad")])
def test_whatever_a_patched_request_raises_is_contained(failure: Exception) -> None:
    """As the original's users see it: a failed message, never an exception."""
    with _patched(_answer(True, {})):
        client = Client("patched-key", "s", max_retries=0)
    with unittest.mock.patch("mona_sdk.client.requests.request", side_effect=failure):
        assert client.export(a_message()) is False
        assert client.get_config() == {}


@pytest.mark.parametrize(
    "name",
    ["mona_sdk.auth.utils:get_auth_response_with_retries", "mona_sdk.authentication:_get_auth_response_with_retries"],
)
def test_auth_response_with_retries(name: str) -> None:
    """Retries exceptions and answers that are no JSON; N failures give the text with N."""
    module, _, attribute = name.partition(":")
    function: Any = getattr(importlib.import_module(module), attribute)
    good = _answer(True, {"a": 1})
    text, broken = _answer(True, "text"), _answer(True, None)
    broken.json.side_effect = json.JSONDecodeError("no", "", 0)
    calls = iter([OSError(), broken, text, good])

    def generator() -> Any:
        item = next(calls)
        if isinstance(item, Exception):
            raise item
        return item

    assert function(generator, num_of_retries=3, auth_wait_time_sec=0) is good

    def always_fails() -> Any:
        raise OSError

    answer = function(always_fails, num_of_retries=3, auth_wait_time_sec=0)
    assert answer.json()["errors"][1] == "Number of retries: 3"


def test_old_authentication_module(make_client: Callable[..., Client]) -> None:
    """The functions of 0.0.11 work on the live records."""
    from mona_sdk import authentication

    client = make_client()
    token = authentication.get_current_token_by_api_key("key")
    assert authentication.is_authenticated("key")
    assert authentication.get_basic_auth_header("key") == {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {token}",
    }
    assert authentication.first_authentication(client)

    @authentication.Decorators.refresh_token_if_needed
    def decorated(of: Client, value: int) -> int:
        return value

    assert decorated(client, 5) == 5
    authentication.API_KEYS_TO_TOKEN_DATA.clear()
    assert decorated(client, 5) is False


def test_old_validation_module() -> None:
    """Its functions keep their meaning."""
    from mona_sdk import validation

    assert validation.update_mona_fields_names({"MONA_a": 1, "b": 2}) == {"MY_MONA_a": 1, "b": 2}
    assert validation.validate_mona_single_message(a_message())
    assert not validation.validate_mona_single_message({})
    assert validation.validate_inner_message_type({})
    assert validation.mona_messages_to_dicts_validation([a_message()])[0]["contextClass"] == "LOAN"
    assert validation.mona_messages_to_dicts_validation([5]) is False
    with pytest.raises(MonaExportException):
        validation.handle_export_error("x", True)


def test_a_stand_in_needs_no_constructor() -> None:
    """Programs subclass the client without calling `__init__` and override what they use."""

    class StandIn(Client):
        def __init__(self) -> None:
            self.exported: list[Any] = []

        def export(self, message: MonaSingleMessage, filter_none_fields: Any = None) -> bool:
            self.exported.append(message)
            return True

        async def export_async(self, message: MonaSingleMessage) -> bool:
            return self.export(message)

        def create_openai_context_class(self, context_class: str, openai_api_type: str) -> Any:
            return {"success": True, "data": None, "error_message": None}

    stand_in = StandIn()
    assert stand_in.export(a_message()) is True
    assert stand_in.send_event(a_message()) is True
    assert stand_in.create_openai_context_class("LLM", "Completion").get("error_message") is None
    assert len(stand_in.exported) == 2
