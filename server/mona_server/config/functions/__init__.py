"""Build functions: named computations of a field from variables and earlier fields.

One file per group; a function is one declared body in it. :data:`FUNCTIONS` is the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping

from mona_server.config.functions import arithmetic, logic, original
from mona_server.config.functions.declare import (
    Arg,
    ArgContext,
    BadArg,
    BuildFunction,
    Example,
    Group,
    Problem,
    SourceKind,
    collect,
)

GROUPS: tuple[Group, ...] = (
    original.GROUP,
    arithmetic.GROUP,
    logic.GROUP,
)
FUNCTIONS: Mapping[str, BuildFunction] = collect(GROUPS)

__all__ = [
    "FUNCTIONS",
    "GROUPS",
    "Arg",
    "ArgContext",
    "BadArg",
    "BuildFunction",
    "Example",
    "Group",
    "Problem",
    "SourceKind",
]
