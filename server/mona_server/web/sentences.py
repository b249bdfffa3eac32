"""What a signal says, for people: chips of its segment, its windows, its formula with the numbers filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mona_server import words
from mona_server.segment import Segment
from mona_server.web.charts import Bar, Windows, bar, log_bar

Json = dict[str, Any]

_PERIOD_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_STATISTICS = (
    ("ExistenceRatio", "existence_ratio"),
    ("StandardDeviation", "std"),
    ("Sum", "sum"),
    ("SegmentSize", "count"),
    ("NewSegments", "count"),
)


@dataclass(frozen=True, slots=True)
class Segments:
    """A segment as chips: one text per field, and the JSON for copying. ``everybody`` when it has no condition."""

    chips: tuple[str, ...]
    text: str

    @property
    def everybody(self) -> bool:
        return not self.chips


def segment_chips(given: Any) -> Segments:
    """
    >>> segment_chips({"carrier": [{"value": "EV"}], "hour": [{"min_value": 17}]}).chips
    ('carrier = EV', 'hour >= 17')
    """
    segment = Segment.parse(given)
    chips = tuple(" or ".join(option.words(name) for option in options) for name, options in segment.conditions)
    return Segments(chips, segment.text)


def period_s(text: str) -> int:
    """
    >>> period_s("1d"), period_s("2w")
    (86400, 1209600)
    """
    return int(text[:-1]) * _PERIOD_S[text[-1]]


def verse_type(signal: Json) -> str:
    """``AverageSuddenChange``, from the resolved verse or the signal's type."""
    resolved = signal.get("verse") or {}
    kind = str(signal.get("signal_type", ""))
    return str(resolved.get("type") or kind.removeprefix("Kapi").removesuffix("InSegment"))


def family(signal: Json) -> str:
    """Drift, Outlier, SuddenChange, Threshold or NewSegments."""
    kind = verse_type(signal)
    return next((name for name in ("SuddenChange", "Drift", "Outlier", "Threshold") if name in kind), kind)


def statistic(signal: Json) -> str:
    """The statistic of the query service that the verse follows; ``count`` for sizes."""
    kind = verse_type(signal)
    return next((name for start, name in _STATISTICS if kind.startswith(start)), "average")


def resolution_s(signal: Json) -> int:
    """Width of a chart's frame."""
    return period_s((signal.get("verse") or {}).get("time_resolution") or "1d")


def windows(signal: Json) -> Windows:
    """What was judged and with what it was compared. A sudden change judges the last frame against those before it."""
    window = signal["window"]
    if family(signal) == "SuddenChange":
        last = window["to"] - resolution_s(signal)
        return Windows((last, window["to"]), (window["from"], last))
    judged = (window["from"], window["to"])
    compared = (window.get("benchmark_from"), window.get("benchmark_to"))
    return Windows(judged, None if compared[0] is None or compared[1] is None else (compared[0], compared[1]))


def value_words(signal: Json) -> tuple[str, str, str]:
    """How the judged value, the reference and the divisor are called in this family."""
    return {
        "SuddenChange": ("last frame", "percentile", "|percentile - median|"),
        "Drift": ("judged window", "compared window", "std of both"),
        "Outlier": ("this segment", "baseline", "std of the baseline"),
        "Threshold": ("value", "limit", "1"),
    }.get(family(signal), ("share", "before", "1"))


def head_words(signal: Json) -> tuple[str, str]:
    """What stands above the two numbers at the top of an insight's page."""
    percentile = (signal.get("verse") or {}).get("percentile") or 95
    return {
        "SuddenChange": (
            words.day(windows(signal).judged[0]),
            f"Usually {'above' if signal['is_desc'] else 'below'} ({words.number(percentile)} %)",
        ),
        "Drift": ("Judged window", "Compared with"),
        "Outlier": ("This segment", "Baseline"),
        "Threshold": ("Value", "Limit"),
    }.get(family(signal), ("Share now", "Share before"))


def formula(signal: Json) -> str:
    """The level, with this signal's numbers.

    >>> formula({"signal_type": "KapiAverageDriftInSegment", "value": 7763.6, "benchmark": 8803.7, "std": 8471.5,
    ...          "anomaly_level": 0.12277, "is_score_inf": False})
    'level = |judged window - compared window| / std of both = |7\u202f760 - 8\u202f800| / 8\u202f470 = 0.123'
    """
    value, reference, divisor = value_words(signal)
    level = "∞" if signal.get("is_score_inf") else words.number(signal["anomaly_level"])
    names, numbers = (
        f"|{value} - {reference}|",
        f"|{words.number(signal['value'])} - {words.number(signal['benchmark'])}|",
    )
    if signal.get("std") is not None:
        names, numbers = f"{names} / {divisor}", f"{numbers} / {words.number(signal['std'])}"
    return f"level = {names} = {numbers} = {level}"


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition that had to hold: its value against its limit."""

    name: str
    value: str
    exact: str
    bar: Bar | None
    verdict: str
    passed: bool


def gates(signal: Json) -> tuple[Gate, ...]:
    """Level, chance and size, in the order in which they are asked."""
    given = signal.get("gates") or {}
    found = []
    if level := given.get("level"):
        infinite = signal.get("is_score_inf")
        found.append(
            Gate(
                "Anomaly level",
                "∞" if infinite else words.number(level["value"]),
                words.exact(level["value"]),
                bar(level["min"] * 10 if infinite else level["value"], level["min"]),
                f"{'passed' if level['passed'] else 'not passed'}, at least {words.number(level['min'])}",
                level["passed"],
            )
        )
    if chance := given.get("chance"):
        q = chance.get("q_value")
        verdict = "passed" if chance["passed"] else chance.get("reason") or "could be chance"
        asked = q is not None
        found.append(
            Gate(
                "Chance (q-value)",
                ("< 0.0001" if q < 0.0001 else words.number(q, 2)) if asked else words.NO_VALUE,
                words.exact(q),
                log_bar(q, chance["max"]) if asked else None,
                f"{verdict}, at most {words.number(chance['max'])}" if asked else "not asked by this verse",
                chance["passed"],
            )
        )
    least = (signal.get("verse") or {}).get("min_segment_size")
    if least is not None:
        size = signal["segment_size"]
        passed = size >= least
        verdict = f"{'passed' if passed else 'not passed'}, at least {words.count(least)}"
        found.append(Gate("Contexts", words.count(size), words.exact(size), bar(size, least), verdict, passed))
    return tuple(found)


def unit(signal: Json) -> str:
    """What the value axis of a chart counts."""
    metric = signal.get("kapi")
    names = {
        "existence_ratio": "share of contexts with {}",
        "std": "{}, spread",
        "sum": "{}, sum",
        "average": "{}, average",
    }
    return "contexts" if metric is None else names.get(statistic(signal), "{}").format(metric)
