"""What a configuration would make of contexts: the second half of validation, before anything is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mona_server.config.fields import FieldBuilder
from mona_server.config.issues import Issues, Path
from mona_server.config.model import ContextClass
from mona_server.config.parse import Parsed
from mona_server.config.segmentations import WARN_BUCKETS, TooManyBuckets

MOST_PREVIEWED = 1_000
DROPPED_SHARE = 0.2
MANY_VALUES = 10_000


def build_contexts(
    context_class: ContextClass, contexts: Iterable[tuple[str, Mapping[str, Any], int]], user_id: str
) -> list[dict[str, Any]]:
    """``field_building_results`` of one class. ``contexts``: (id, merged variables, context time in ms)."""
    builder = FieldBuilder(context_class)
    results = []
    for context_id, values, time_ms in contexts:
        fields, problems = builder.build(values, time_ms)
        results.append(
            {
                "context": context_id,
                "user_id": user_id,
                "arc_class": context_class.name,
                "timestamp": time_ms / 1000,
                "fields": {name: fields.get(name) for name in builder.columns},
                "errors": [{"field": name, "reason": reason} for name, reason in problems],
            }
        )
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProfile:
    """What the data of one field looks like. Every number may be unknown (None)."""

    count: int
    """Contexts with a value."""
    distinct: int | None = None
    low: float | None = None
    high: float | None = None
    outside: Mapping[str, int] = field(default_factory=dict)
    """Segmentation name → values that are in none of its buckets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassProfile:
    """What the data of one class looks like."""

    contexts: int
    fields: Mapping[str, FieldProfile]


def check_data(parsed: Parsed, profiles: Mapping[str, ClassProfile]) -> Parsed:
    """The same with warnings about how the configuration fits the data; classes without data get none."""
    issues = Issues()
    for name, context_class in parsed.classes.items():
        profile = profiles.get(name)
        if profile is not None and profile.contexts > 0:
            _check_fields(context_class, profile, issues)
            _check_verses(context_class, profile, issues)
    unique = tuple(dict.fromkeys(issues.found))
    return Parsed(classes=parsed.classes, issues=(*parsed.issues, *unique), raw=parsed.raw, normal=parsed.normal)


def _check_fields(context_class: ContextClass, profile: ClassProfile, issues: Issues) -> None:
    for owner in context_class.saved_fields.values():
        seen = profile.fields.get(owner.name)
        if seen is None or owner.type != "numeric":
            continue
        for one in owner.segmentations.values():
            path: Path = (context_class.name, "fields", owner.name, "segmentations", one.name)
            outside = seen.outside.get(one.name, 0)
            if outside > DROPPED_SHARE * seen.count:
                share = outside / seen.count
                issues.warning(path, "drops_data", f"{share:.0%} of the values are outside of its bounds")
            if one.numeric and one.frozen and seen.low is not None and seen.high is not None:
                try:
                    many = len(one.buckets(seen.low, seen.high))
                except TooManyBuckets:
                    many = WARN_BUCKETS + 1
                if many > WARN_BUCKETS:
                    message = (
                        f"gives more than {WARN_BUCKETS} buckets over the data ({seen.low:.6g} to {seen.high:.6g})"
                    )
                    issues.warning(path, "many_buckets", message)


def _check_verses(context_class: ContextClass, profile: ClassProfile, issues: Issues) -> None:
    for stanza in context_class.stanzas.values():
        for verse in stanza.verses:
            path: Path = (context_class.name, "stanzas", stanza.name, verse.name)
            for metric in verse.metrics:
                seen = profile.fields.get(metric)
                if seen is not None and seen.count == 0:  # a field that is new here may be built yet
                    issues.warning(path, "metric_without_data", f"metric {metric!r} has no value in the data so far")
            for axis in verse.get("segment_by", ()):
                owner, seen = context_class.fields.get(axis.field), profile.fields.get(axis.field)
                if owner is None or seen is None or owner.type != "string" or seen.distinct is None:
                    continue
                if seen.distinct > MANY_VALUES:
                    message = f"segment_by {axis.field!r} has {seen.distinct} values; only the largest are searched"
                    issues.warning(path, "many_values", message)
            if verse["min_segment_size"] > profile.contexts:
                message = f"min_segment_size {verse['min_segment_size']} is above all {profile.contexts} contexts"
                issues.warning(path, "never_fires", message)
