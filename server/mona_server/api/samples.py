"""Contexts to look at while a configuration is made: the latest ones of a class, or messages that came with the request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mona_server.api.caller import Caller
from mona_server.api.edge import Edge
from mona_server.api.identity.roles import Permission
from mona_server.config import Parsed, revisions
from mona_server.config.model import ContextClass
from mona_server.config.preview import build_contexts, check_data
from mona_server.config.suggest import MOST_CONTEXTS, suggest_config
from mona_server.errors import BadRequest, NotFound
from mona_server.ingest import envelope, merge
from mona_server.ingest.limits import Limits
from mona_server.query.fit import class_profile
from mona_server.store.contexts import latest_contexts, read_context


def suggest_from_data(edge: Edge, caller: Caller, *, verses: bool = False) -> dict[str, Any]:
    """The configuration with a field for each variable that nobody reads yet, from the latest contexts per class."""
    names = [info.name for info in edge.store.classes(caller.tenant) if caller.may(Permission.CONFIG_READ, info.name)]
    contexts = {
        name: [one[:2] for one in latest_contexts(edge.store, caller.tenant, name, MOST_CONTEXTS)] for name in names
    }
    return suggest_config(contexts, _visible_config(edge, caller), verses=verses)


def suggest_from_messages(edge: Edge, caller: Caller, messages: list[Any], *, verses: bool = False) -> dict[str, Any]:
    """The same from messages of the request; those with one context id are merged first. Nothing is stored.

    Raises :class:`BadRequest` that names the first message that would be refused.
    """
    now_ms = edge.clock()
    read = envelope.read(msgspec.json.encode({"messages": messages}), now_ms, Limits.of(edge.settings))
    if read.refused:
        index, reason = min(read.refused.items())
        raise BadRequest(f"events[{index}]: {reason}")
    merged: dict[str, dict[str, merge.Context]] = {}
    for message in read.messages:
        caller.require(Permission.CONFIG_READ, message.context_class)
        of_class = merged.setdefault(message.context_class, {})
        key = message.context_id or f" {message.index}"
        after = merge.merge(
            of_class.get(key), message.action, message.values(), export_ms=message.export_ms, arrival_ms=now_ms
        )
        if after is None:
            of_class.pop(key, None)
        else:
            of_class[key] = after
    contexts = {name: [(key, one.values) for key, one in some.items()] for name, some in merged.items()}
    return suggest_config(contexts, _visible_config(edge, caller), verses=verses)


def build(
    edge: Edge, caller: Caller, classes: Mapping[str, ContextClass], ids: Iterable[str] | None, latest: int
) -> dict[str, list[dict[str, Any]]]:
    """The fields that classes would have for stored contexts: those of ``ids``, else the ``latest``, by class."""
    for name in classes:
        caller.require(Permission.CONFIG_READ, name)
    return {
        name: build_contexts(context_class, _contexts(edge, caller.tenant, name, ids, latest), caller.tenant)
        for name, context_class in classes.items()
    }


def with_data_warnings(edge: Edge, caller: Caller, parsed: Parsed) -> Parsed:
    """The same with warnings about how it fits the data of those classes that have some."""
    profiles = {}
    for name, context_class in parsed.classes.items():
        try:
            profiles[name] = class_profile(edge.reader.dataset(caller.tenant, name).facts, context_class)
        except NotFound:
            continue  # neither data nor a configuration yet
    return check_data(parsed, profiles)


def _contexts(
    edge: Edge, tenant: str, name: str, ids: Iterable[str] | None, latest: int
) -> list[tuple[str, dict[str, Any], int]]:
    if ids is None:
        return latest_contexts(edge.store, tenant, name, latest)
    found = []
    for context_id in ids:
        try:
            record = read_context(edge.store, tenant, name, context_id)
        except NotFound:
            continue  # an id belongs to one class; the others do not have it
        found.append((context_id, record.variables, record.time_ms))
    return found


def _visible_config(edge: Edge, caller: Caller) -> dict[str, Any]:
    revision = revisions.active(edge.meta, caller.tenant)
    held = caller.classes(Permission.CONFIG_READ)
    raw = {} if revision is None else revision.raw
    return {name: value for name, value in raw.items() if held is None or name in held}
