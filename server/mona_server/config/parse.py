"""Reads a whole configuration: text or object in, context classes and all issues out.

>>> parsed = parse('{"LOAN": {"fields": {"amount": {"type": "number"}}}}')
>>> [issue.to_json() for issue in parsed.issues][0]["path"], parsed.issues[0].line
('LOAN.fields.amount.type', 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mona_server.config.functions import ArgContext
from mona_server.config.issues import ConfigError, Issue, Issues, Path, did_you_mean
from mona_server.config.model import ContextClass, FieldVector
from mona_server.config.names import problem_of
from mona_server.config.normal import normal_class
from mona_server.config.read_fields import read_fields
from mona_server.config.read_kpis import read_kpis
from mona_server.config.read_notifications import read_notifications
from mona_server.config.read_stanzas import read_stanzas
from mona_server.config.text import NotJson, read

CLASS_KEYS = (
    "fields",
    "stanzas",
    "stanzas_global_defaults",
    "stanza_global_defaults",
    "notifications",
    "field_vectors",
    "data",
    "main_kpis",
    "segmentations",
    "description",
    "retention_days",
    "time_zone",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A configuration as read. With errors, ``classes`` holds what could be read nevertheless."""

    classes: Mapping[str, ContextClass] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    """Class → object as uploaded, without the user id level."""
    normal: Mapping[str, Any] = field(default_factory=dict)
    """Class without errors → normal form: aliases resolved, segment texts as objects, class segmentations in their fields."""

    @property
    def errors(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.severity == "error")

    @property
    def warnings(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.severity == "warning")

    def or_raise(self) -> Parsed:
        """The same, or :class:`ConfigError` with all issues where there is an error."""
        if self.errors:
            raise ConfigError(self.issues)
        return self


def parse(given: Any, *, user_id: str | None = None, lenient: bool = False) -> Parsed:
    """Reads a configuration: JSON text, or an object. Never raises for what it says; see ``Parsed.or_raise``.

    ``user_id``: when it is the only top-level key, that level is unwrapped. ``lenient``: fields with unknown
    functions and verses of unknown types are kept as inactive, with a warning.
    """
    issues = Issues()
    if isinstance(given, str | bytes):
        try:
            document = read(given.decode() if isinstance(given, bytes) else given)
        except NotJson as error:
            return Parsed(issues=(Issue("", str(error), "error", "not_json", error.line, error.column),))
        except UnicodeDecodeError:
            return Parsed(issues=(Issue("", "the text is not UTF-8", "error", "not_json"),))
        given, issues = document.value, Issues(document.positions)
        for path, place in document.duplicates:
            issues.error(path, "duplicate_key", f"the key {path[-1]!r} stands twice in one object")
            # The place of the second one is the news.
            last = issues.found.pop()
            issues.found.append(Issue(last.path, last.message, last.severity, last.code, *place))
    if not isinstance(given, Mapping):
        issues.error((), "bad_config", "a configuration is an object of context class → configuration")
        return Parsed(issues=tuple(issues.found))
    prefix: Path = ()
    if user_id is not None and list(given) == [user_id] and _is_wrapper(given[user_id]):
        given, prefix = given[user_id], (user_id,)
        issues.positions = {path[1:]: place for path, place in issues.positions.items() if path[:1] == prefix}
    classes, normal = {}, {}
    for name, one in given.items():
        if problem := problem_of(name, parts=True):
            issues.error((name,), "bad_name", f"context class name {problem}")
        if not isinstance(one, Mapping):
            issues.error((name,), "bad_class", 'must be an object such as {"fields": {...}}')
            continue
        before = len(issues.found)
        classes[name] = parse_class(name, one, issues, lenient=lenient)
        if not issues.failed_since(before):
            normal[name] = normal_class(one)
    unique = dict.fromkeys(issues.found)  # one parameter of a stanza is read once for each of its verses
    return Parsed(classes=classes, issues=tuple(unique), raw=dict(given), normal=normal)


def _is_wrapper(given: Any) -> bool:
    """The user id may also be the name of a class: that has fields of its own."""
    return isinstance(given, Mapping) and not isinstance(given.get("fields"), Mapping)


def parse_class(name: str, given: Mapping[str, Any], issues: Issues, *, lenient: bool = False) -> ContextClass:
    """One class, as far as it can be read; what is wrong goes to ``issues``."""
    path: Path = (name,)
    issues.unknown_keys(path, given, CLASS_KEYS)
    data = given.get("data") or {}
    if not isinstance(data, Mapping):
        issues.warning((*path, "data"), "unused_data", "is no object, so no build function can name an entry of it")
        data = {}
    time_zone = _time_zone(given.get("time_zone"), path, issues)
    fields_given = given.get("fields")
    if not isinstance(fields_given, Mapping):
        issues.error((*path, "fields"), "missing_fields", "a context class needs an object of fields")
        fields_given = {}
    segmentations = _mapping(given, "segmentations", path, issues)
    for field_name, one in segmentations.items():
        if field_name not in fields_given:
            hint = did_you_mean(field_name, fields_given)
            issues.error((*path, "segmentations", field_name), "unknown_field", f"no field {field_name!r}{hint}")
        elif not isinstance(one, Mapping):
            message = "must be an object of name → segmentation"
            issues.error((*path, "segmentations", field_name), "bad_segmentation", message)
    class_segmentations = {key: value for key, value in segmentations.items() if isinstance(value, Mapping)}
    context = ArgContext(data=data, time_zone=time_zone)
    fields = read_fields(fields_given, class_segmentations, context, (*path, "fields"), issues, lenient=lenient)
    known = frozenset(fields_given)
    defaults = _defaults(given, path, issues)
    stanzas = read_stanzas(given.get("stanzas") or {}, defaults, name, fields, known, path, issues, lenient=lenient)
    description = given.get("description") or ""
    if not isinstance(description, str):
        issues.error((*path, "description"), "bad_class", "must be a text")
    return ContextClass(
        name=name,
        fields=fields,
        stanzas=stanzas,
        notifications=read_notifications(given.get("notifications") or {}, stanzas, known, path, issues),
        field_vectors=_vectors(given, known, path, issues),
        data=data,
        kpis=read_kpis(given.get("main_kpis") or [], fields, known, (*path, "main_kpis"), issues),
        description=str(description),
        retention_days=_retention(given.get("retention_days"), path, issues),
        time_zone=time_zone,
    )


def _mapping(given: Mapping[str, Any], key: str, path: Path, issues: Issues) -> Mapping[str, Any]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        issues.error((*path, key), "bad_class", "must be an object")
        return {}
    return value


def _defaults(given: Mapping[str, Any], path: Path, issues: Issues) -> Mapping[str, Any]:
    both = [key for key in ("stanzas_global_defaults", "stanza_global_defaults") if given.get(key) is not None]
    if len(both) == 2 and given[both[0]] != given[both[1]]:
        message = f"{both[0]} and {both[1]} are the same key and differ here"
        issues.error((*path, both[1]), "two_defaults", message)
    return _mapping(given, both[0], path, issues) if both else {}


def _vectors(given: Mapping[str, Any], known: frozenset[str], path: Path, issues: Issues) -> dict[str, FieldVector]:
    vectors = {}
    for name, one in _mapping(given, "field_vectors", path, issues).items():
        here = (*path, "field_vectors", name)
        names = one.get("fields") if isinstance(one, Mapping) else None
        if not isinstance(names, list) or not all(isinstance(field_name, str) for field_name in names):
            issues.error(here, "bad_vector", 'must be an object such as {"fields": ["a", "b"]}')
            continue
        issues.unknown_keys(here, one, ("fields", "description"))
        for i, field_name in enumerate(names):
            if field_name not in known:
                message = f"no field {field_name!r}{did_you_mean(field_name, known)}"
                issues.error((*here, "fields", i), "unknown_field", message)
        vectors[name] = FieldVector(fields=tuple(names), description=str(one.get("description") or ""))
    return vectors


def _retention(given: Any, path: Path, issues: Issues) -> int | None:
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
        issues.error((*path, "retention_days"), "bad_class", "must be a whole number of days, or null")
        return None
    return given


def _time_zone(given: Any, path: Path, issues: Issues) -> str:
    if given is None:
        return "UTC"
    try:
        ZoneInfo(given)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError):
        issues.error((*path, "time_zone"), "bad_time_zone", "must be a time zone such as Europe/Berlin")
        return "UTC"
    return str(given)
