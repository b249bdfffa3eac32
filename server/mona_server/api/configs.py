"""What both families of paths do with configurations: read, save, suggest, try out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mona_server import notify
from mona_server.api import backfills
from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity import audit
from mona_server.api.identity.roles import Permission
from mona_server.config import Parsed, parse, revisions
from mona_server.config.issues import Issue
from mona_server.config.openai import template
from mona_server.errors import BadRequest, Forbidden

_TRIES = 10


def visible(caller: Caller, permission: Permission, by_class: Mapping[str, Any]) -> dict[str, Any]:
    """Only the context classes in which the caller has the right."""
    held = caller.classes(permission)
    return {name: value for name, value in by_class.items() if held is None or name in held}


def current(edge: Edge, caller: Caller) -> dict[str, Any]:
    """The active configuration, as uploaded: ``raw_configuration_data`` of the wire and where it comes from."""
    revision = revisions.active(edge.meta, caller.tenant)
    if revision is None:
        return {"raw_configuration_data": {}}
    return {
        "raw_configuration_data": visible(caller, Permission.CONFIG_READ, revision.raw),
        "config_id": revision.id,
        "author": revision.author,
        "commit_message": revision.commit_message,
        "time": revision.created_ms / 1000,
    }


def read(given: Any, tenant: str, context_class: str | None = None, *, lenient: bool = False) -> Parsed:
    """A configuration as read, with what the rooms above the configuration's own find wrong: notifications."""
    if context_class is None:
        parsed = parse(given, user_id=tenant, lenient=lenient)
    else:
        parsed = revisions.parse_for_class(given, context_class, user_id=tenant, lenient=lenient)
    named = {issue.path for issue in parsed.issues}
    found = [
        Issue(
            f"{name}.notifications.{one.path}", one.message, "warning" if lenient else one.severity, "bad_notification"
        )
        for name, scope in parsed.classes.items()
        for one in notify.check(scope.notifications)
    ]
    return replace(parsed, issues=(*parsed.issues, *(issue for issue in found if issue.path not in named)))


def save(
    edge: Edge,
    caller: Caller,
    given: Any,
    *,
    author: str,
    commit_message: str,
    context_class: str | None = None,
    base_config_id: str | None = None,
    lenient: bool = False,
) -> revisions.Saved:
    """A new revision of the whole file or of one class, with its entry in the audit log.

    Raises ``ConfigError`` with all issues, and ``RevisionConflict``.
    """
    if context_class is None:
        require_everywhere(caller, Permission.CONFIG_WRITE)
    read(given, caller.tenant, context_class, lenient=lenient).or_raise()
    saved = revisions.save(
        edge.meta,
        caller.tenant,
        given,
        author=author,
        commit_message=commit_message,
        now_ms=edge.clock(),
        context_class=context_class,
        base_config_id=base_config_id,
        lenient=lenient,
    )
    _note(edge, caller, "config.upload", saved, context_class or "")
    backfills.after_upload(edge, caller, saved)
    return saved


def restore(edge: Edge, caller: Caller, revision_id: str, *, base_config_id: str | None) -> revisions.Saved:
    """A new revision with the content of an old one."""
    require_everywhere(caller, Permission.CONFIG_WRITE)
    saved = revisions.restore(
        edge.meta,
        caller.tenant,
        revision_id,
        author=caller.author,
        now_ms=edge.clock(),
        base_config_id=base_config_id,
    )
    _note(edge, caller, "config.restore", saved, revision_id)
    backfills.after_upload(edge, caller, saved)
    return saved


def create_openai_class(edge: Edge, caller: Caller, name: str, api_type: Any) -> dict[str, Any]:
    """Make sure that a class for calls of a language model exists; never overwrites one.

    Raises :class:`BadRequest`, and ``RevisionConflict`` when the uploads of others do not end.
    """
    for _ in range(_TRIES):
        with suppress(revisions.RevisionConflict):  # the caller named no revision: the newest one is meant
            return _create_once(edge, caller, name, api_type)
    return _create_once(edge, caller, name, api_type)


def _create_once(edge: Edge, caller: Caller, name: str, api_type: Any) -> dict[str, Any]:
    made = template(api_type)
    active = revisions.active(edge.meta, caller.tenant)
    if active is not None and name in active.raw:
        return {"context_class": name, "created": False, "config_id": active.id}
    saved = save(
        edge,
        caller,
        made,
        author=caller.author,
        commit_message=f"Create {name} for {api_type}",
        context_class=name,
        # Another upload in between may hold the class; it would be lost without this.
        base_config_id=active.id if active is not None else None,
    )
    return {"context_class": name, "created": True, "config_id": saved.revision.id}


def history(edge: Edge, caller: Caller, *, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """Revisions, newest first, with what the caller may see of each."""
    held = caller.classes(Permission.CONFIG_READ)
    items = []
    for revision in revisions.history(edge.meta, caller.tenant, limit=limit, before=before):
        item = revision.to_json()
        if held is not None:
            item["config"] = visible(caller, Permission.CONFIG_READ, item["config"])
            item["diffs"] = visible_diffs(caller, item["diffs"])
        items.append(item)
    return items


def visible_diffs(caller: Caller, diffs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only the changes inside of classes that the caller may see; a path begins with its class."""
    held = caller.classes(Permission.CONFIG_READ)
    if held is None:
        return diffs
    return [
        d for d in diffs if any(d["path"] == name or d["path"].startswith((f"{name}.", f"{name}[")) for name in held)
    ]


def require_everywhere(caller: Caller, permission: Permission) -> None:
    """For what concerns all classes at once. Raises :class:`Forbidden` for a role of single classes."""
    if caller.classes(permission) is not None:
        raise Forbidden(f"missing permission {permission} for all context classes", hint="name one context class")


def unwrap_events(given: Any) -> list[Any]:
    """Messages from ``{"messages": [...]}`` or a list of them. Raises :class:`BadRequest`."""
    if isinstance(given, Mapping):
        given = given.get("messages")
    if not isinstance(given, list) or not given:
        raise BadRequest("events must be a list of messages", hint='or an object {"messages": [...]}')
    return given


def _note(edge: Edge, caller: Caller, action: str, saved: revisions.Saved, target: str) -> None:
    revision = saved.revision
    after = {"config_id": revision.id, "commit_message": revision.commit_message, "changes": len(revision.diffs)}
    audit.record(
        edge.meta,
        caller.actor,
        action,
        target,
        now_ms=edge.clock(),
        before={"config_id": revision.parent},
        after=after,
    )
