"""The role table, cell by cell, against the table of the specification written out by hand."""

from __future__ import annotations

import pytest

from mona_server.api.caller import Caller
from mona_server.api.identity.roles import ROLES, Grant, Permission, classes, permissions
from mona_server.errors import Forbidden

# columns: config read, write | insights read, archive, feedback | investigate | data | users | send
TABLE = {
    "Admin": "11 111 1 1 1 1",
    "Viewer": "10 101 1 0 0 0",
    "Participant": "00 100 1 0 0 0",
    "Context Class Admin": "11 111 1 1 0 0",
    "Context Class Viewer": "10 101 1 0 0 0",
    "Context Class Participant": "00 100 1 0 0 0",
    "HasMonaAccess": "00 000 0 0 0 0",
    "Exporter": "00 000 0 0 0 1",
    "API Reader": "10 100 1 0 0 0",
    "Anybody (auth.allow_no_auth)": "11 111 1 1 0 1",
}
CELLS = [
    (role, permission, cell == "1")
    for role, row in TABLE.items()
    for permission, cell in zip(Permission, row.replace(" ", ""), strict=True)
]


def test_every_role_is_in_the_table() -> None:
    """A role cannot be added without its row here."""
    assert set(ROLES) == set(TABLE)


@pytest.mark.parametrize(("role", "permission", "allowed"), CELLS)
def test_cell(role: str, permission: Permission, allowed: bool) -> None:
    """Each role has exactly the rights of the specification, and a class role only in its class."""
    per_class = ROLES[role].per_class
    caller = Caller(tenant="t", grants=(Grant(role, "LOAN" if per_class else None),))
    assert caller.may(permission, "LOAN") is allowed
    assert caller.may(permission) is allowed
    assert caller.may(permission, "OTHER") is (allowed and not per_class)
    if not allowed:
        with pytest.raises(Forbidden, match=permission):
            caller.require(permission, "LOAN")


def test_rights_add_up() -> None:
    """A user with two class roles has each right where one of them gives it."""
    grants = (
        Grant("HasMonaAccess"),
        Grant("Context Class Admin", "A"),
        Grant("Context Class Participant", "B"),
    )
    assert classes(grants, Permission.INSIGHTS_READ) == frozenset({"A", "B"})
    assert classes(grants, Permission.CONFIG_WRITE) == frozenset({"A"})
    assert classes(grants, Permission.USERS_MANAGE) == frozenset()
    assert "mona.config.write" in permissions(grants)
    assert classes((*grants, Grant("Viewer")), Permission.CONFIG_READ) is None
