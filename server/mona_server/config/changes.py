"""What a new revision means for what was made under the old one: fields to rebuild, verses to run again or to close."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mona_server.config.model import ContextClass, Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Of one context class. Verses are ``(stanza, name)``."""

    fields: tuple[str, ...]
    """Saved fields that are new or whose values may differ; older contexts need them rebuilt."""
    removed_fields: tuple[str, ...]
    verses: tuple[tuple[str, str], ...]
    """Verses that are new, or whose parameters, buckets or fields differ: their insights are made anew."""
    removed_verses: tuple[tuple[str, str], ...]
    """Verses that no longer run: gone, disabled or inactive. Their open insights are closed."""


def changes(old: Mapping[str, ContextClass], new: Mapping[str, ContextClass]) -> dict[str, Changes]:
    """Class → what changed, for classes where anything did. A class without configuration has no fields."""
    found = {}
    for name in {**old, **new}:
        one = _changes(old.get(name, ContextClass(name=name)), new.get(name, ContextClass(name=name)))
        if any((one.fields, one.removed_fields, one.verses, one.removed_verses)):
            found[name] = one
    return found


def _changes(old: ContextClass, new: ContextClass) -> Changes:
    rebuilt = _rebuilt(old, new)
    resegmented = {
        name
        for name, one in new.fields.items()
        if name in old.fields and one.segmentations != old.fields[name].segmentations
    }
    before = {(verse.stanza, verse.name): verse.text for verse in old.verses}
    after = {(verse.stanza, verse.name): verse for verse in new.verses}
    return Changes(
        fields=tuple(name for name in new.saved_fields if name in rebuilt),
        removed_fields=tuple(name for name in old.saved_fields if name not in new.saved_fields),
        verses=tuple(
            key
            for key, verse in after.items()
            if before.get(key) != verse.text or _names(verse.resolved()) & (rebuilt | resegmented)
        ),
        removed_verses=tuple(key for key in before if key not in after),
    )


def _rebuilt(old: ContextClass, new: ContextClass) -> set[str]:
    """Fields whose values may differ: defined otherwise, or built from one that is."""
    surroundings = old.data != new.data or old.time_zone != new.time_zone
    rebuilt: set[str] = set()
    earlier: set[str] = set()
    for name, one in new.fields.items():
        sources = {source for given in one.sources for source in given.names}
        was = old.fields.get(name)
        if (
            was is None
            or _built(one) != _built(was)
            or (surroundings and one.function != "identity")
            or sources & earlier & rebuilt
            # A name means an earlier field or a variable, by the order of the fields.
            or sources & earlier != sources & _before(old, name)
        ):
            rebuilt.add(name)
        earlier.add(name)
    return rebuilt


def _before(context_class: ContextClass, name: str) -> set[str]:
    names = list(context_class.fields)
    return set(names[: names.index(name)])


def _built(field: Field) -> tuple[Any, ...]:
    return field.type, field.function, field.args, field.sources, field.saved, field.active


def _names(resolved: Any) -> set[str]:
    """Every text in the parameters of a verse, also inside of segments: among them the fields that it reads."""
    if isinstance(resolved, str):
        return {resolved, *resolved.split('"')}
    if isinstance(resolved, Mapping):
        return {name for value in resolved.values() for name in _names(value)}
    if isinstance(resolved, list | tuple):
        return {name for value in resolved for name in _names(value)}
    return set()
