"""Mona server: messages in, contexts, fields, segments and insights out.

``mona_server.check(table, config, now=...)`` is the search on a table, without a server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mona_server.insights.check import check as check

__version__ = "0.1.0"
__all__ = ["__version__", "check"]


def __getattr__(name: str) -> Any:
    """``check`` is imported when it is first asked for: it brings the search with it."""
    if name == "check":
        from mona_server.insights.check import check

        return check
    raise AttributeError(f"module 'mona_server' has no attribute {name!r}")
