"""Checks of messages, under the names of the original."""

from __future__ import annotations

from mona_sdk.compat import (
    handle_export_error,
    mona_messages_to_dicts_validation,
    update_mona_fields_names,
    validate_inner_message_type,
    validate_mona_single_message,
)

__all__ = [
    "handle_export_error",
    "mona_messages_to_dicts_validation",
    "update_mona_fields_names",
    "validate_inner_message_type",
    "validate_mona_single_message",
]
