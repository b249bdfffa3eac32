"""Points between two steps at which a test may end the process or raise: what a crash there leaves must be sound."""

from __future__ import annotations

from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def point(name: str) -> None:
    """The step before this line is done, the one after it is not."""
    if _hook is not None:
        _hook(name)


def install(hook: Callable[[str], None] | None) -> None:
    """Called with the name of each point that is passed; None takes it away. For tests."""
    global _hook  # noqa: PLW0603
    _hook = hook
