"""Running the server: what needs attention, how it is set, and whether notifications arrive."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from mona_server import notify
from mona_server.api import classes
from mona_server.api.answers import JSON
from mona_server.api.edge import edge_of
from mona_server.api.identity import audit
from mona_server.api.shapes import ConfigWriter, Input, UserManager
from mona_server.api.v1.models import work as m
from mona_server.errors import NotFound
from mona_server.settings import Settings
from mona_server.store import doctor

router = APIRouter(tags=["operations"])

_SEALED = {("notifications", "smtp_url"), ("store", "url"), ("engine", "url")}
"""Addresses that may hold a password."""


class NotificationTest(Input):
    """Which entry of a class's notifications."""

    context_class: str = Field(min_length=1, max_length=128, examples=["LOAN"])
    name: str = Field(min_length=1, max_length=200, examples=["team"])


@router.get("/doctor", response_model=m.Readings)
def examine(request: Request, caller: UserManager) -> Response:
    """Bytes by purpose, lag, queues, files, jobs; slow queries and sender clocks of the tenant; attention first."""
    edge = edge_of(request)
    now_ms = edge.clock()
    edge.skew.save(edge.meta, now_ms=now_ms)
    return JSON(
        {"items": [asdict(one) for one in doctor.examine(edge.store, edge.settings, now_ms, tenant=caller.tenant)]}
    )


@router.get("/settings", response_model=dict[str, dict[str, Any]])
def settings(request: Request, _caller: UserManager) -> Response:
    """The settings of the server as they count; addresses that may hold a password are masked."""
    return JSON(shown(edge_of(request).settings))


@router.post("/notifications/test", status_code=202, response_model=m.Deliveries)
def test_notification(request: Request, caller: ConfigWriter, ask: NotificationTest) -> Response:
    """Send a test message to each destination of a notification entry."""
    edge = edge_of(request)
    context_class = classes.configured(edge, caller.tenant, ask.context_class)
    now = datetime.fromtimestamp(edge.clock() / 1000, UTC)
    found = notify.send_test(edge.store, caller.tenant, context_class, ask.name, now)
    if not found:
        raise NotFound(f"{ask.context_class} has no usable notification entry {ask.name}")
    audit.record(edge.meta, caller.actor, "notification.test", ask.name, now_ms=edge.clock())
    return JSON({"deliveries": found}, 202)


def shown(given: Settings) -> dict[str, Any]:
    """Sections of settings, without the data directory and without passwords."""
    sections = given.model_dump(mode="json", exclude={"data_dir"})
    for section, key in _SEALED:
        if sections[section].get(key):
            sections[section][key] = "***"
    return sections
