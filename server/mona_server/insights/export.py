"""One insight as one file that proves itself: the question, the sums, and what came out; computed again by anybody."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mona_server
from mona_server.errors import BadRequest
from mona_server.insights import evidence, listing
from mona_server.insights.repository import to_json
from mona_server.store.store import Store

FORMAT = "mona-insight/1"
CLOSE = 1e-12


def export(store: Store, tenant: str, insight_id: str, *, public_url: str = "") -> dict[str, Any]:
    """The file of an insight, as JSON. Raises NotFound."""
    row, comments = listing.load(store, tenant, insight_id)
    return {
        "format": FORMAT,
        "written_by": f"mona {mona_server.__version__}",
        "insight": to_json(row, public_url=public_url, comments=len(comments)),
        "comments": comments,
        "sums": row.evidence,
    }


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What the sums of a file give, beside what the file says."""

    value: float
    benchmark: float
    std: float | None
    anomaly_level: float
    score: float
    agrees: bool


def recompute(file: Mapping[str, Any]) -> Recomputed:
    """Compute the main signal of an exported file from its sums, by the formulas of this version.

    Raises BadRequest for another format, or a file without sums (distributions).
    """
    found = file.get("format") if isinstance(file, Mapping) else None
    if found != FORMAT:
        raise BadRequest(f"{found!r} is no format of an insight file", hint=f"known is {FORMAT}")
    try:
        signal, kept = file["insight"]["main_signal"], file["sums"]
    except (KeyError, TypeError):
        raise BadRequest("the file lacks the insight or its sums") from None
    if not kept or not kept.get("exact", True):
        raise BadRequest("this insight was kept without sums, so it cannot be computed from its file")
    verse = evidence.verse_of(signal["verse"], signal["stanza_name"])
    levels = evidence.recompute(verse, kept)
    level = float(levels.level[0])
    std = float(levels.std[0])
    score = level if levels.infinite[0] else level * math.sqrt(signal["segment_size"])
    pairs = ((float(levels.value[0]), signal["value"]), (level, signal["anomaly_level"]), (score, signal["score"]))
    agrees = all(math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) for a, b in pairs)
    return Recomputed(
        float(levels.value[0]), float(levels.benchmark[0]), None if math.isnan(std) else std, level, score, agrees
    )
