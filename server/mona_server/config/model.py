"""What a configuration says, as frozen values: context classes, fields, segmentations, stanzas, verses.

Read with :func:`mona_server.config.parse`. Nothing here does I/O; everything can be compared and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mona_server.config.segmentations import Segmentation
from mona_server.detect.verses import Verse
from mona_server.segment import ALL, Segment

FieldType = Literal["numeric", "string", "boolean", "timestamp", "geopoint", "geoshape"]
FIELD_TYPES: tuple[FieldType, ...] = ("numeric", "string", "boolean", "timestamp", "geopoint", "geoshape")
KNOWN_TAGS = ("metadata", "id", "label", "prediction", "text")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from: the first of ``names`` that is not null, else ``default``."""

    names: tuple[str, ...]
    default: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column, or one step on the way to a column (``saved`` is false)."""

    name: str
    type: FieldType | None
    """None only for a field that is not saved."""
    function: str = "identity"
    args: tuple[Any, ...] = ()
    sources: tuple[Source, ...] = ()
    saved: bool = True
    segmentations: Mapping[str, Segmentation] = field(default_factory=dict)
    """By name. String, boolean and numeric fields have at least the automatic one."""
    tags: tuple[str, ...] = ()
    description: str = ""
    active: bool = True
    """False: kept from an older file (lenient reading), but its function is unknown here, so it is not built."""

    @property
    def numeric_like(self) -> bool:
        """Statistics make sense on it: numbers, and booleans as 0 and 1."""
        return self.type in ("numeric", "boolean")

    @property
    def segmentable(self) -> bool:
        return self.type in ("numeric", "string", "boolean")

    def segmentation(self, name: str | None = None) -> Segmentation | None:
        """The segmentation of that name, or the default one; None when there is none."""
        if name is not None:
            return self.segmentations.get(name)
        return next((s for s in self.segmentations.values() if s.default), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class InactiveVerse:
    """A verse kept from an older file (lenient reading) whose type is unknown here; it never runs."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stanza:
    """A named list of verses, each with every parameter resolved: verse → stanza → global defaults → its type."""

    name: str
    verses: tuple[Verse, ...]
    inactive: tuple[InactiveVerse, ...] = ()
    description: str = ""


def verse_names(verse: Verse) -> tuple[str, ...]:
    """The names under which a notification rule may mean this verse."""
    return tuple(dict.fromkeys((verse.name, f"{verse.stanza}_{verse.type.type}", f"{verse.stanza}{verse.type.type}")))


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldVector:
    """Fields drawn together as one bar chart."""

    fields: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """One number of the home page."""

    name: str
    field: str | None
    """None for ``count``."""
    type: str
    segment: Segment = ALL
    period: str = "7d"
    compare_to: Literal["previous", "year_ago"] | None = "previous"
    good_direction: Literal["up", "down"] | None = None
    format: str = "number"
    target: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextClass:
    """The whole monitoring scope of one kind of object."""

    name: str
    fields: Mapping[str, Field] = field(default_factory=dict)
    """In order of definition, which is the order of building."""
    stanzas: Mapping[str, Stanza] = field(default_factory=dict)
    notifications: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Rule name → rule as given; the notify room reads them."""
    field_vectors: Mapping[str, FieldVector] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    kpis: tuple[Kpi, ...] = ()
    description: str = ""
    retention_days: int | None = None
    time_zone: str = "UTC"

    @property
    def saved_fields(self) -> Mapping[str, Field]:
        """The columns: fields that are built and saved, in order."""
        return {name: item for name, item in self.fields.items() if item.saved and item.active}

    @property
    def verses(self) -> tuple[Verse, ...]:
        """All verses that may run, in order: those that are not disabled."""
        return tuple(v for stanza in self.stanzas.values() for v in stanza.verses if not v["disabled"])

    def verse(self, name: str) -> Verse | None:
        """The verse of that name, disabled or not. Names are unique within a stanza; the first one found counts."""
        return next((v for s in self.stanzas.values() for v in s.verses if name in verse_names(v)), None)

    @property
    def inactive_verses(self) -> tuple[InactiveVerse, ...]:
        return tuple(v for stanza in self.stanzas.values() for v in stanza.inactive)

    def with_frozen(self, frozen: Mapping[tuple[str, str], Mapping[str, Any]]) -> ContextClass:
        """The same class with the segmentations that were fixed from data: (field, segmentation) → what was stored."""
        fields = dict(self.fields)
        for (name, segmentation), given in frozen.items():
            owner = fields.get(name)
            if owner is not None and segmentation in owner.segmentations:
                fixed = owner.segmentations[segmentation].with_frozen(given)
                fields[name] = replace(owner, segmentations={**owner.segmentations, segmentation: fixed})
        return replace(self, fields=fields)
