"""How the metric of an insight is spread: the judged contexts beside those that they were compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mona_server.detect.parameters import period_ms
from mona_server.detect.sliced import both
from mona_server.insights.evidence import verse_of
from mona_server.query import service
from mona_server.query.reader import Dataset
from mona_server.segment import Segment, parse_segments

Json = dict[str, Any]


def distribution(dataset: Dataset, signal: Mapping[str, Any], stanza: str) -> Json | None:
    """The histograms of a main signal's metric on common bins, from the data as it is now.

    ``{"field", "target": {"from", "to", "segment", "size", "statistics", "histogram"}, "benchmark": the same or None,
    "js_distance", "exact"}``. A drift compares two windows, a sudden change the last frame with those before it, every
    other verse the segment with its baseline; there is no benchmark where segment and baseline are the same.
    None for a signal without a metric. Raises BadRequest where the field is gone or cannot be counted in bins.
    """
    if signal.get("kapi") is None:
        return None
    target, benchmark = _sides(signal, stanza)
    verse = signal["verse"]
    asked = {
        "a": target,
        "b": benchmark or target,
        "fields": [signal["kapi"]],
        "excluded_segments": [one.to_json() for one in parse_segments(verse.get("exclude_segments"))],
        "timestamp_field_name": verse.get("timestamp_field_name") or "MONA_TIMESTAMP",
    }
    found = service.compare(dataset, service.CompareRequest.parse(dataset, asked))
    (field,) = found["fields"]

    def shown(side: str, place: Json) -> Json:
        return place | {
            "size": found[side]["size"],
            "statistics": field[side],
            "histogram": field["histograms"][side],
        }

    return {
        "field": field["field"],
        "target": shown("a", target),
        "benchmark": shown("b", benchmark) if benchmark else None,
        "js_distance": field["js_distance"] if benchmark else None,
        "exact": found["exact"],
    }


def _sides(signal: Mapping[str, Any], stanza: str) -> tuple[Json, Json | None]:
    """Window and segment of both populations."""
    window = signal["window"]
    verse = verse_of(signal["verse"], stanza)
    baseline, segment = Segment.parse(signal["baseline_segment"]), Segment.parse(signal["segment"])
    inside = both(baseline, segment)
    judged = {"from": window["from"], "to": window["to"]}
    if verse.type.family == "SuddenChange":
        last = window["to"] - period_ms(verse["time_resolution"]) // 1000
        judged, compared = {"from": last, "to": window["to"]}, {"from": window["from"], "to": last}
    elif window["benchmark_from"] is not None:
        compared = {"from": window["benchmark_from"], "to": window["benchmark_to"]}
    elif inside == baseline:
        return judged | {"segment": inside.to_json()}, None
    else:
        return judged | {"segment": inside.to_json()}, judged | {"segment": baseline.to_json()}
    return judged | {"segment": inside.to_json()}, compared | {"segment": inside.to_json()}
