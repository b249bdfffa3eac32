"""Sampling factors: what share of its contexts a client should send, per named configuration and context class."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, delete, insert, select

from mona_server.errors import BadRequest
from mona_server.store.tables_identity import sampling_factors as table

_DEFAULT = ""
"""The context class under which the default factor of a configuration is kept."""


def factors(meta: Engine, tenant: str, config_name: str | None = None) -> list[dict[str, Any]]:
    """``[{"config_name", "factors_map": {class: factor}, "default_factor"}]``, of one name or of all."""
    wanted = select(table).where(table.c.tenant == tenant).order_by(table.c.config_name, table.c.context_class)
    if config_name is not None:
        wanted = wanted.where(table.c.config_name == config_name)
    found: dict[str, dict[str, Any]] = {}
    with meta.connect() as connection:
        for row in connection.execute(wanted).mappings():
            one = found.setdefault(
                row["config_name"], {"config_name": row["config_name"], "factors_map": {}, "default_factor": None}
            )
            if row["context_class"] == _DEFAULT:
                one["default_factor"] = row["factor"]
            else:
                one["factors_map"][row["context_class"]] = row["factor"]
    return list(found.values())


def set_factor(meta: Engine, tenant: str, config_name: Any, sampling_factor: Any, context_class: Any = None) -> None:
    """Sets the factor of one class, or with None the default of the configuration. Raises BadRequest."""
    if not isinstance(config_name, str) or not config_name:
        raise BadRequest("config_name must be a text that is not empty")
    number = isinstance(sampling_factor, int | float) and not isinstance(sampling_factor, bool)
    if not number or not 0 <= sampling_factor <= 1:
        raise BadRequest("sampling_factor must be a number from 0 to 1", hint="1 sends everything, 0 nothing")
    if context_class is not None and (not isinstance(context_class, str) or not context_class):
        raise BadRequest("context_class must be a text that is not empty, or null for the default factor")
    key = {"tenant": tenant, "config_name": config_name, "context_class": context_class or _DEFAULT}
    with meta.begin() as connection:
        connection.execute(delete(table).where(*(table.c[name] == value for name, value in key.items())))
        connection.execute(insert(table), {**key, "factor": sampling_factor})
