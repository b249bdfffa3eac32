"""A helper of the original."""

from __future__ import annotations

from mona_sdk.compat import get_boolean_value_for_env_var

__all__ = ["get_boolean_value_for_env_var"]
