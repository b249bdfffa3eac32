"""The verse types: one file per family, and one line here."""

from __future__ import annotations

from mona_server.detect.verses import distribution, drift, new_segments, outlier, sudden_change, threshold, versions
from mona_server.detect.verses.base import Statistic, Verse, VerseType
from mona_server.detect.verses.resolve import REFUSED, Problem, resolve

VERSES: dict[str, VerseType] = {
    verse_type.type: verse_type
    for family in (drift, versions, distribution, outlier, sudden_change, threshold, new_segments)
    for verse_type in family.TYPES
}

__all__ = ["REFUSED", "VERSES", "Problem", "Statistic", "Verse", "VerseType", "resolve"]
