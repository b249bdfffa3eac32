"""What pages read: the one place where this room asks the store, the query service and the insights."""

from __future__ import annotations

from mona_server.config import revisions
from mona_server.config.model import ContextClass
from mona_server.web.pages import Visit


class Reading:
    """Reads for one visit: only its tenant, and only the class that its shell allows."""

    def __init__(self, visited: Visit) -> None:
        self._edge = visited.edge
        self._tenant = visited.caller.tenant
        self._classes = frozenset(visited.shell.classes)
        self._current = visited.shell.current

    def contexts(self) -> int:
        """Contexts of all classes that the visitor may see."""
        return sum(info.contexts for info in self._edge.store.classes(self._tenant) if info.name in self._classes)

    def configuration(self) -> ContextClass | None:
        """The configuration of the current class, or None."""
        revision = revisions.active(self._edge.meta, self._tenant)
        return None if revision is None or self._current is None else revision.classes.get(self._current)
