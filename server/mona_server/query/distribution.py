"""``POST /query/histogram``: how one field is spread, in whole or over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from mona_server.errors import BadRequest
from mona_server.query import histogram, requests
from mona_server.query.frames import Resolution, edges_of
from mona_server.query.ingested import seconds
from mona_server.query.reader import Dataset
from mona_server.query.requests import Reading, Window
from mona_server.query.segments import UTC, check_segments, read_axis, read_window, scan_segments
from mona_server.segment import ALL, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramRequest:
    """``{"context_class", "from", "to", "field", "segment"?, "segmentation"?, "time_series_resolution"?}``."""

    window: Window
    field: str
    segment: Segment = ALL
    excluded: tuple[Segment, ...] = ()
    segmentation: str | None = None
    resolution: Resolution | None = None
    zone: ZoneInfo = UTC
    axis: str = "MONA_TIMESTAMP"

    @classmethod
    def parse(cls, dataset: Dataset, body: Any) -> HistogramRequest:
        """Read a request body. Raises :class:`InvalidRequest` with every problem."""
        reading = Reading(body)
        request = cls(
            window=read_window(reading),
            field=reading.take("field", requests.text, "", required=True),
            segment=reading.take("segment", requests.segment, ALL),
            excluded=reading.take("excluded_segments", requests.segments, ()),
            segmentation=reading.take("segmentation", requests.text, None),
            resolution=reading.take("time_series_resolutions", lambda v: Resolution.parse(requests.texts(v)[0]), None),
            zone=reading.take("time_zone", requests.zone, UTC),
            axis=read_axis(reading, dataset),
        )
        if request.field:
            reading.check("field", lambda: _check(dataset, request.field, request.segmentation), None)
        check_segments(reading, dataset, segment=(request.segment,), excluded_segments=request.excluded)
        reading.done()
        return request


def _check(dataset: Dataset, name: str, segmentation: str | None) -> None:
    column = dataset.facts.column(name)
    if column.kind not in ("numeric", "string", "boolean"):
        raise BadRequest(f"{name} is {column.kind} and has no histogram")
    if segmentation is not None and dataset.segmentation(name, segmentation) is None:
        raise BadRequest(f"{name} has no segmentation {segmentation!r}")


def get_histogram(dataset: Dataset, request: HistogramRequest) -> dict[str, Any]:
    """``{"field", "histogram": [{"segment", "size"}], "frames"?: [{"from", "to", "sizes"}]}``.

    ``sizes`` of a frame are in the order of the bins; the last entry counts what is in none of them.
    """
    facts = dataset.facts

    def scan(edges: tuple[int, ...] | None = None) -> Any:
        return scan_segments(
            dataset,
            (request.segment,),
            (request.field,),
            request.window,
            axis=request.axis,
            excluded=request.excluded,
            edges=edges,
        )

    whole = scan()

    def rows_sql(_: Sequence[str]) -> str:
        return str(whole.sql)

    plan = histogram.plan_bins(
        facts,
        request.field,
        lambda field, _: dataset.segmentation(field, request.segmentation),
        rows_sql,
        whole.values,
        chosen=request.segmentation is not None,
    )
    found = histogram.histogram(facts, whole, plan).get((0,)) or histogram.empty(plan)
    answer: dict[str, Any] = {"field": request.field, "histogram": found, "size": sum(item["size"] for item in found)}
    if request.resolution is not None:
        edges = edges_of(request.window.from_ms, request.window.to_ms, request.resolution, request.zone)
        frames = histogram.histogram(facts, scan(edges), plan)
        bins = len(plan.axis.conditions)
        answer["frames"] = []
        for k in range(len(edges) - 1):
            items = frames.get((0, k)) or histogram.empty(plan)
            sizes = [item["size"] for item in items] + [0] * (bins + 1 - len(items))
            answer["frames"].append({"from": seconds(edges[k]), "to": seconds(edges[k + 1]), "sizes": sizes})
    return answer
