"""``/get_segment``: sizes, statistics, histograms and time series of segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from mona_server.query import histogram, measure, requests
from mona_server.query.axes import AxisPlan
from mona_server.query.conditions import Binder, check_fields, fields_of, row_filter, segment_sql
from mona_server.query.frames import Resolution, edges_of, frame_sql
from mona_server.query.measure import Measured
from mona_server.query.reader import Dataset
from mona_server.query.requests import Reading, Window
from mona_server.query.scan import Metric, Scan
from mona_server.query.statistics import STATISTICS
from mona_server.segment import ALL, Segment

UTC = ZoneInfo("UTC")
MAX_SEGMENTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRequest:
    """What ``/get_segment`` is asked; see rest.md 3.1."""

    context_class: str
    window: Window
    metrics: tuple[Metric, ...]
    resolutions: tuple[Resolution, ...] = ()
    with_histogram: bool = False
    zone: ZoneInfo = UTC
    segments: tuple[Segment, ...] = (ALL,)
    excluded: tuple[Segment, ...] = ()
    baseline: Segment = ALL
    axis: str = "MONA_TIMESTAMP"
    super_segments: bool = False
    offset_s: int = 0

    @classmethod
    def parse(cls, dataset: Dataset, body: Any) -> SegmentRequest:
        """Read a request body. Raises :class:`InvalidRequest` with every problem."""
        reading = Reading(body)
        request = cls(
            context_class=reading.take("context_class", requests.text, dataset.name),
            window=read_window(reading),
            resolutions=reading.take(
                "time_series_resolutions", lambda v: tuple(map(Resolution.parse, requests.texts(v))), ()
            ),
            with_histogram=reading.take("with_histogram", requests.boolean, False),
            zone=reading.take("time_zone", requests.zone, UTC),
            metrics=read_metrics(reading, dataset),
            segments=reading.take("requested_segments", requests.segments, ()) or (ALL,),
            excluded=reading.take("excluded_segments", requests.segments, ()),
            baseline=reading.take("baseline_segment", requests.segment, ALL),
            axis=read_axis(reading, dataset),
            super_segments=reading.take("include_super_segments", requests.boolean, False),
            offset_s=reading.take("time_series_offset_seconds", requests.whole(-(10**9), 10**9), 0),
        )
        if len(request.segments) > MAX_SEGMENTS:
            reading.problem("requested_segments", f"at most {MAX_SEGMENTS} at a time")
        check_segments(reading, dataset, requested_segments=request.segments, excluded_segments=request.excluded)
        check_segments(reading, dataset, baseline_segment=(request.baseline,))
        reading.done()
        return request


def read_window(reading: Reading, from_key: str = "timestamp_from", to_key: str = "timestamp_to") -> Window:
    """``from`` and ``to``; with ``right_inclusive`` the last millisecond counts too."""
    start = reading.take(from_key, requests.moment, 0, required=True)
    end = reading.take(to_key, requests.moment, start + 1, required=True)
    if reading.take("right_inclusive", requests.boolean, False):
        end += 1
    if end <= start and not reading.issues:
        reading.problem(to_key, f"must be after {from_key}")
    return Window(start, max(end, start + 1))


def read_axis(reading: Reading, dataset: Dataset) -> str:
    axis = reading.take("timestamp_field_name", requests.text, "MONA_TIMESTAMP")
    reading.check("timestamp_field_name", lambda: dataset.facts.time_axis(axis), None)
    return axis


def read_metrics(reading: Reading, dataset: Dataset) -> tuple[Metric, ...]:
    """The metrics of a request; by default the average of the first numeric field."""
    if reading.has("metrics"):
        return reading.take("metrics", lambda given: measure.read_metrics(reading, dataset.facts, given), ())
    first = next((c.field for c in dataset.columns.values() if c.kind == "numeric"), None)
    return (Metric(first, (STATISTICS["average"],)),) if first else ()


def check_segments(reading: Reading, dataset: Dataset, **given: Sequence[Segment]) -> None:
    """Note fields that the class does not have."""
    for at, segments in given.items():
        for name, problem in check_fields(dataset.facts, segments):
            reading.problem(f"{at}.{name}", problem)


def scan_segments(
    dataset: Dataset,
    segments: Sequence[Segment],
    fields: Iterable[str],
    window: Window,
    *,
    axis: str = "MONA_TIMESTAMP",
    within: Segment = ALL,
    excluded: Sequence[Segment] = (),
    edges: tuple[int, ...] | None = None,
) -> Scan:
    """Rows of the window with keys ``MONA_G`` (number of the segment) and, with ``edges``, ``MONA_K`` (frame)."""
    bind = Binder()
    facts = dataset.facts
    relation = facts.relation(
        [*fields, *sorted(fields_of(*segments, within, *excluded))],
        axis=axis,
        from_ms=window.from_ms,
        to_ms=window.to_ms,
    )
    common = row_filter(facts, (within,), excluded, bind)
    frame = f"{frame_sql(edges)} AS MONA_K, " if edges else ""
    parts = [
        f"SELECT CAST({i} AS INTEGER) AS MONA_G, {frame}* FROM {relation} WHERE {common} AND {segment_sql(facts, s, bind)}"
        for i, s in enumerate(segments)
    ]
    keys = ("MONA_G", "MONA_K") if edges else ("MONA_G",)
    return Scan("(" + " UNION ALL ".join(parts) + ")", keys, bind.values)


def get_segment(dataset: Dataset, request: SegmentRequest) -> dict[str, Any]:
    """The answer of ``/get_segment``, rest.md 3.2. The last group measured is the baseline."""
    above = super_segments(request.segments) if request.super_segments else ()
    groups = (*request.segments, *above, ALL)
    fields = [name for metric in request.metrics for name in (metric.field, metric.second) if name]

    def scan(edges: tuple[int, ...] | None = None) -> Scan:
        return scan_segments(
            dataset,
            groups,
            fields,
            request.window,
            axis=request.axis,
            within=request.baseline,
            excluded=request.excluded,
            edges=edges,
        )

    whole = scan()
    totals = measure.measure(dataset.facts, whole, request.metrics)
    base = totals.sizes.get((len(groups) - 1,), 0)
    frames = {
        r.text: edges_of(request.window.from_ms, request.window.to_ms, r, request.zone, request.offset_s)
        for r in request.resolutions
    }
    series = {name: measure.measure(dataset.facts, scan(edges), request.metrics) for name, edges in frames.items()}
    bins = _histograms(dataset, request, whole, len(groups)) if request.with_histogram else {}

    def answer(group: int) -> dict[str, Any]:
        size = totals.sizes.get((group,), 0)
        item: dict[str, Any] = {
            "segment": groups[group].to_json(),
            "size": size,
            "ratio": size / base if base else None,
            "metrics": _metrics(request.metrics, totals, (group,)),
        }
        if bins:
            item["histograms"] = {
                name: found.get((group,)) or histogram.empty(plan) for name, (plan, found) in bins.items()
            }
        if frames:
            item["time_series"] = {
                name: _series(request.metrics, series[name], group, edges) for name, edges in frames.items()
            }
        return item

    baseline = answer(len(groups) - 1)
    baseline["segment"] = request.baseline.to_json()
    del baseline["ratio"]
    return {
        "segments": [answer(i) for i in range(len(request.segments))],
        "super_segments": [answer(len(request.segments) + i) for i in range(len(above))],
        "baseline": baseline,
        "meta": {
            "timestamp_from": _seconds(request.window.from_ms),
            "timestamp_to": _seconds(request.window.to_ms),
            "time_zone": request.zone.key,
            "as_of": None if dataset.as_of_ms is None else _seconds(dataset.as_of_ms),
            "exact": totals.exact and all(found.exact for found in series.values()),
        },
    }


def super_segments(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Every segment made by leaving out one field of one that is given, each once, everybody excepted."""
    given = tuple(segments)
    found: dict[Segment, None] = {}
    for segment in given:
        for i in range(len(segment)):
            above = Segment(segment.conditions[:i] + segment.conditions[i + 1 :])
            if above and above not in given:
                found[above] = None
    return tuple(found)


def _histograms(
    dataset: Dataset, request: SegmentRequest, scan: Scan, groups: int
) -> Mapping[str, tuple[AxisPlan, Any]]:
    found = {}
    for name in dict.fromkeys(metric.field for metric in request.metrics):
        if dataset.facts.column(name).kind not in ("numeric", "string", "boolean"):
            continue

        def rows_sql(_fields: Sequence[str]) -> str:
            return f"(SELECT * FROM {scan.sql} WHERE MONA_G = {groups - 1})"

        plan = histogram.plan_bins(dataset.facts, name, dataset.segmentation, rows_sql, scan.values)
        found[name] = (plan, histogram.histogram(dataset.facts, scan, plan))
    return found


def _metrics(metrics: Sequence[Metric], measured: Measured, key: tuple[int, ...]) -> dict[str, Any]:
    """Field → count and statistics. Two metrics over one field share the object."""
    answer: dict[str, Any] = {}
    for i, metric in enumerate(metrics):
        values = measured.of(key, i)
        item = answer.setdefault(metric.field, {})
        item.update(values or {"count": 0, **{s.name: None for s in metric.types if s.name != "count"}})
    return answer


def _series(metrics: Sequence[Metric], measured: Measured, group: int, edges: tuple[int, ...]) -> list[dict[str, Any]]:
    return [
        {
            "from": _seconds(edges[k]),
            "to": _seconds(edges[k + 1]),
            "size": measured.sizes.get((group, k), 0),
            "metrics": _metrics(metrics, measured, (group, k)),
        }
        for k in range(len(edges) - 1)
    ]


def _seconds(ms: int) -> float:
    """Unix seconds, whole where they are."""
    return ms // 1000 if ms % 1000 == 0 else ms / 1000
