"""Which fields the fold builds: the field builders of the configuration revision that is active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine


class Builder(Protocol):
    """Builds the saved fields of one class; :class:`mona_server.config.fields.FieldBuilder` is one."""

    @property
    def columns(self) -> Mapping[str, Any]:
        """Saved field → type, in order."""
        ...

    def build_row(
        self, values: Mapping[str, Any], context_time_ms: int
    ) -> tuple[list[Any], Sequence[int], list[tuple[str, str]]]:
        """One value or None per column, positions of those that are lists, (field, reason) for each not built."""
        ...


@dataclass(frozen=True, slots=True)
class ClassBuilder:
    """How one class is built in one revision."""

    builder: Builder
    known_variables: frozenset[str]
    """Top-level variables that some field reads; others are offered as new fields."""


@dataclass(frozen=True, slots=True)
class TenantBuilders:
    """The active configuration revision of a tenant, as far as the fold needs it."""

    revision: str
    """Its id; "" where there is no configuration."""
    classes: Mapping[str, ClassBuilder]


NO_CONFIGURATION = TenantBuilders("", {})


class Builders(Protocol):
    """Where the fold asks which configuration is active."""

    def active(self, tenant: str) -> TenantBuilders: ...


class ConfiguredBuilders:
    """The builders of the configurations in ``meta.db``, made once per revision."""

    def __init__(self, meta: Engine) -> None:
        self._meta = meta
        self._made: dict[str, TenantBuilders] = {}

    def active(self, tenant: str) -> TenantBuilders:
        from mona_server.config import revisions
        from mona_server.config.fields import FieldBuilder

        made = self._made.get(tenant, NO_CONFIGURATION)
        if (revisions.active_id(self._meta, tenant) or "") == made.revision:
            return made
        revision = revisions.active(self._meta, tenant)
        if revision is None:
            return NO_CONFIGURATION
        if made.revision != revision.id:
            classes = {
                name: ClassBuilder(FieldBuilder(context_class), _variables(context_class))
                for name, context_class in revision.classes.items()
            }
            made = self._made[tenant] = TenantBuilders(revision.id, classes)
        return made


def _variables(context_class: Any) -> frozenset[str]:
    names = {name for field in context_class.fields.values() for source in field.sources for name in source.names}
    # A path reads the variable that it begins with.
    return frozenset(names | {name.split(".")[0].split("[")[0] for name in names})
