"""The difference of two configurations in their normal form.

>>> difference({"LOAN": {"fields": {"x": {"type": "string"}}}}, {"LOAN": {"fields": {"x": {"type": "numeric"}}}})
[{'op': 'change', 'path': 'LOAN.fields.x.type', 'old': 'string', 'new': 'numeric'}]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mona_server.config.issues import Path, render

_NOTHING = object()


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A list of ``{"op": "add"|"remove"|"change", "path", "old", "new"}``, in the order of the new file.

    Objects are compared key by key. Verses are matched by name (or by type, where that names one verse), so that a
    verse more at the front is one addition. Any other list is one value. A changed order of fields or verses alone,
    which changes how fields are built, is a change of ``order`` of their object.
    """
    found: list[dict[str, Any]] = []
    _objects(old, new, (), found)
    return found


def _objects(old: Mapping[str, Any], new: Mapping[str, Any], path: Path, found: list[dict[str, Any]]) -> None:
    for key in old:
        if key not in new:
            found.append({"op": "remove", "path": render((*path, key)), "old": old[key], "new": None})
    for key, value in new.items():
        before = old.get(key, _NOTHING)
        if before is _NOTHING:
            found.append({"op": "add", "path": render((*path, key)), "old": None, "new": value})
        else:
            _values(before, value, (*path, key), found)
    if path and path[-1] == "fields":
        kept, order = [key for key in old if key in new], [key for key in new if key in old]
        if kept != order:
            found.append({"op": "change", "path": render((*path, "order")), "old": kept, "new": order})


def _values(old: Any, new: Any, path: Path, found: list[dict[str, Any]]) -> None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        _objects(old, new, path, found)
    elif path[-1] == "verses" and (named := _named(old)) is not None and (named_new := _named(new)) is not None:
        _objects(named, named_new, path, found)
    elif not _same(old, new):
        found.append({"op": "change", "path": render(path), "old": old, "new": new})


def _named(verses: Any) -> dict[str, Any] | None:
    """Verses by name or type; None where that is not unique."""
    if not isinstance(verses, list) or not all(isinstance(verse, Mapping) for verse in verses):
        return None
    named = {str(verse.get("name") or verse.get("type")): verse for verse in verses}
    return named if len(named) == len(verses) else None


def _same(old: Any, new: Any) -> bool:
    """Equal, and true is not 1."""
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(_same(a, b) for a, b in zip(old, new, strict=True))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    return bool(old == new)
