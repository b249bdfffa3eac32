"""For the tests of programs that use the SDK: a server in the process, without a network.

    with FakeServer() as mona:
        client = mona.client()
        run_my_program(client)
    assert mona.messages[0]["message"] == {"amount": 12}

`FakeServer` stands in for everything behind `mona_sdk.client.requests.request`, so clients made anywhere while it is
active talk to it: synchronous, background and asynchronous ones. It can be told to refuse, to be away, or to answer as
a test needs.
"""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

from mona_sdk.client import Client, requests
from mona_sdk.delivery.http import RequestFailed

URL = "http://mona.test"
TOKEN_PATH = "/identity/resources/auth/v1/api-token"  # noqa: S105 - a path


class FakeRequest(NamedTuple):
    """One request: path, headers, and the decoded JSON body."""

    path: str
    headers: Mapping[str, str]
    json: Any


class FakeAnswer:
    """An answer of the fake: a status and a JSON body."""

    def __init__(self, status_code: int, body: Any, headers: Optional[Mapping[str, str]] = None) -> None:
        self.status_code, self._body, self.headers = status_code, body, dict(headers or {})
        self.ok = 200 <= status_code < 300
        self.content = json.dumps(body).encode()
        self.text = self.content.decode()

    def json(self) -> Any:
        """The body."""
        return self._body


class FakeServer:
    """A Mona server that keeps what it gets; use it as a context manager.

    `messages` are the accepted messages, in wire form (`arcClass`, `contextId`, `exportTimestamp`, `message`, ...), in
    order; `requests` all calls. Set `away` to be unreachable, `refuse` to a function from a message to a reason (or
    None), and `services[path]` to the `response_data` of a service call.
    """

    def __init__(self, tenant: str = "test-tenant") -> None:
        self.tenant = tenant
        self.messages: list[dict[str, Any]] = []
        self.requests: list[FakeRequest] = []
        self.away = False
        self.refuse: Callable[[dict[str, Any]], Optional[str]] = lambda _: None
        self.services: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._real: Any = None
        self._seen: set[str] = set()

    def client(self, **arguments: Any) -> Client:
        """A client of this server; arguments as of Client."""
        return Client(**{"api_key": "test-key", "secret": "test-secret", "server_url": URL, **arguments})

    def messages_of(self, context_class: str) -> list[dict[str, Any]]:
        """The contents of the messages of one class, in order."""
        return [message["message"] for message in self.messages if message["arcClass"] == context_class]

    def __enter__(self) -> FakeServer:
        carrier: Any = requests
        self._real, carrier.request = carrier.request, self.request
        return self

    def __exit__(self, *exc: object) -> None:
        carrier: Any = requests
        carrier.request = self._real

    def request(self, method: str, url: str, **kwargs: Any) -> FakeAnswer:  # noqa: ARG002 - all calls are POST
        """What `mona_sdk.client.requests.request` is while the fake is active."""
        if self.away:
            raise RequestFailed("the fake server is away")
        path = "/" + url.partition("://")[2].partition("/")[2]
        call = FakeRequest(path, kwargs.get("headers") or {}, _body(kwargs))
        with self._lock:
            self.requests.append(call)
            if path.startswith((TOKEN_PATH, "/oauth")):
                return self._token()
            if path in ("/export", "/sendEvent", "/monaExport", "/monaSendEvent"):
                return self._accept(call)
            name = path.strip("/")
            if name in self.services:
                return FakeAnswer(200, {"response_data": self.services[name]})
        return FakeAnswer(404, {"success": False, "error_message": f"the fake has no service {name!r}"})

    def _token(self) -> FakeAnswer:
        claims = base64.urlsafe_b64encode(json.dumps({"tenantId": self.tenant}).encode()).rstrip(b"=").decode()
        token = f"e30.{claims}.fake"
        return FakeAnswer(
            200, {"accessToken": token, "access_token": token, "refreshToken": "fake", "expiresIn": 86400}
        )

    def _accept(self, call: FakeRequest) -> FakeAnswer:
        messages = call.json["messages"]
        key = call.headers.get("Idempotency-Key", "")
        if key in self._seen:
            return FakeAnswer(200, {"total": len(messages), "failed": 0, "sent": len(messages), "failure_reasons": {}})
        self._seen.add(key)
        reasons = {str(place): reason for place, each in enumerate(messages) if (reason := self.refuse(each))}
        self.messages.extend(each for place, each in enumerate(messages) if str(place) not in reasons)
        answer = {
            "total": len(messages),
            "failed": len(reasons),
            "sent": len(messages) - len(reasons),
            "failure_reasons": reasons,
        }
        return FakeAnswer(400 if reasons else 200, answer)


def _body(kwargs: dict[str, Any]) -> Any:
    if kwargs.get("json") is not None:
        return kwargs["json"]
    data = kwargs.get("data")
    if not isinstance(data, bytes):
        return data
    if dict(kwargs.get("headers") or {}).get("Content-Encoding") == "gzip":
        data = gzip.decompress(data)
    return json.loads(data)
