"""The client's own tests, which need nothing but the package: `python -m unittest mona_sdk/tests/client_tests.py`."""

# ruff: noqa: PT027 - there is no pytest where these run

from __future__ import annotations

import contextlib
import logging
import os
import time
import unittest
from typing import Any
from unittest import mock

from mona_sdk.auth.utils import API_KEYS_TO_TOKEN_DATA
from mona_sdk.client import Client, MonaSingleMessage
from mona_sdk.client_exceptions import (
    MonaAuthenticationException,
    MonaConfigUploadException,
    MonaExportException,
    MonaServiceException,
)
from mona_sdk.tests.servers import Answer, RecordingServer, always

OLD_VARIABLES = (
    "RAISE_AUTHENTICATION_EXCEPTIONS",
    "RAISE_EXPORT_EXCEPTIONS",
    "RAISE_CONFIG_EXCEPTIONS",
    "NUM_OF_RETRIES_FOR_AUTHENTICATION",
    "WAIT_TIME_FOR_AUTHENTICATION_RETRIES_SEC",
)


def message(**values: Any) -> MonaSingleMessage:
    """A message with an id and a time."""
    return MonaSingleMessage(
        message=values or {"amount": 1}, contextClass="LOAN", contextId="id-1", exportTimestamp=1700000000
    )


class ClientTests(unittest.TestCase):
    """What the README promises, against a real server on a real socket."""

    def setUp(self) -> None:
        self.server = RecordingServer()
        self.addCleanup(self.server.close)
        self.addCleanup(API_KEYS_TO_TOKEN_DATA.clear)
        environment = mock.patch.dict(os.environ)
        environment.start()
        self.addCleanup(environment.stop)
        for name in list(os.environ):
            if name.startswith("MONA_") or name in OLD_VARIABLES:
                del os.environ[name]
        os.environ["MONA_SDK_SERVER_URL"] = self.server.url
        logger = logging.getLogger("mona-logger")
        logger.setLevel(logging.CRITICAL)
        self.addCleanup(logger.setLevel, logging.NOTSET)

    def client(self, **arguments: Any) -> Client:
        """A client of the server with good credentials."""
        return Client("key", "secret", **arguments)

    def test_one_message_arrives(self) -> None:
        """`export` is True, and the message is on the server as it was given."""
        now = time.time()
        ok = self.client().export(
            MonaSingleMessage(
                message={"monitoring_information_1": "1"},
                contextClass="MY_CONTEXT_CLASS_NAME",
                contextId="CONTEXT_INSTANCE_UNIQUE_ID",
                exportTimestamp=now,
            )
        )
        assert ok is True
        assert self.server.messages == [
            {
                "arcClass": "MY_CONTEXT_CLASS_NAME",
                "contextId": "CONTEXT_INSTANCE_UNIQUE_ID",
                "exportTimestamp": now,
                "message": {"monitoring_information_1": "1"},
            }
        ]

    def test_a_batch_arrives(self) -> None:
        """The result counts, and an empty batch sends nothing."""
        client = self.client()
        assert client.export_batch([message(), message()]) == {
            "total": 2,
            "failed": 0,
            "sent": 2,
            "failure_reasons": {},
        }
        assert client.export_batch([])["total"] == 0
        assert len(self.server.sends) == 1

    def test_the_time_of_the_call_is_stamped(self) -> None:
        """When the message has none."""
        before = time.time()
        self.client().export(MonaSingleMessage(message={"a": 1}, contextClass="C"))
        stamped = self.server.messages[0]["exportTimestamp"]
        assert before - 0.001 <= stamped <= time.time()

    def test_both_positional_orders(self) -> None:
        """The fourth is a time or an action, by its value."""
        client = self.client()
        client.export(MonaSingleMessage({"a": 1}, "C", "i", 1700000000))
        client.export(MonaSingleMessage({"a": 1}, "C", "i", "ADD", None, 1700000000))
        assert [(m["exportTimestamp"], m.get("action")) for m in self.server.messages] == [
            (1700000000, None),
            (1700000000, "ADD"),
        ]

    def test_reserved_names_are_renamed(self) -> None:
        """`MONA_x` arrives as `MY_MONA_x`."""
        self.client().export(message(MONA_x=1, y=2))
        assert self.server.messages[0]["message"] == {"MY_MONA_x": 1, "y": 2}

    def test_wrong_credentials_make_an_inactive_client(self) -> None:
        """The constructor returns, and every call gives something false."""
        client = Client("key", "wrong")
        assert not client.is_active()
        assert client.export(message()) is False
        result: Any = client.export_batch([message()])
        assert not result
        assert not client.get_config()
        assert not client.upload_config({}, "why")

    def test_wrong_credentials_raise_when_told_so(self) -> None:
        """By the variable of the README."""
        os.environ["RAISE_AUTHENTICATION_EXCEPTIONS"] = "true"
        with self.assertRaises(MonaAuthenticationException) as caught:
            Client("key", "wrong")
        assert str(caught.exception) == "Mona's client could not authenticate. errors: Invalid credentials"

    def test_authentication_is_retried(self) -> None:
        """As often as the variables say."""
        os.environ["NUM_OF_RETRIES_FOR_AUTHENTICATION"] = "2"
        os.environ["WAIT_TIME_FOR_AUTHENTICATION_RETRIES_SEC"] = "0.01"
        self.server.routes["/identity/resources/auth/v1/api-token"] = lambda _: None
        assert not self.client().is_active()
        assert len({request.connection for request in self.server.requests}) == 3

    def test_failures_of_exports(self) -> None:
        """False or the dict; exceptions when told so."""
        self.server.routes["/export"] = always(400, {"total": 1, "failed": 1, "failure_reasons": {"0": "bad"}})
        client = self.client()
        assert client.export(message()) is False
        assert client.export_batch([message()])["failure_reasons"] == {"0": "bad"}
        os.environ["RAISE_EXPORT_EXCEPTIONS"] = "true"
        with self.assertRaises(MonaExportException):
            self.client().export(message())
        with self.assertRaises(MonaExportException):
            self.client().export_batch(["no message"])  # type: ignore[list-item]

    def test_upload_config(self) -> None:
        """`success` and `new_config_id`, whoever the author is."""
        self.server.routes["/upload_config"] = always(200, {"response_data": {"new_config_id": "n-1"}})
        result = self.client().upload_config({"LOAN": {}}, "My commit message")
        assert (result["success"], result["new_config_id"]) == (True, "n-1")
        assert self.server.requests[-1].json["config"] == {"tenant-1": {"LOAN": {}}}
        self.server.routes["/upload_config"] = always(400, {"error_message": "bad config"})
        result = self.client().upload_config({"LOAN": {}}, "My commit message")
        assert (result["success"], result["new_config_id"], result["error_message"]) == (False, "", "bad config")
        os.environ["RAISE_CONFIG_EXCEPTIONS"] = "true"
        for exception in (MonaConfigUploadException, MonaServiceException):
            with self.assertRaises(exception):
                self.client().upload_config({"LOAN": {}}, "My commit message")

    def test_get_config(self) -> None:
        """The dict of 0.0.11 and the service dict of 0.0.58 in one."""
        self.server.routes["/configs"] = always(200, {"response_data": {"raw_configuration_data": {"LOAN": {}}}})
        config = self.client().get_config()
        assert config == {"tenant-1": {"LOAN": {}}}
        assert config["success"] is True
        assert config["data"] == {"tenant-1": {"LOAN": {}}}

    def test_a_token_refused_in_flight_is_renewed(self) -> None:
        """No message is lost."""
        client = self.client()
        answers = iter([Answer(401, {"topLevelError": "expired"})])
        accept = self.server.routes["/export"]
        self.server.routes["/export"] = lambda request: next(answers, None) or accept(request)
        assert client.export(message()) is True
        assert len(self.server.sends) == 2

    def test_background(self) -> None:
        """Leaving the block delivers what was queued."""
        with self.client(background=True) as client:
            assert all(client.export(message(n=n)) for n in range(100))
        assert len(self.server.messages) == 100

    def test_no_server_at_all(self) -> None:
        """Everything ends, and nothing raises."""
        client = self.client(max_retries=0)
        self.server.close()
        assert client.export(message()) is False
        assert client.get_suggested_config()["error_message"] == "Cannot connect to app-server."

    def test_a_patched_request_carries_everything(self) -> None:
        """Programs replace `mona_sdk.client.requests.request` in their tests."""
        with contextlib.ExitStack() as stack:
            patched = stack.enter_context(mock.patch("mona_sdk.client.requests.request"))
            patched.return_value.ok = True
            patched.return_value.json.return_value = {"accessToken": "no-jwt", "response_data": []}
            client = Client("another-key", "secret")
            assert client.export(message())
            assert client.get_insights("LOAN", 1)["success"]
            assert patched.call_count == 3


if __name__ == "__main__":
    unittest.main()
