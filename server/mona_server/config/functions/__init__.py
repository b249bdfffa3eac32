"""Build functions: named computations of a field from variables and earlier fields.

One file per group; a function is one declared body in it. :data:`FUNCTIONS` is the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping

from mona_server.config.functions import (
    arithmetic,
    arrays,
    kinds_of_values,
    logic,
    models,
    original,
    text,
    text_statistics,
    time,
)
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
    text.GROUP,
    arrays.GROUP,
    time.GROUP,
    kinds_of_values.GROUP,
    text_statistics.GROUP,
    models.GROUP,
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
