"""What every verse type has in common, and a verse as the configuration resolved it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mona_server.detect.parameters import (
    BOOLEAN,
    CADENCE,
    DEPTH,
    DIRECTIONS,
    FIELD,
    FIELDS,
    FRACTION,
    LEVEL,
    PERIOD,
    SEGMENT,
    SEGMENT_BY,
    SEGMENTS,
    SIZE,
    TEXT,
    Derived,
    Group,
    Parameter,
    choice,
    optional,
    period_ms,
)

if TYPE_CHECKING:
    from mona_server.detect.levels import Levels, Scene, Sizes
    from mona_server.detect.source import GroupSums
    from mona_server.detect.windows import Look, Plan


class Statistic(StrEnum):
    """What a verse type follows in a segment."""

    AVERAGE = "average"
    SUM = "sum"
    STD = "std"
    RATIO = "existence ratio"
    SIZE = "size"
    DISTRIBUTION = "distribution"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerseType:
    """One type of anomaly: its parameters, its windows and its formula."""

    type: str
    family: str
    statistic: Statistic
    doc: str
    parameters: tuple[Parameter, ...]
    plan: Callable[[Verse, int, int, Look], Plan | None] = field(repr=False)
    """(verse, T in ms, start of data in ms, look) → what has to be summed and which frames are which window; None
    where there is nothing to compare."""
    sizes: Callable[[Verse, Plan, GroupSums, GroupSums], Sizes] = field(repr=False)
    """(verse, plan, segments, baseline) → sizes and size filters."""
    levels: Callable[[Scene], Levels] = field(repr=False)
    """Exact levels of one metric for all segments of one list of axes."""
    with_baseline: bool = False
    """The baseline itself is a candidate too."""
    ignored: tuple[str, ...] = ()
    """Parameters that may stand in such a verse without meaning."""

    @property
    def has_metrics(self) -> bool:
        """False for sizes and new segments, which look at contexts only."""
        return self.statistic is not Statistic.SIZE

    @property
    def any_field(self) -> bool:
        """Metrics may be fields of every type, not only numeric and boolean ones."""
        return self.statistic in (Statistic.RATIO, Statistic.DISTRIBUTION)

    @property
    def signal_type(self) -> str:
        return f"Kapi{self.type}InSegment" if self.has_metrics else self.type

    def parameter(self, name: str) -> Parameter | None:
        return next((parameter for parameter in self.parameters if parameter.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As ``GET /api/v1/verse_types`` shows it; forms are built from it."""
        return {
            "type": self.type,
            "family": self.family,
            "statistic": str(self.statistic),
            "doc": self.doc,
            "has_metrics": self.has_metrics,
            "any_field": self.any_field,
            "signal_type": self.signal_type,
            "parameters": [parameter.to_json() for parameter in self.parameters],
        }


@dataclass(frozen=True, slots=True)
class Verse:
    """One instruction to search, with every parameter of its type resolved.

    ``values`` are as the kinds read them: segments as :class:`Segment`, ``segment_by`` as ``AxisRequest``, periods as text.
    """

    type: VerseType
    context_class: str
    stanza: str
    values: Mapping[str, Any]
    _written: dict[str, Any] = field(init=False, compare=False, repr=False, default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a parameter that only some types have."""
        return self.values.get(name, default)

    @property
    def name(self) -> str:
        return str(self.values["name"])

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.values["metrics"]) if self.type.has_metrics else ()

    def resolved(self) -> dict[str, Any]:
        """Every parameter as JSON, keys sorted, segments as JSON text: the ``verse`` of a signal."""
        if not self._written:  # thousands of signals may show it
            written = {p.name: p.kind.write(self.values[p.name]) for p in self.type.parameters}
            written |= {"arc_class": self.context_class, "type": self.type.type, "name": self.name}
            self._written.update(sorted(written.items()))
        return dict(self._written)

    @property
    def text(self) -> str:
        """Canonical text of the resolved parameters: equal texts search alike."""
        return json.dumps(self.resolved(), ensure_ascii=False)


def high_urgency(*names: tuple[str, str]) -> tuple[Parameter, ...]:
    """Thresholds that make an insight urgent, e.g. ``("min_score", "score")``."""
    return tuple(
        Parameter(
            f"high_urgency_{name}",
            optional(FRACTION if name.endswith("fraction") else LEVEL),
            None,
            Group.URGENCY,
            f"An insight is urgent when its {words} reaches this.",
        )
        for name, words in names
    )


def set_sizes(prefix: str) -> tuple[Parameter, ...]:
    """The size filters of one of the two sets of a drift (``target`` or ``benchmark``)."""
    words = f"the segment in the {prefix} set"
    return (
        Parameter(f"{prefix}_min_segment_size", SIZE, 1, Group.ADVANCED, f"Least number of contexts of {words}."),
        Parameter(f"{prefix}_min_segment_size_fraction", FRACTION, 0, Group.ADVANCED, f"Least share of {words}."),
        Parameter(f"{prefix}_max_segment_size", optional(SIZE), None, Group.ADVANCED, f"Most contexts of {words}."),
        Parameter(
            f"{prefix}_max_segment_size_fraction",
            optional(FRACTION),
            None,
            Group.ADVANCED,
            f"Largest share of {words}.",
        ),
        Parameter(
            f"{prefix}_baseline_min_segment_size",
            SIZE,
            1,
            Group.ADVANCED,
            f"Least number of contexts of the baseline in the {prefix} set.",
        ),
        *high_urgency(
            (f"{prefix}_min_segment_size", f"number of contexts in the {prefix} set"),
            (f"{prefix}_min_segment_size_fraction", f"share in the {prefix} set"),
            (f"{prefix}_baseline_min_segment_size", f"baseline in the {prefix} set"),
        ),
    )


def common(
    min_anomaly_level: Any, *, metrics: bool = True, depth: int = 3, resolution: Parameter | None = None
) -> tuple[Parameter, ...]:
    """The parameters of every type, in the order in which forms show them."""
    basic, advanced, noise = Group.BASIC, Group.ADVANCED, Group.NOISE
    metric_parameters = (
        Parameter("metrics", FIELDS, (), basic, "Fields whose statistic is followed."),
        Parameter(
            "avoid_same_field_for_segment_and_metric",
            BOOLEAN,
            True,
            noise,
            "A metric is not searched in segments of its own field.",
        ),
    )
    return (
        Parameter("name", TEXT, Derived("<stanza>__<type>", lambda v: f"{v['stanza']}__{v['type']}"), basic, "Name."),
        Parameter("description", TEXT, "", basic, "Free text for people."),
        Parameter("disabled", BOOLEAN, False, advanced, "Does not run while true."),
        Parameter("cadence", CADENCE, "1d", basic, "How often it runs."),
        *(metric_parameters if metrics else ()),
        Parameter(
            "segment_by",
            SEGMENT_BY,
            (),
            basic,
            "Fields whose values, and their intersections, are the segments to search.",
        ),
        Parameter("max_segment_depth", DEPTH, depth, advanced, "Most fields in one intersection (1-4)."),
        Parameter(
            "segment_baseline_by",
            SEGMENT_BY,
            (),
            advanced,
            "Every value and intersection of these fields becomes a baseline in turn, inside which the search is repeated.",
        ),
        Parameter(
            "always_segment_baseline_by",
            SEGMENT_BY,
            (),
            advanced,
            "Fields whose combinations are searched one by one, never all data together.",
        ),
        Parameter("baseline_segment", SEGMENT, SEGMENT.read({}), advanced, "Restricts all data considered."),
        Parameter("exclude_segments", SEGMENTS, (), advanced, "Contexts in any of these are left out."),
        Parameter(
            "timestamp_field_name",
            FIELD,
            "MONA_TIMESTAMP",
            advanced,
            "Time axis: context time, MONA_ARRIVAL_TIMESTAMP, or a timestamp field.",
        ),
        Parameter("min_segment_size", SIZE, 1, basic, "Least number of contexts of a segment."),
        Parameter("min_segment_size_fraction", FRACTION, 0, basic, "Least share of the baseline."),
        Parameter("max_segment_size", optional(SIZE), None, advanced, "Most contexts of a segment."),
        Parameter("max_segment_size_fraction", optional(FRACTION), None, advanced, "Largest share of the baseline."),
        Parameter("baseline_min_segment_size", SIZE, 1, advanced, "Least number of contexts of the baseline."),
        Parameter("min_anomaly_level", LEVEL, min_anomaly_level, basic, "Least level of a signal."),
        Parameter("min_score", LEVEL, 0, advanced, "Least score, level times the square root of the size."),
        Parameter("trend_directions", DIRECTIONS, ("asc", "desc"), basic, "Report rises, falls or both."),
        Parameter("avoid_segmenting_on_missing", BOOLEAN, False, noise, "No segments of missing values."),
        Parameter(
            "create_extra_adjacent_signals",
            BOOLEAN,
            True,
            noise,
            "Test unions of neighbouring buckets, merge sibling values that changed alike.",
        ),
        Parameter(
            "find_related_anomalies_for",
            FIELDS,
            (),
            noise,
            "Fields checked as possible explanations; none = all numeric and boolean ones.",
        ),
        Parameter("avoid_related_anomalies_for", FIELDS, (), noise, "Fields never given as explanations."),
        Parameter(
            "related_anomalies_min_correlation",
            FRACTION,
            0.5,
            noise,
            "Least absolute correlation of the two time series of an explanation.",
        ),
        resolution or Parameter("time_resolution", PERIOD, "1d", Group.VISUALS, "Frame width of charts."),
        Parameter(
            "evaluation_delay",
            PERIOD,
            Derived(
                "5m for cadences below a day, 30m otherwise",
                lambda v: "5m" if period_ms(v["cadence"]) < period_ms("1d") else "30m",
            ),
            advanced,
            "Wait after a window ends, for late data.",
        ),
        Parameter("default_urgency", choice("normal", "high"), "normal", basic, "high: every insight of it is urgent."),
        Parameter(
            "high_urgency_require_all_criteria",
            BOOLEAN,
            False,
            Group.URGENCY,
            "All of the given thresholds must be reached, not only one.",
        ),
        *high_urgency(
            ("min_segment_size", "number of contexts"),
            ("min_segment_size_fraction", "share of the baseline"),
            ("baseline_min_segment_size", "baseline's number of contexts"),
            ("min_score", "score"),
            ("min_anomaly_level", "level"),
        ),
        Parameter(
            "max_false_discovery_rate",
            FRACTION,
            0.05,
            noise,
            "Share of false signals that is tolerated; 1 switches the chance gate off.",
        ),
        Parameter("significance_strict", BOOLEAN, False, noise, "Holds the rate under any dependence of the tests."),
        Parameter("fold_redundant", BOOLEAN, True, noise, "One cause, one insight: fold what repeats it."),
    )


RESOLUTION_IN_FORMULA = Parameter(
    "time_resolution", PERIOD, "1d", Group.BASIC, "Frame width of the time series that the formula uses, and of charts."
)
