"""The client's own tests, which need nothing but the package: `python -m unittest mona_sdk/tests/client_tests.py`."""

from __future__ import annotations

import logging
import time
import unittest

from mona_sdk.auth.utils import API_KEYS_TO_TOKEN_DATA
from mona_sdk.client import Client, MonaSingleMessage
from mona_sdk.tests.servers import RecordingServer


class ClientTests(unittest.TestCase):
    """What the README promises, against a real server on a real socket."""

    def setUp(self) -> None:
        self.server = RecordingServer()
        self.addCleanup(self.server.close)
        self.addCleanup(API_KEYS_TO_TOKEN_DATA.clear)
        logging.getLogger("mona-logger").setLevel(logging.CRITICAL)
        self.addCleanup(logging.getLogger("mona-logger").setLevel, logging.NOTSET)

    def test_one_message_arrives(self) -> None:
        """`export` is True, and the message is on the server as it was given."""
        client = Client("key", "secret", server_url=self.server.url)
        now = time.time()
        ok = client.export(
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

    def test_wrong_credentials_make_an_inactive_client(self) -> None:
        """The constructor returns, and every call gives something false."""
        client = Client("key", "wrong", server_url=self.server.url)
        message = MonaSingleMessage(message={"a": 1}, contextClass="C")
        assert not client.is_active()
        assert client.export(message) is False
        assert not client.export_batch([message])
        assert not client.get_config()
        assert not client.upload_config({}, "message")


if __name__ == "__main__":
    unittest.main()
