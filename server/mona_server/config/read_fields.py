"""Reads the ``fields`` of one context class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mona_server.config.functions import FUNCTIONS, ArgContext, BadArg
from mona_server.config.issues import Issues, Path, did_you_mean
from mona_server.config.model import FIELD_TYPES, Field, Source
from mona_server.config.names import problem_of
from mona_server.config.read_segmentations import read_segmentations

KEYS = (
    "type",
    "function",
    "args",
    "source",
    "sources",
    "segmentations",
    "do_not_save",
    "tags",
    "description",
)


def read_fields(
    given: Mapping[str, Any],
    class_segmentations: Mapping[str, Any],
    context: ArgContext,
    path: Path,
    issues: Issues,
    *,
    lenient: bool,
) -> dict[str, Field]:
    """The fields that could be read, in order. ``class_segmentations``: field → segmentations at class level."""
    fields = {}
    for name, one in given.items():
        here = (*path, name)
        if problem := problem_of(name):
            issues.error(here, "bad_name", f"field name {problem}")
        if not isinstance(one, Mapping):
            issues.error(here, "bad_field", 'must be an object such as {"type": "numeric"}')
            continue
        issues.unknown_keys(here, one, KEYS)
        # The field's own definition wins.
        segmentations = {**(class_segmentations.get(name) or {}), **_object(one.get("segmentations"))}
        if "segmentations" in one and not isinstance(one["segmentations"], Mapping | None):
            issues.error((*here, "segmentations"), "bad_segmentation", "must be an object of name → segmentation")
        field = _read(name, one, segmentations, context, here, issues, lenient=lenient)
        if field is not None:
            fields[name] = field
    _warn_of_later(fields, path, issues)
    return fields


def _object(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def _read(
    name: str,
    given: Mapping[str, Any],
    segmentations: Mapping[str, Any],
    context: ArgContext,
    path: Path,
    issues: Issues,
    *,
    lenient: bool,
) -> Field | None:
    before = len(issues.found)
    saved = given.get("do_not_save") is not True
    if not isinstance(given.get("do_not_save", False), bool):
        issues.error((*path, "do_not_save"), "bad_field", "must be true or false")
    kind = given.get("type")
    if kind is None and saved:
        issues.error((*path, "type"), "missing_type", f"a field that is saved needs a type: {', '.join(FIELD_TYPES)}")
    elif kind is not None and kind not in FIELD_TYPES:
        message = f"{kind!r} is not a type{did_you_mean(str(kind), FIELD_TYPES)}; types are {', '.join(FIELD_TYPES)}"
        issues.error((*path, "type"), "unknown_type", message)
        kind = None
    before_sources = len(issues.found)
    sources = _sources(name, given, path, issues)
    function, args = given.get("function") or "identity", given.get("args")
    if args is None:
        args = []
    elif not isinstance(args, list):
        issues.error((*path, "args"), "bad_args", "must be a list")
        args = []
    active = True
    if not isinstance(function, str) or function not in FUNCTIONS:
        message = f"{function!r} is not a build function{did_you_mean(str(function), FUNCTIONS)}"
        if lenient:
            active = False
            issues.warning((*path, "function"), "unknown_function", f"{message}; the field is kept, but not built")
        else:
            issues.error((*path, "function"), "unknown_function", message)
    elif not issues.failed_since(before_sources):
        sources = _check_function(function, args, sources, given, context, path, issues)
    tags = given.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        issues.error((*path, "tags"), "bad_field", "must be a list of texts")
        tags = []
    description = given.get("description") or ""
    if not isinstance(description, str):
        issues.error((*path, "description"), "bad_field", "must be a text")
        description = ""
    found = read_segmentations(segmentations, kind, (*path, "segmentations"), issues)
    if issues.failed_since(before):
        return None
    return Field(
        name=name,
        type=kind,
        function=str(function),
        args=tuple(args),
        sources=tuple(sources),
        saved=saved,
        segmentations=found,
        tags=tuple(tags),
        description=description,
        active=active,
    )


def _check_function(
    function: str,
    args: list[Any],
    sources: list[Source],
    given: Mapping[str, Any],
    context: ArgContext,
    path: Path,
    issues: Issues,
) -> list[Source]:
    declared = FUNCTIONS[function]
    if declared.max_sources == 0 and "source" not in given and "sources" not in given:
        sources = []
    at: Path = (*path, next((key for key in ("sources", "source") if key in given), "function"))
    if problem := declared.check_sources(len(sources)):
        issues.error(at, "wrong_number_of_sources", problem)
        return sources
    try:
        declared.read_args(args, len(sources), context)
    except BadArg as error:
        issues.error((*path, "args") if error.at is None else (*path, "args", error.at), "bad_args", str(error))
    return sources


def _sources(name: str, given: Mapping[str, Any], path: Path, issues: Issues) -> list[Source]:
    if given.get("source") is not None and given.get("sources") is not None:
        issues.error((*path, "sources"), "two_sources", "give source or sources, not both")
        return []
    if given.get("sources") is not None:
        several = given["sources"]
        if not isinstance(several, list):
            issues.error((*path, "sources"), "bad_source", "must be a list of sources")
            return []
        found = [_source(one, (*path, "sources", i), issues) for i, one in enumerate(several)]
        return [source for source in found if source is not None]
    if given.get("source") is None:
        return [Source((name,))]
    source = _source(given["source"], (*path, "source"), issues)
    return [] if source is None else [source]


def _source(given: Any, path: Path, issues: Issues) -> Source | None:
    default = None
    names = given
    if isinstance(given, Mapping):
        issues.unknown_keys(path, given, ("names", "name", "default_value"))
        names, default = given.get("names", given.get("name")), given.get("default_value")
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list) or not names or not all(isinstance(one, str) and one for one in names):
        issues.error(path, "bad_source", 'must be a name, a list of names or {"names": [...], "default_value": ...}')
        return None
    return Source(tuple(names), default)


def _warn_of_later(fields: Mapping[str, Field], path: Path, issues: Issues) -> None:
    """A name that a later field has means the variable: said where the two differ."""
    order = {name: i for i, name in enumerate(fields)}
    for field in fields.values():
        for name in dict.fromkeys(name for source in field.sources for name in source.names):
            later = fields.get(name)
            if later is None or order[name] <= order[field.name] or is_copy(later):
                continue
            message = f"source {name!r} is the variable, not the field of that name, which is defined later"
            issues.warning((*path, field.name), "source_is_later_field", message)


def is_copy(field: Field) -> bool:
    """Whether the field is its own variable unchanged."""
    return field.function == "identity" and field.sources == (Source((field.name,)),)
