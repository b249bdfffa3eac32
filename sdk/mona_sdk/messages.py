"""The sentences, under the name of the original."""

from __future__ import annotations

from mona_sdk.texts import *  # noqa: F403 - this module is nothing but that one
