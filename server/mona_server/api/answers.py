"""What errors look like from outside: one table for the four families of paths.

| family | error |
| --- | --- |
| sending | ``{"topLevelError": text}`` with the honest status |
| service, legacy client | status 200 ``{"success": false, "data": null, "error_message": text}``; 401, 429, 5xx plain text |
| service (protocol 2), ``/api/v1`` | honest status, ``{"success": false, "data": null, "error_message", "issues", "request_id"}`` |
| identity | honest status, ``{"errors": [text]}`` |

A legacy client is one without the header ``X-Mona-Protocol: 2``: the public SDK reads most non-2xx answers as a
crash, so it gets the shapes that every generation survives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response

from mona_server.errors import BadRequest, MonaError, Overloaded

Family = Literal["sending", "service", "identity", "v1", "page"]

SENDING_PATHS = frozenset({"/export", "/sendEvent", "/monaExport", "/monaSendEvent"})
UPLOAD_PATH = "/api/v1/imports/file"
UNREAD_PATHS = SENDING_PATHS | {UPLOAD_PATH}
"""Their routes read the bodies themselves, after they know the caller."""
SERVICE_PATHS = frozenset(
    {
        "/upload_config",
        "/upload_config_for_context_class",
        "/configs",
        "/get_new_config_fields",
        "/suggest_new_config",
        "/get_config_history",
        "/get_sampling_factors",
        "/create_sampling_factor",
        "/validate_config",
        "/validate_config_per_context_class",
        "/insights",
        "/get_ingested_data",
        "/get_segment",
        "/get_segments_for_dimensions",
        "/stats",
        "/create_openai_context_class",
        "/initiate_csv_upload_request",
    }
)
_LEGACY_TEXT_STATUS = frozenset({401, 429, 500, 503, 504})
"""With a JSON body of any of these the public SDK raises an exception of its own making; plain text is clean."""


@dataclass(frozen=True, slots=True)
class RequestIssue:
    """One wrong part of a request."""

    path: str
    message: str
    code: str = "invalid"

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "message": self.message, "severity": "error", "code": self.code}


class InvalidRequest(BadRequest):
    """A request with wrong, missing or unknown parts; all of them are told at once."""

    def __init__(self, issues: Iterable[RequestIssue]) -> None:
        self.issues = tuple(issues)
        super().__init__("; ".join(f"{issue.path}: {issue.message}" for issue in self.issues[:5]))

    @classmethod
    def of(cls, error: RequestValidationError) -> InvalidRequest:
        """From the framework's errors: where and what, never the value that was sent."""
        return cls(
            RequestIssue(".".join(str(part) for part in problem["loc"]), problem["msg"], problem["type"])
            for problem in error.errors()
        )


class JSON(Response):
    """JSON by msgspec: dates and frozen values included, and no NaN."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content, enc_hook=_plain)


def family(method: str, path: str) -> Family:
    """Which table row of this module a path belongs to. ``GET /insights`` is a page, ``POST`` the service."""
    if path in SENDING_PATHS:
        return "sending"
    if path in SERVICE_PATHS and method == "POST":
        return "service"
    if path.startswith("/api/"):
        return "v1"
    if path.startswith(("/identity/", "/oauth/", "/.well-known/")):
        return "identity"
    return "page"


def is_protocol_2(connection: HTTPConnection) -> bool:
    return connection.headers.get("x-mona-protocol") == "2"


def error_answer(connection: HTTPConnection, error: MonaError, *, method: str) -> Response:
    """The answer to a request that ended with ``error``."""
    path = connection.url.path
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    text = str(error)
    request_id = str(connection.scope.get("state", {}).get("request_id", ""))
    match family(method, path):
        case "identity":
            return JSON({"errors": [text]}, error.status, headers)
        case "service" if not is_protocol_2(connection):
            return _legacy(path, error, text, headers, connection.app.state.edge.settings.auth.legacy_generation)
        case "sending":
            body: dict[str, Any] = {"topLevelError": text, "request_id": request_id}
            return JSON(body, error.status, headers)
        case _:
            return JSON(
                {
                    "success": False,
                    "data": None,
                    "error_message": text,
                    "issues": issues_of(error),
                    "request_id": request_id,
                },
                error.status,
                headers,
            )


def issues_of(error: MonaError) -> list[dict[str, Any]]:
    """The issues of a configuration or request error; empty for others."""
    return [issue.to_json() for issue in getattr(error, "issues", ())]


def _legacy(path: str, error: MonaError, text: str, headers: dict[str, str], generation: str) -> Response:
    if error.status in _LEGACY_TEXT_STATUS:
        return PlainTextResponse(text, error.status, headers)
    body: dict[str, Any] = {"success": False, "data": None, "error_message": text}
    if path == "/upload_config" and generation == "0.0.11":
        # That client takes a 4xx with an id for a clean refusal; newer ones crash on it. A site chooses by setting.
        return JSON({**body, "response_data": {"new_config_id": ""}}, 400, headers)
    issues = issues_of(error)
    if path == "/validate_config":
        body["response_data"] = {"issues": issues or [_issue(text)]}
    elif path == "/validate_config_per_context_class":
        body["issues"] = issues or [_issue(text)]
    elif issues:
        body["issues"] = issues
    return JSON(body, 200, headers)


def _issue(text: str) -> dict[str, Any]:
    return {"path": "", "message": text, "severity": "error", "code": "invalid"}


def _plain(value: Any) -> Any:
    """numpy scalars and arrays, as plain values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
