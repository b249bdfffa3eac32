"""Helpers of the tests of configuration: a class and its builder in one line."""

from __future__ import annotations

from typing import Any

from mona_server.config import ContextClass, parse
from mona_server.config.fields import FieldBuilder


def read_class(fields: dict[str, Any], **rest: Any) -> ContextClass:
    """A class of these fields, checked as an upload would be."""
    return parse({"C": {"fields": fields, **rest}}).or_raise().classes["C"]


def built(fields: dict[str, Any], variables: dict[str, Any], time_ms: int = 0, **rest: Any) -> dict[str, Any]:
    """The fields of one context; every field must build."""
    values, problems = FieldBuilder(read_class(fields, **rest)).build(variables, time_ms)
    assert problems == []
    return values


def problems_of(fields: dict[str, Any], variables: dict[str, Any], **rest: Any) -> list[tuple[str, str]]:
    """What could not be built."""
    return FieldBuilder(read_class(fields, **rest)).build(variables, 0)[1]


def codes(given: Any, **how: Any) -> list[tuple[str, str, str]]:
    """(path, code, severity) of all issues of a configuration."""
    return [(issue.path, issue.code, issue.severity) for issue in parse(given, **how).issues]
