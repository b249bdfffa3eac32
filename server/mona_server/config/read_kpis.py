"""Reads ``main_kpis``: the numbers of the home page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mona_server.config.issues import Issues, Path, did_you_mean
from mona_server.config.model import Field, Kpi
from mona_server.detect.parameters import BadValue, period_ms
from mona_server.segment import Segment, SegmentError

KEYS = ("name", "field", "type", "segment", "period", "compare_to", "good_direction", "format", "target")
STATISTICS = (
    "average",
    "sum",
    "variance",
    "normalized_variance",
    "std",
    "standard_error",
    "interquartile_range",
    "existence_ratio",
    "count",
    "min",
    "max",
    "median",
    "p05",
    "p25",
    "p75",
    "p95",
    "p99",
    "distinct_count",
)
"""Statistics that give one number of one field."""
ANY_FIELD = ("existence_ratio", "distinct_count")
FORMATS = ("number", "percent", "bytes", "seconds")


def read_kpis(
    given: Any, fields: Mapping[str, Field], known: frozenset[str], path: Path, issues: Issues
) -> tuple[Kpi, ...]:
    """The KPIs that can be shown; an entry of another shape is kept in the file, with a warning."""
    if not isinstance(given, list):
        issues.warning(path, "unknown_kpi", "is not a list, so no KPI is shown")
        return ()
    kpis = []
    for i, one in enumerate(given):
        here = (*path, i)
        kpi_type = one.get("type") if isinstance(one, Mapping) else None
        statistic = kpi_type.replace(" ", "_") if isinstance(kpi_type, str) else None
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str) or statistic is None:
            issues.warning(here, "unknown_kpi", 'is not shown: a KPI has "name", "type" and, but for count, "field"')
            continue
        issues.unknown_keys(here, one, KEYS)
        before = len(issues.found)
        kpi = _read(one, statistic, fields, known, here, issues)
        if not issues.failed_since(before):
            kpis.append(kpi)
    return tuple(kpis)


def _read(
    given: Mapping[str, Any],
    statistic: str,
    fields: Mapping[str, Field],
    known: frozenset[str],
    path: Path,
    issues: Issues,
) -> Kpi:
    if statistic not in STATISTICS:
        message = (
            f"{statistic!r} is no statistic{did_you_mean(statistic, STATISTICS)}; known are {', '.join(STATISTICS)}"
        )
        issues.error((*path, "type"), "unknown_statistic", message)
    name = given.get("field")
    if statistic != "count" and (not isinstance(name, str) or name not in known):
        hint = did_you_mean(str(name), known)
        issues.error((*path, "field"), "unknown_field", f"no field {name!r}{hint}")
    field = fields.get(name) if isinstance(name, str) else None
    if field is not None and statistic not in ("count", *ANY_FIELD) and not field.numeric_like:
        message = f"{statistic} needs a numeric or boolean field, and {name!r} is a {field.type} field"
        issues.error((*path, "field"), "not_numeric", message)
    segment = Segment()
    try:
        segment = Segment.parse(given.get("segment"))
        for segment_field in segment.fields:
            if segment_field not in known:
                message = f"no field {segment_field!r}{did_you_mean(segment_field, known)}"
                issues.error((*path, "segment"), "unknown_field", message)
    except SegmentError as error:
        issues.error((*path, "segment"), "bad_segment", str(error))
    period = given.get("period", "7d")
    try:
        period_ms(period)
    except BadValue as error:
        issues.error((*path, "period"), "bad_period", str(error))
    for key, choices in (("compare_to", ("previous", "year_ago")), ("good_direction", ("up", "down"))):
        if given.get(key) not in (None, *choices):
            issues.error((*path, key), "bad_kpi", f"must be one of {', '.join(choices)}, or null")
    shown_as = given.get("format") or "number"
    if not isinstance(shown_as, str) or not (shown_as in FORMATS or shown_as.startswith("currency:")):
        issues.error((*path, "format"), "bad_kpi", f"must be one of {', '.join(FORMATS)}, currency:EUR")
    target = given.get("target")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float)):
        issues.error((*path, "target"), "bad_kpi", "must be a number, or null")
        target = None
    return Kpi(
        name=given["name"],
        field=name if isinstance(name, str) else None,
        type=statistic,
        segment=segment,
        period=str(period),
        compare_to=given.get("compare_to", "previous"),
        good_direction=given.get("good_direction"),
        format=str(shown_as),
        target=target,
    )
