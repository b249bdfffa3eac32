"""Imports of files: below the import roots of the server, or sent with the request."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import Response

from mona_server.api import imports, uploads
from mona_server.api.answers import JSON
from mona_server.api.edge import edge_of
from mona_server.api.identity.roles import Permission
from mona_server.api.shapes import Cursor, DataManager, Input, Limit, page, read_position, single
from mona_server.api.v1.models import work as m
from mona_server.api.v1.models.base import Page
from mona_server.errors import BadRequest, NotFound
from mona_server.sources.files import FileMapping
from mona_server.store import jobs

router = APIRouter(tags=["imports"])

_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Mapped(Input):
    """How the columns of a file become messages."""

    context_class: str = Field(min_length=1, max_length=128, examples=["LOAN"])
    id_column: str | None = Field(None, max_length=500)
    time_column: str | None = Field(None, max_length=500)
    action: str | None = Field(None, pattern="^(OVERWRITE|ADD|NEW|DELETE)$")


class Upload(Mapped):
    """Of a file that is the body."""

    file_name: str = Field("file", max_length=1_000, examples=["loans.csv"], description="For people, and in errors.")


class NewImport(Mapped):
    """Which file, and how its columns become messages."""

    file_path: str = Field(min_length=1, max_length=4_000, examples=["loans.parquet"])
    rename: dict[str, str] = Field(default={}, description="Old column name → new one.")


@router.post("/imports", status_code=202, response_model=m.Import)
def start_import(request: Request, caller: DataManager, new: NewImport) -> Response:
    """Import a file below an import root. The same file again changes nothing."""
    edge = edge_of(request)
    mapping = FileMapping(**new.model_dump(exclude={"file_path"}))
    job_id = imports.start(edge, caller, new.file_path, mapping)
    return JSON(imports.shown(jobs.get(edge.meta, caller.tenant, job_id)), 202)


@router.post("/imports/file", status_code=202, response_model=m.Import, openapi_extra=_FILE)
async def import_body(request: Request, caller: DataManager, how: Annotated[Upload, Query()]) -> Response:
    """Import the file that is the body, as it is: CSV, Parquet, JSON or Arrow. The same file again changes nothing."""
    edge = edge_of(request)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("Content-Encoding is not taken here", hint="send the file plain, or as Parquet")
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isdigit() else None
    async with edge.gate.enter(caller.tenant):
        path = await uploads.spool(edge, request.stream(), how.file_name, announced=announced)
    mapping = FileMapping(**how.model_dump(exclude={"file_name"}))
    job_id = await run_in_threadpool(imports.queue, edge, caller, path, mapping, uploaded=True)
    return JSON(imports.shown(await run_in_threadpool(jobs.get, edge.meta, caller.tenant, job_id)), 202)


@router.get("/imports", response_model=Page[m.Import])
def list_imports(request: Request, caller: DataManager, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """The newest imports first."""
    meta = edge_of(request).meta
    found = jobs.recent(meta, caller.tenant, kind=imports.KIND, limit=limit, after=read_position(cursor))
    last = (found[-1].created_ms, found[-1].id) if len(found) == limit else None
    mine = [job for job in found if caller.may(Permission.DATA_MANAGE, job.parameters["context_class"])]
    return page([imports.shown(job) for job in mine], last)


@router.get("/imports/{import_id}", response_model=m.Import)
def get_import(request: Request, caller: DataManager, import_id: str) -> Response:
    """Rows read, accepted and refused, with the first reasons by line."""
    job = jobs.get(edge_of(request).meta, caller.tenant, import_id)
    if job.kind != imports.KIND:
        raise NotFound(f"no import {import_id}")
    caller.require(Permission.DATA_MANAGE, job.parameters["context_class"])
    return single(request, imports.shown(job))
