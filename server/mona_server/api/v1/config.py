"""The configuration: read, save, compare, validate, suggest, restore."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from mona_server.api import backtests, configs, samples
from mona_server.api.answers import JSON
from mona_server.api.caller import Caller
from mona_server.api.edge import edge_of
from mona_server.api.identity.roles import Permission
from mona_server.api.shapes import (
    ConfigReader,
    ConfigWriter,
    Cursor,
    Input,
    Limit,
    PreconditionFailed,
    etag_of,
    page,
    read_cursor,
    single,
)
from mona_server.api.v1.models import configs as m
from mona_server.api.v1.models.base import JobId, Page
from mona_server.config import Parsed, revisions
from mona_server.errors import BadRequest

router = APIRouter(tags=["configuration"])

_EXAMPLE = {"LOAN": {"fields": {"amount": {"type": "numeric"}}, "stanzas": {}}}
GivenConfig = Annotated[
    dict[str, Any] | str, Field(description="Object, or JSON text (kept byte for byte).", examples=[_EXAMPLE])
]


class Upload(Input):
    """A new configuration."""

    config: GivenConfig
    context_class: str | None = Field(None, description="Only this class changes.", examples=[None])
    author: str | None = Field(None, max_length=200)
    commit_message: str = Field("", max_length=2_000, examples=["Add the amount"])
    base_config_id: str | None = Field(None, description="Only if this is still the newest revision.")
    lenient: bool = Field(False, description="Keep unknown functions and verse types as inactive.")


class Check(Input):
    """A configuration to be judged and not stored."""

    config: GivenConfig
    context_class: str | None = None
    lenient: bool = False


class Backtest(Check):
    """A configuration of one class, and which of its verses are tried."""

    verses: list[str] | None = Field(None, description="Names; null = all.")


class Suggest(Input):
    """From what the suggestion is made."""

    events: list[dict[str, Any]] | None = Field(None, description="Messages; null = the latest stored contexts.")
    verses: bool = Field(False, description="Also a first stanza for classes that have none.")


class Restore(Input):
    """Which revision comes back."""

    config_id: str
    base_config_id: str | None = None


@router.get("/config", response_model=m.Configuration)
def get_config(request: Request, caller: ConfigReader) -> Response:
    """The active configuration as uploaded, its revision, and in the ETag what `If-Match` of `POST` expects."""
    return single(request, configs.current(edge_of(request), caller))


@router.post("/config", status_code=201, response_model=m.SavedConfiguration)
def upload_config(request: Request, caller: ConfigWriter, upload: Upload) -> Response:
    """Save a configuration. All problems are told at once; nothing is stored when there is one."""
    edge = edge_of(request)
    match = request.headers.get("if-match")
    if match is not None and match.strip() not in {"*", etag_of(configs.current(edge, caller))}:
        raise PreconditionFailed("the configuration was changed meanwhile", hint="read it again")
    saved = configs.save(
        edge,
        caller,
        upload.config,
        author=upload.author or caller.author,
        commit_message=upload.commit_message,
        context_class=upload.context_class,
        base_config_id=upload.base_config_id,
        lenient=upload.lenient,
    )
    return JSON(saved.to_json(), 201)


@router.get("/config/revisions", response_model=Page[m.Revision])
def list_revisions(request: Request, caller: ConfigReader, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Revisions, newest first, without their content."""
    before = read_cursor(cursor)
    if before is not None and not isinstance(before, int):
        raise BadRequest("the cursor is not one of ours", hint="start again without a cursor")
    edge = edge_of(request)
    found = revisions.history(edge.meta, caller.tenant, limit=limit, before=before)
    items = [
        {key: value for key, value in revision.to_json().items() if key != "config"}
        | {"diffs": configs.visible_diffs(caller, list(revision.to_json()["diffs"]))}
        for revision in found
    ]
    return page(items, found[-1].number if len(found) == limit else None)


@router.get("/config/revisions/{config_id}", response_model=m.RevisionWithConfig)
def get_revision(request: Request, caller: ConfigReader, config_id: str) -> Response:
    """One revision with its content."""
    item = revisions.get(edge_of(request).meta, caller.tenant, config_id).to_json()
    item["config"] = configs.visible(caller, Permission.CONFIG_READ, item["config"])
    item["diffs"] = configs.visible_diffs(caller, item["diffs"])
    return single(request, item)


@router.get("/config/diff", response_model=m.DiffBetween)
def diff(
    request: Request,
    caller: ConfigReader,
    from_: Annotated[str, Query(alias="from", description="Revision id.")],
    to: Annotated[str, Query(description="Revision id.")],
) -> Response:
    """What changed from one revision to another."""
    found = revisions.diff_between(edge_of(request).meta, caller.tenant, from_, to)
    return JSON({"from": from_, "to": to, "diffs": configs.visible_diffs(caller, found)})


@router.post("/config/validate", response_model=m.Judgement)
def validate(request: Request, caller: ConfigReader, check: Check) -> Response:
    """All issues of a configuration; `valid` is false when one of them is an error. Nothing is stored."""
    parsed = _parsed(caller, check)
    if not parsed.errors:
        for name in parsed.classes:
            caller.require(Permission.CONFIG_READ, name)
        parsed = samples.with_data_warnings(edge_of(request), caller, parsed)
    return JSON({"valid": not parsed.errors, "issues": [issue.to_json() for issue in parsed.issues]})


@router.post("/config/backtest", status_code=202, response_model=JobId)
def backtest(request: Request, caller: ConfigWriter, ask: Backtest) -> Response:
    """How often the verses would have fired in the last 90 days of data, to depth 2. A job; nothing is saved."""
    parsed = _parsed(caller, ask).or_raise()
    return JSON({"job_id": backtests.start(edge_of(request), caller, parsed, ask.verses)}, 202)


@router.post("/config/suggest", response_model=m.Suggestion)
def suggest(request: Request, caller: ConfigReader, ask: Suggest) -> Response:
    """The configuration with new fields, from stored data or from given messages. Nothing is stored."""
    edge = edge_of(request)
    if ask.events is None:
        return JSON(samples.suggest_from_data(edge, caller, verses=ask.verses))
    return JSON(samples.suggest_from_messages(edge, caller, configs.unwrap_events(ask.events), verses=ask.verses))


@router.post("/config/restore", status_code=201, response_model=m.SavedConfiguration)
def restore(request: Request, caller: ConfigWriter, ask: Restore) -> Response:
    """Make a new revision with the content of an old one."""
    saved = configs.restore(edge_of(request), caller, ask.config_id, base_config_id=ask.base_config_id)
    return JSON(saved.to_json(), 201)


def _parsed(caller: Caller, check: Check) -> Parsed:
    return configs.read(check.config, caller.tenant, check.context_class, lenient=check.lenient)
