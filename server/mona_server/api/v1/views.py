"""Saved investigations, dashboards and insight filters: private, or shared inside of the tenant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy import Connection, and_, delete, insert, or_, select, update
from starlette.responses import Response

from mona_server.api.answers import JSON
from mona_server.api.caller import Caller
from mona_server.api.edge import edge_of
from mona_server.api.identity.hashing import new_id
from mona_server.api.identity.roles import Permission
from mona_server.api.shapes import Cursor, Input, Investigator, Limit, check_unchanged, page, read_position, single
from mona_server.api.v1.models import insights as m
from mona_server.api.v1.models.base import Page
from mona_server.errors import Forbidden, NotFound
from mona_server.store.tables_identity import views

router = APIRouter(tags=["views"])


class NewView(Input):
    """A view to be kept."""

    kind: Literal["investigation", "dashboard", "insight_filter"] = "investigation"
    name: str = Field(min_length=1, max_length=200, examples=["City by device"])
    shared: bool = False
    arc_class: str | None = Field(None, max_length=128)
    state: dict[str, Any] = Field(default={}, description="What the page keeps in its address.")


class ViewChange(Input):
    """What changes; absent keys stay."""

    name: str | None = Field(None, min_length=1, max_length=200)
    shared: bool | None = None
    state: dict[str, Any] | None = None


@router.get("/views", response_model=Page[m.View])
def list_views(
    request: Request,
    caller: Investigator,
    limit: Limit = 200,
    cursor: Cursor = None,
    kind: Annotated[str | None, Query(description="Only this kind.")] = None,
) -> Response:
    """The caller's own views and the shared ones, newest first."""
    query = select(views).where(_visible(caller)).order_by(views.c.created_ms.desc(), views.c.id).limit(limit)
    if kind is not None:
        query = query.where(views.c.kind == kind)
    if (after := read_position(cursor)) is not None:
        made, last = after
        query = query.where(or_(views.c.created_ms < made, and_(views.c.created_ms == made, views.c.id > last)))
    with edge_of(request).meta.connect() as db:
        rows = [dict(row) for row in db.execute(query).mappings()]
    position = (rows[-1]["created_ms"], rows[-1]["id"]) if len(rows) == limit else None
    return page([_shown(row) for row in rows if _in_class(caller, row)], position)


@router.post("/views", status_code=201, response_model=m.View)
def add_view(request: Request, caller: Investigator, new: NewView) -> Response:
    """Keep a view."""
    caller.require(Permission.INVESTIGATE, new.arc_class)
    edge = edge_of(request)
    row = {
        "id": new_id("view"),
        "tenant": caller.tenant,
        "owner": _owner(caller),
        "shared": int(new.shared),
        "kind": new.kind,
        "name": new.name,
        "context_class": new.arc_class,
        "state": new.state,
        "created_ms": edge.clock(),
        "version": 1,
    }
    with edge.meta.begin() as db:
        db.execute(insert(views).values(**row))
    return JSON(_shown(row), 201)


@router.get("/views/{view_id}", response_model=m.View)
def get_view(request: Request, caller: Investigator, view_id: str) -> Response:
    """One view."""
    with edge_of(request).meta.connect() as db:
        return single(request, _shown(_row(db, caller, view_id)))


@router.patch("/views/{view_id}", response_model=m.View)
def change_view(request: Request, caller: Investigator, view_id: str, change: ViewChange) -> Response:
    """Change an own view; `If-Match` guards against another window's change."""
    with edge_of(request).meta.begin() as db:
        row = _own(_row(db, caller, view_id), caller)
        check_unchanged(request, _shown(row))
        values = change.model_dump(exclude_none=True)
        row = row | values | {"version": row["version"] + 1}
        mine = (views.c.tenant == caller.tenant) & (views.c.id == view_id)
        db.execute(update(views).where(mine).values(**values, version=row["version"]))
    return single(request, _shown(row))


@router.delete("/views/{view_id}", status_code=204)
def remove_view(request: Request, caller: Investigator, view_id: str) -> Response:
    """Remove an own view."""
    with edge_of(request).meta.begin() as db:
        _own(_row(db, caller, view_id), caller)
        db.execute(delete(views).where((views.c.tenant == caller.tenant) & (views.c.id == view_id)))
    return Response(status_code=204)


def _owner(caller: Caller) -> str:
    return caller.user_id or caller.token_id or "anybody"


def _visible(caller: Caller) -> Any:
    return (views.c.tenant == caller.tenant) & or_(views.c.shared == 1, views.c.owner == _owner(caller))


def _in_class(caller: Caller, row: dict[str, Any]) -> bool:
    return row["context_class"] is None or caller.may(Permission.INVESTIGATE, row["context_class"])


def _row(db: Connection, caller: Caller, view_id: str) -> dict[str, Any]:
    row = db.execute(select(views).where(_visible(caller), views.c.id == view_id)).mappings().first()
    if row is None or not _in_class(caller, dict(row)):
        raise NotFound(f"no such view: {view_id}")
    return dict(row)


def _own(row: dict[str, Any], caller: Caller) -> dict[str, Any]:
    if row["owner"] != _owner(caller):
        raise Forbidden("the view belongs to somebody else", hint="save a copy of it")
    return row


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "kind": row["kind"],
        "name": row["name"],
        "owner": row["owner"],
        "shared": bool(row["shared"]),
        "arc_class": row["context_class"],
        "state": row["state"],
        "version": row["version"],
    }
