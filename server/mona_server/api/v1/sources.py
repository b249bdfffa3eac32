"""Sources: places whose new files are imported by themselves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from mona_server.api.answers import JSON
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge, edge_of
from mona_server.api.identity import audit
from mona_server.api.identity.roles import Permission
from mona_server.api.shapes import Cursor, DataManager, Input, Limit, page, read_position, single
from mona_server.api.v1.imports import Mapped
from mona_server.api.v1.models import work as m
from mona_server.api.v1.models.base import Page
from mona_server.detect.parameters import BadValue, period_ms
from mona_server.errors import BadRequest
from mona_server.sources import folders
from mona_server.sources.files import FileMapping
from mona_server.sources.folders import Source

router = APIRouter(tags=["sources"])


class NewSource(Mapped):
    """A folder that is watched; how its files become messages."""

    kind: Literal["object_store"] = Field("object_store", description="Folders of this machine, so far.")
    url: str = Field(min_length=1, max_length=4_000, examples=["file:///srv/loans"])
    pattern: str = Field("*", min_length=1, max_length=255, pattern="^[^/]+$", examples=["*.parquet"])
    rename: dict[str, str] = Field(default={}, description="Old column name → new one.")
    poll: str = Field("5m", description="How often it is looked into: a number and m, h or d.", examples=["5m"])
    start_after: Annotated[str, Field(max_length=1_000)] | Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="Only files whose name sorts behind it, or that changed after this time (Unix seconds)."
    )


class SourceChange(Input):
    """What changes of a source."""

    paused: bool = Field(examples=[True], description="False: look again at once; what was set aside is tried again.")


@router.get("/sources", response_model=Page[m.Source])
def list_sources(request: Request, caller: DataManager, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Sources, newest first."""
    edge = edge_of(request)
    found = folders.listed(edge.meta, caller.tenant, limit=limit, after=read_position(cursor))
    last = (found[-1].created_ms, found[-1].id) if len(found) == limit else None
    return page([_shown(edge, one) for one in found if caller.may(Permission.DATA_MANAGE, one.context_class)], last)


@router.post("/sources", status_code=201, response_model=m.Source)
def add_source(request: Request, caller: DataManager, new: NewSource) -> Response:
    """Watch a folder below an import root: each new or changed file is imported once, in the order of names."""
    edge = edge_of(request)
    try:
        poll_ms = period_ms(new.poll)
    except BadValue as error:
        raise BadRequest(f"poll: {error}") from None
    source = folders.create(
        edge.meta,
        caller.tenant,
        new.url,
        FileMapping(**new.model_dump(include={"context_class", "id_column", "time_column", "action", "rename"})),
        roots=edge.settings.imports.roots,
        now_ms=edge.clock(),
        pattern=new.pattern,
        poll_ms=poll_ms,
        start_after=new.start_after,
        author=caller.author,
    )
    told = {"url": source.url, "pattern": source.pattern, "context_class": source.context_class}
    audit.record(edge.meta, caller.actor, "source.create", source.id, now_ms=edge.clock(), after=told)
    return JSON(_shown(edge, source), 201)


@router.get("/sources/{source_id}", response_model=m.SourceInFull)
def get_source(request: Request, caller: DataManager, source_id: str) -> Response:
    """One source, with the files that could not be imported."""
    edge = edge_of(request)
    source = _mine(edge, caller, source_id)
    return single(request, _shown(edge, source) | {"failures": folders.failures(edge.meta, source)})


@router.patch("/sources/{source_id}", response_model=m.Source)
def change_source(request: Request, caller: DataManager, source_id: str, change: SourceChange) -> Response:
    """Pause a source, or let it go on."""
    edge = edge_of(request)
    _mine(edge, caller, source_id)
    source = folders.pause(edge.meta, caller.tenant, source_id, paused=change.paused, now_ms=edge.clock())
    audit.record(
        edge.meta, caller.actor, "source.change", source_id, now_ms=edge.clock(), after={"paused": change.paused}
    )
    return JSON(_shown(edge, source))


@router.delete("/sources/{source_id}", status_code=204)
def remove_source(request: Request, caller: DataManager, source_id: str) -> Response:
    """Forget a source; what it imported stays."""
    edge = edge_of(request)
    _mine(edge, caller, source_id)
    folders.remove(edge.meta, caller.tenant, source_id)
    audit.record(edge.meta, caller.actor, "source.remove", source_id, now_ms=edge.clock())
    return Response(status_code=204)


def _mine(edge: Edge, caller: Caller, source_id: str) -> Source:
    source = folders.get(edge.meta, caller.tenant, source_id)
    caller.require(Permission.DATA_MANAGE, source.context_class)
    return source


def _shown(edge: Edge, source: Source) -> dict[str, Any]:
    kept = asdict(source)
    return {
        "id": source.id,
        "kind": "object_store",
        "arc_class": source.context_class,
        **{name: kept[name] for name in ("url", "pattern", "start_after", "paused", "author", "error")},
        **{name: source.mapping[name] for name in ("id_column", "time_column", "action", "rename")},
        "poll_seconds": source.poll_ms / 1000,
        "created": source.created_ms / 1000,
        "last_look": None if source.looked_ms is None else source.looked_ms / 1000,
        "files": folders.counts(edge.meta, source),
    }
