"""Shapes that many routes share: pages with cursors, ETags, the error of ``/api/v1``, the caller as a parameter."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from mona_server.api.answers import JSON
from mona_server.api.caller import Caller
from mona_server.api.guard import Guard, allow
from mona_server.api.identity.roles import Permission
from mona_server.errors import BadRequest, MonaError

MAX_PAGE = 1_000

ConfigReader = Annotated[Caller, Depends(allow(Permission.CONFIG_READ))]
ConfigWriter = Annotated[Caller, Depends(allow(Permission.CONFIG_WRITE))]
InsightReader = Annotated[Caller, Depends(allow(Permission.INSIGHTS_READ))]
FeedbackGiver = Annotated[Caller, Depends(allow(Permission.INSIGHTS_FEEDBACK))]
Investigator = Annotated[Caller, Depends(allow(Permission.INVESTIGATE))]
DataManager = Annotated[Caller, Depends(allow(Permission.DATA_MANAGE))]
UserManager = Annotated[Caller, Depends(allow(Permission.USERS_MANAGE))]
Sender = Annotated[Caller, Depends(allow(Permission.SEND))]
Anyone = Annotated[Caller, Depends(Guard(None))]
"""Any known caller: things about the server or about oneself."""

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items on a page.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before; opaque.")]


class Input(BaseModel):
    """A request body: unknown keys are refused, so that a typing error is noticed."""

    model_config = ConfigDict(extra="forbid", strict=False)


class Issue(BaseModel):
    """One thing that is wrong, and where."""

    path: str
    message: str
    severity: str
    code: str


class Failure(BaseModel):
    """Every error of `/api/v1`, and of the original paths under `X-Mona-Protocol: 2`."""

    success: bool = False
    data: None = None
    error_message: str
    issues: list[Issue] = []
    request_id: str


FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": text}
    for status, text in {
        400: "The request is wrong; `issues` says where.",
        401: "No token or session, or one that is not valid.",
        403: "The role does not allow this; the text names the missing permission.",
        404: "There is no such thing for this tenant.",
        409: "In conflict with what is stored.",
        413: "More than a limit allows.",
        429: "Come back after `Retry-After` seconds.",
        503: "A part of the server does not answer.",
    }.items()
}


def file_of(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """The description of an answer that is a file."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The file.", "content": dict.fromkeys(media_types, schema)}}


class PreconditionFailed(MonaError):
    """Somebody changed the object since it was read."""

    status = 412


def page(items: Sequence[Any], next_cursor: Any = None) -> Response:
    """A list answer. ``next_cursor`` is any JSON value that tells where the next page begins; None = the end."""
    return JSON({"items": list(items), "next_cursor": None if next_cursor is None else write_cursor(next_cursor)})


def write_cursor(position: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def read_cursor(cursor: str | None) -> Any:
    """The position of a cursor; None for no cursor. Raises :class:`BadRequest`."""
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, msgspec.DecodeError):
        raise BadRequest("the cursor is not one of ours", hint="start again without a cursor") from None


def read_position(cursor: str | None) -> tuple[float, str] | None:
    """The last item of the page before, in a list by time and id. Raises :class:`BadRequest`."""
    match read_cursor(cursor):
        case None:
            return None
        case [int() | float() as time, str(item_id)] if abs(time) < 2**53:
            return time, item_id
        case _:
            raise BadRequest("the cursor is not one of ours", hint="start again without a cursor")


def etag_of(value: Any) -> str:
    """A strong ETag of a JSON value."""
    return f'"{hashlib.blake2b(msgspec.json.encode(value, order="sorted"), digest_size=12).hexdigest()}"'


def single(request: Request, value: Any, read: Callable[[], dict[str, Any]] = dict) -> Response:
    """One object with its ETag; 304 without a body when the caller has it already.

    ``read`` gives further keys that are read from data: they do not count for the tag, and nobody waits for them in vain.
    """
    tag = etag_of(value)
    if tag in _tags(request.headers.get("if-none-match")):
        return Response(status_code=304, headers={"ETag": tag})
    more = read()
    return JSON(value | more if more else value, headers={"ETag": tag})


def check_unchanged(request: Request, value: Any, *, required: bool = False) -> None:
    """``If-Match``: raises :class:`PreconditionFailed` (412) when the object is not the one that was read."""
    given = request.headers.get("if-match")
    if given is None:
        if required:
            raise BadRequest("the header If-Match is needed", hint="send the ETag that GET gave")
        return
    tags = _tags(given)
    if "*" not in tags and etag_of(value) not in tags:
        raise PreconditionFailed("somebody changed it meanwhile", hint="read it again")


def _tags(header: str | None) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")} if header else set()
