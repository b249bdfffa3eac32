"""Which version is the newest."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mona_server.detect.source import AxisRequest, SumsSource
from mona_server.detect.windows import Look, question
from mona_server.segment import Equals, Segment

if TYPE_CHECKING:
    from mona_server.detect.verses.base import Verse


def newest_first(verse: Verse, edges_ms: NDArray[np.int64], look: Look) -> list[Equals]:
    """The versions with data in these frames, the newest first; contexts without a version are left out.

    ``LATEST_TO_RECEIVE_DATA``: by last context, ties by first context; ``FIRST_SEEN``: by first context;
    ``ALPHABETICAL``; ``SEMANTIC``: numbers inside of the text compare as numbers (1.10 after 1.9), and a
    pre-release (1.2.0-rc1) comes before its release.
    """
    ask = question(verse, edges_ms)
    ask = replace(ask, axes=(AxisRequest(verse["version_field"]),), metrics=(ask.timestamp_field,))
    source = look(ask)
    groups = source.sums((0,))
    found = []
    for row, (code,) in enumerate(groups.codes):
        version = source.axes[0].conditions[code]
        frames = np.flatnonzero(groups.size[row] > 0)
        if isinstance(version, Equals) and version.value is not None and len(frames):
            found.append((version, int(frames[0]), int(frames[-1])))
    order = verse["order_versions_by"]
    if order == "ALPHABETICAL":
        found.sort(key=lambda item: str(item[0].value), reverse=True)
    elif order == "SEMANTIC":
        found.sort(key=lambda item: semantic_key(str(item[0].value)), reverse=True)
    else:
        exact = {
            item[0].value: (_moment(source, item, verse, last=True), _moment(source, item, verse, last=False))
            for item in found
        }
        by_last = order == "LATEST_TO_RECEIVE_DATA"
        found.sort(key=lambda item: (exact[item[0].value][:: 1 if by_last else -1], str(item[0].value)), reverse=True)
    return [version for version, _, _ in found]


def semantic_key(version: str) -> tuple[tuple[tuple[int, int, str], ...], int, str]:
    """A key that sorts ``v1.9`` before ``1.10``, and ``1.10-rc1`` before ``1.10``.

    >>> sorted(["1.10", "v1.9", "1.10-rc1"], key=semantic_key)
    ['v1.9', '1.10-rc1', '1.10']
    """
    core, _, pre = version.lower().lstrip("v").partition("-")
    parts = tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.findall(r"\d+|[a-z]+", core))
    return parts, 0 if pre else 1, pre


def _moment(source: SumsSource, item: tuple[Equals, int, int], verse: Verse, *, last: bool) -> float:
    """Time of the first or last context, looked up in the one frame that holds it."""
    frame = item[2] if last else item[1]
    segment = Segment.of({verse["version_field"]: item[0]})
    times = source.net_values(segment, verse["timestamp_field_name"], frame, frame + 1).values
    return float(times.max() if last else times.min())
