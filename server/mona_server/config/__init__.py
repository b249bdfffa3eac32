"""Configuration: context classes, their fields, segmentations and verses.

``parse`` reads a file, ``fields.FieldBuilder`` builds the columns of a context, ``revisions`` keeps what was uploaded,
``suggest`` proposes a configuration from messages, ``functions.FUNCTIONS`` is the table of build functions.
"""

from __future__ import annotations

from mona_server.config.issues import ConfigError, Issue
from mona_server.config.model import ContextClass, Field, Kpi, Stanza, verse_names
from mona_server.config.parse import Parsed, parse
from mona_server.config.segmentations import Buckets, Segmentation

__all__ = [
    "Buckets",
    "ConfigError",
    "ContextClass",
    "Field",
    "Issue",
    "Kpi",
    "Parsed",
    "Segmentation",
    "Stanza",
    "parse",
    "verse_names",
]
