"""The role table: the one place that says what a role may do.

The documentation and the tests are made from :data:`ROLES`; every route names one :class:`Permission`
(``api.guard``), so a right that is not in this table does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mona_server.errors import BadRequest


class Permission(StrEnum):
    """What a route asks for. The text is what a 403 names and what a token's claim lists."""

    CONFIG_READ = "mona.config.read"
    CONFIG_WRITE = "mona.config.write"
    INSIGHTS_READ = "mona.insights.read"
    INSIGHTS_ARCHIVE = "mona.insights.archive"
    INSIGHTS_FEEDBACK = "mona.insights.feedback"
    """Feedback, comments, snooze, assignee."""
    INVESTIGATE = "mona.investigations.read"
    """Every query of data, and saved views."""
    DATA_MANAGE = "mona.data.manage"
    """Deletes, backfill, runs on demand, imports, events."""
    USERS_MANAGE = "mona.users.manage"
    """Users, tokens, single sign-on, audit log, settings."""
    SEND = "mona.messages.send"
    """Messages, and the sampling factors that a sending client needs."""


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of rights. ``per_class``: counts only inside of the context class it was given for."""

    name: str
    permissions: frozenset[Permission]
    per_class: bool = False
    assignable: bool = True


_P = Permission
_READ = frozenset({_P.CONFIG_READ, _P.INSIGHTS_READ, _P.INVESTIGATE})
_VIEW = _READ | {_P.INSIGHTS_FEEDBACK}
_PARTICIPATE = frozenset({_P.INSIGHTS_READ, _P.INVESTIGATE})
_ADMIN_OF_CLASS = _VIEW | {_P.CONFIG_WRITE, _P.INSIGHTS_ARCHIVE, _P.DATA_MANAGE}

ANYBODY = Role("Anybody (auth.allow_no_auth)", frozenset(Permission) - {_P.USERS_MANAGE}, assignable=False)
"""A caller without a token, on a server that was set to let them in."""

ROLES = {
    role.name: role
    for role in (
        Role("Admin", frozenset(Permission)),
        Role("Viewer", _VIEW),
        Role("Participant", _PARTICIPATE),
        Role("Context Class Admin", _ADMIN_OF_CLASS, per_class=True),
        Role("Context Class Viewer", _VIEW, per_class=True),
        Role("Context Class Participant", _PARTICIPATE, per_class=True),
        Role("HasMonaAccess", frozenset()),
        Role("Exporter", frozenset({_P.SEND})),
        Role("API Reader", _READ),
        ANYBODY,
    )
}

ASSIGNABLE = tuple(role.name for role in ROLES.values() if role.assignable)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role given to a user or token; ``context_class`` only for roles that count per class."""

    role: str
    context_class: str | None = None

    def to_json(self) -> dict[str, str | None]:
        return {"role": self.role, "arc_class": self.context_class}


def parse_grants(given: Iterable[object]) -> tuple[Grant, ...]:
    """Grants from ``["Admin"]`` or ``[{"role": "Context Class Viewer", "arc_class": "LOAN"}]``.

    Raises :class:`BadRequest` for an unknown role, and for a class that is missing or not wanted.
    """
    grants = []
    for item in given:
        if isinstance(item, str):
            name, context_class = item, None
        elif isinstance(item, dict) and isinstance(item.get("role"), str):
            name, context_class = item["role"], item.get("arc_class") or item.get("context_class")
        else:
            raise BadRequest("a role must be a name or an object", hint='for example {"role": "Viewer"}')
        role = ROLES.get(name)
        if role is None or not role.assignable:
            raise BadRequest(f"unknown role: {name}", hint=f"known are {', '.join(ASSIGNABLE)}")
        if role.per_class and not isinstance(context_class, str):
            raise BadRequest(f"the role {name} needs a context class", hint='add "arc_class"')
        if not role.per_class and context_class is not None:
            raise BadRequest(f"the role {name} holds everywhere", hint='leave "arc_class" out')
        grants.append(Grant(name, context_class))
    if not grants:
        raise BadRequest("at least one role is needed", hint=f"known are {', '.join(ASSIGNABLE)}")
    return tuple(grants)


def permissions(grants: Iterable[Grant]) -> list[str]:
    """The union of all rights, sorted: the ``permissions`` claim of an access token."""
    return sorted({str(right) for grant in grants for right in ROLES[grant.role].permissions})


def classes(grants: Iterable[Grant], permission: Permission) -> frozenset[str] | None:
    """The context classes in which ``permission`` holds; None = in every class, empty = nowhere."""
    named = set()
    for grant in grants:
        role = ROLES[grant.role]
        if permission in role.permissions:
            if not role.per_class or grant.context_class is None:
                return None
            named.add(grant.context_class)
    return frozenset(named)


def table_markdown() -> str:
    """The role table as Markdown, for ``docs/security.md``."""
    head = ["role", *(str(permission) for permission in Permission)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for role in ROLES.values():
        word = "in its class" if role.per_class else "yes"
        cells = [word if permission in role.permissions else "" for permission in Permission]
        lines.append("| " + " | ".join([role.name, *cells]) + " |")
    return "\n".join(lines)
