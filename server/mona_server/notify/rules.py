"""Which insights an entry is about. One function per rule; all rules of an entry must hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mona_server.notify.notice import Json
from mona_server.segment import Condition, Equals, OneOf, Range, Segment, parse_segments

Rule = Callable[[Any, Json], bool]


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def verse_type(insight: Json) -> str:
    """``AverageDrift`` from the resolved verse, or from ``KapiAverageDriftInSegment``."""
    signal = insight["main_signal"]
    resolved = signal.get("verse") or {}
    return str(resolved.get("type") or signal.get("signal_type", "").removeprefix("Kapi").removesuffix("InSegment"))


def _stanza_names(value: Any, insight: Json) -> bool:
    return insight["stanza_name"] in _names(value)


def _verse_name(value: Any, insight: Json) -> bool:
    stanza, kind = insight["stanza_name"], verse_type(insight)
    return bool({insight["verse_name"], f"{stanza}_{kind}", f"{stanza}{kind}"} & set(_names(value)))


def _verse_types(value: Any, insight: Json) -> bool:
    return verse_type(insight) in _names(value)


def _min_segment_size(value: Any, insight: Json) -> bool:
    """At least this many contexts; a value below 1 is a share of the baseline."""
    signal = insight["main_signal"]
    return bool(signal["segment_size" if value >= 1 else "segment_ratio"] >= value)


def _min_score(value: Any, insight: Json) -> bool:
    return bool(insight["score"] >= value)


def _min_anomaly_level(value: Any, insight: Json) -> bool:
    return bool(insight["main_signal"]["anomaly_level"] >= value)


def _metrics(value: Any, insight: Json) -> bool:
    return insight["main_signal"].get("kapi") in _names(value)


def _segments(value: Any, insight: Json) -> bool:
    main = Segment.parse(insight["main_signal"]["segment"])
    return any(inside(main, wider) for wider in parse_segments(value))


def _segment_fields(value: Any, insight: Json) -> bool:
    return bool(set(Segment.parse(insight["main_signal"]["segment"]).fields) & set(_names(value)))


def _urgency(value: Any, insight: Json) -> bool:
    return insight["urgency"] in _names(value)


def _trend_directions(value: Any, insight: Json) -> bool:
    return ("desc" if insight["main_signal"]["is_desc"] else "asc") in _names(value)


def _timestamp_field_name(value: Any, insight: Json) -> bool:
    return insight.get("timestamp_field_name", "MONA_TIMESTAMP") in _names(value)


RULES: dict[str, Rule] = {
    "stanza_names": _stanza_names,
    "verse_name": _verse_name,
    "verse_types": _verse_types,
    "min_segment_size": _min_segment_size,
    "min_score": _min_score,
    "min_anomaly_level": _min_anomaly_level,
    "metrics": _metrics,
    "segments": _segments,
    "segment_fields": _segment_fields,
    "urgency": _urgency,
    "trend_directions": _trend_directions,
    "timestamp_field_name": _timestamp_field_name,
}
NUMERIC_RULES = ("min_segment_size", "min_score", "min_anomaly_level")


def inside(segment: Segment, wider: Segment) -> bool:
    """Is every context of ``segment`` in ``wider``, as far as the conditions tell?

    >>> city, both = {"city": [{"value": "Haifa"}]}, {"city": [{"value": "Haifa"}], "age": [{"min_value": 20}]}
    >>> inside(Segment.parse(both), Segment.parse(city)), inside(Segment.parse(city), Segment.parse(both))
    (True, False)
    """
    conditions = dict(segment.conditions)
    return all(
        name in conditions and all(any(_implies(own, option) for option in options) for own in conditions[name])
        for name, options in wider.conditions
    )


def _implies(own: Condition, wider: Condition) -> bool:
    if own == wider:
        return True
    if isinstance(own, OneOf):
        return all(_implies(Equals(value), wider) for value in own.values)
    if isinstance(own, Equals) and isinstance(wider, OneOf):
        return own.value in wider.values
    if not isinstance(wider, Range):
        return False
    low = float("-inf") if wider.min_value is None else wider.min_value
    high = float("inf") if wider.max_value is None else wider.max_value
    if isinstance(own, Equals):
        return isinstance(own.value, int | float) and not isinstance(own.value, bool) and low <= own.value < high
    if isinstance(own, Range):
        own_low = float("-inf") if own.min_value is None else own.min_value
        own_high = float("inf") if own.max_value is None else own.max_value
        return low <= own_low and own_high <= high
    return False
