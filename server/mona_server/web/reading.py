"""What pages read: the one place where this room asks the store, the query service and the insights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from markupsafe import Markup
from sqlalchemy import func, select

from mona_server.config import revisions
from mona_server.config.model import ContextClass
from mona_server.errors import BadRequest, MonaError, NotFound
from mona_server.insights import evidence, listing, markers, repository
from mona_server.query import service
from mona_server.query.reader import Dataset
from mona_server.segment import parse_segments
from mona_server.store.tables_insights import insights as table
from mona_server.store.tables_insights import runs
from mona_server.web.charts import MOST_POINTS, Frames, sparkline
from mona_server.web.insight_list import LastRun
from mona_server.web.insight_page import MOST_CONTEXTS, ContextSample, context_sample
from mona_server.web.pages import Visit
from mona_server.web.sentences import resolution_s, statistic, windows

log = structlog.get_logger()

Json = dict[str, Any]
MOST_INSIGHTS = 1000
"""So many of a class are considered for the list, the newest."""
AFTERWARDS = 10
"""Frames after the judged window that a chart shows as well, where they exist: what happened next."""


class Reading:
    """Reads for one visit: only its tenant, and only the classes that its shell allows."""

    def __init__(self, visited: Visit) -> None:
        self._visit = visited
        self._edge = visited.edge
        self._tenant = visited.caller.tenant
        self._classes = frozenset(visited.shell.classes)
        self._current = visited.shell.current

    @property
    def now_s(self) -> float:
        return self._edge.clock() / 1000

    def contexts(self) -> int:
        """Contexts of all classes that the visitor may see."""
        return sum(info.contexts for info in self._edge.store.classes(self._tenant) if info.name in self._classes)

    def has_data(self) -> bool:
        """Has the current class any contexts?"""
        found = self._edge.store.classes(self._tenant)
        return any(info.name == self._current and info.contexts for info in found)

    def configuration(self, name: str | None = None) -> ContextClass | None:
        """The configuration of a class (default the current one), or None."""
        revision = revisions.active(self._edge.meta, self._tenant)
        name = name or self._current
        return None if revision is None or name is None else revision.classes.get(name)

    def insights(self) -> tuple[list[Json], dict[str, Markup]]:
        """Insights of the current class that are neither archived nor suppressed, and their sparklines by id.

        The list needs a tenth of what :mod:`mona_server.insights.listing` gives, and the kept sums besides, so only
        that is taken out of the rows. ``related_signals`` holds as many empty objects as there are.
        """
        c = table.c
        wanted = (
            select(
                *(
                    c.id,
                    c.stanza,
                    c.verse_name,
                    c.time_axis,
                    c.state,
                    c.urgency,
                    c.reopened,
                    c.score,
                    c.first_s,
                    c.last_s,
                ),
                c.body["title"].label("title"),
                c.body["main_signal"].label("main_signal"),
                func.json_array_length(c.body["related_signals"]).label("related"),
                c.evidence,
            )
            .where(c.tenant == self._tenant, c.context_class == self._current)
            .where(c.state != "suppressed", c.archived.is_(False))
            .order_by(c.last_s.desc(), c.score.desc())
            .limit(MOST_INSIGHTS)
        )
        with self._edge.meta.connect() as connection:
            rows = connection.execute(wanted).all()
        found = [
            {
                "insight_id": row.id,
                "stanza_name": row.stanza,
                "verse_name": row.verse_name,
                "timestamp_field_name": row.time_axis,
                "state": row.state,
                "urgency": row.urgency,
                "reopened": row.reopened,
                "score": row.score,
                "first_discovered": row.first_s,
                "last_discovered": row.last_s,
                "title": row.title,
                "main_signal": row.main_signal,
                "related_signals": [{}] * (row.related or 0),
            }
            for row in rows
        ]
        return found, {row.id: _spark(row.main_signal, row.stanza, row.evidence) for row in rows if row.evidence}

    def last_run(self) -> LastRun | None:
        """The newest run of the current class that is done."""
        c = runs.c
        wanted = (
            select(c.timestamp_s, c.report, c.verse_name)
            .where(c.tenant == self._tenant, c.context_class == self._current, c.state.in_(("saved", "done")))
            .order_by(c.timestamp_s.desc(), c.started_ms.desc())
            .limit(1)
        )
        with self._edge.meta.connect() as connection:
            row = connection.execute(wanted).first()
        if row is None:
            return None
        report = row.report or {}
        return LastRun(
            at_s=row.timestamp_s,
            segments=report.get("candidates", 0),
            tests=report.get("tests", 0),
            verse=row.verse_name,
        )

    def insight(self, insight_id: str) -> tuple[Json, Json | None]:
        """One insight and its evidence. Raises :class:`NotFound`, also for one of a class that the visitor may not see."""
        row, _ = listing.load(self._edge.store, self._tenant, insight_id)
        if row.context_class not in self._classes:
            raise NotFound(f"there is no insight {insight_id}")
        return repository.to_json(row, public_url=self._edge.address), row.evidence

    def series(self, insight: Json, kept: Json | None) -> tuple[tuple[Frames, Frames] | None, str]:
        """The segment and its baseline over time, and why not when they cannot be read.

        From the data as it is now, with some frames after the judged window; from what was kept with the insight
        where that fails or the data is gone.
        """
        signal = insight["main_signal"]
        problem = ""
        try:
            found = self._live_series(signal, insight["arc_class"])
            if any(found[0].sizes):
                return found, ""
        except MonaError as error:
            log.warning("page_series_failed", insight=insight["insight_id"], error=type(error).__name__)
            problem = str(error)
        return (_kept_series(signal, insight["stanza_name"], kept), problem) if kept else (None, problem)

    def _live_series(self, signal: Json, context_class: str) -> tuple[Frames, Frames]:
        width = resolution_s(signal)
        window = windows(signal)
        start = window.compared[0] if window.compared else window.judged[0]
        end = min(window.judged[1] + AFTERWARDS * width, int(self.now_s) // width * width + width)
        start = max(start, end - MOST_POINTS * width)
        verse = signal.get("verse") or {}
        metric, kind = signal.get("kapi"), statistic(signal)
        body: Json = {
            "timestamp_from": start,
            "timestamp_to": end,
            "time_series_resolutions": [verse.get("time_resolution") or "1d"],
            "requested_segments": [signal["segment"]],
            "baseline_segment": signal["baseline_segment"],
            "excluded_segments": [one.to_json() for one in parse_segments(verse.get("exclude_segments"))],
            "timestamp_field_name": verse.get("timestamp_field_name") or "MONA_TIMESTAMP",
            "time_series_offset_seconds": window.judged[1] % width if width < 7 * 86_400 else 0,
        }
        if metric is not None:
            body["metrics"] = [{"field": metric, "types": [kind]}]
        dataset = self._dataset(context_class)
        answer = service.get_segment(dataset, service.SegmentRequest.parse(dataset, body))
        parts = (answer["segments"][0], answer["baseline"])
        frames = [_frames(next(iter(part["time_series"].values())), metric, kind, width) for part in parts]
        return frames[0], frames[1]

    def sample(self, insight: Json) -> tuple[ContextSample | None, str]:
        """Some contexts of the segment in the judged window, and why not when they cannot be read."""
        signal = insight["main_signal"]
        window = windows(signal)
        verse = signal.get("verse") or {}
        body = {
            "context_class": insight["arc_class"],
            "start_time": window.judged[0],
            "end_time": window.judged[1],
            "segment": signal["segment"],
            "excluded_segments": [one.to_json() for one in parse_segments(verse.get("exclude_segments"))],
            "timestamp_field_name": verse.get("timestamp_field_name") or "MONA_TIMESTAMP",
            "sampling_threshold": MOST_CONTEXTS,
        }
        try:
            dataset = self._dataset(insight["arc_class"])
            answer = service.get_ingested_data(dataset, service.IngestedRequest.parse(dataset, body))
        except MonaError as error:
            log.warning("page_contexts_failed", insight=insight["insight_id"], error=type(error).__name__)
            return None, str(error)
        config = self.configuration(insight["arc_class"])
        return context_sample(answer, signal, list(config.saved_fields) if config else []), ""

    def markers(self, insight: Json) -> Sequence[tuple[int, str]]:
        """Events posted for the days of the chart."""
        window = windows(insight["main_signal"])
        start = window.compared[0] if window.compared else window.judged[0]
        end = window.judged[1] + AFTERWARDS * resolution_s(insight["main_signal"])
        found = markers.for_class(self._edge.meta, self._tenant, insight["arc_class"], start, end)
        return [(int(one.time_s), one.title) for one in found]

    def _dataset(self, name: str) -> Dataset:
        return self._edge.reader.dataset(self._tenant, name)


def _frames(series: Sequence[Json], metric: str | None, kind: str, width: int) -> Frames:
    return Frames(
        tuple(int(frame["from"]) for frame in series),
        width,
        tuple(frame["size"] if metric is None else frame["metrics"][metric].get(kind) for frame in series),
        tuple(frame["size"] for frame in series),
    )


def _kept_series(signal: Json, stanza: str, kept: Json) -> tuple[Frames, Frames] | None:
    """Segment and baseline as they were when the run looked; None for evidence of an older format."""
    try:
        frames = evidence.series(evidence.verse_of(signal["verse"], stanza), kept)
    except BadRequest:
        return None
    starts, width = tuple(frame["from"] for frame in frames), resolution_s(signal)
    return (
        Frames(starts, width, tuple(f["value"] for f in frames), tuple(f["size"] for f in frames)),
        Frames(starts, width, tuple(f["baseline_value"] for f in frames), tuple(f["baseline_size"] for f in frames)),
    )


def _spark(signal: Json, stanza: str, kept: Json) -> Markup:
    series = _kept_series(signal, stanza, kept)
    if series is None:
        return Markup("")
    judged = series[0].inside(windows(signal).judged)
    return sparkline(series[0].values, judged[0], judged[-1] + 1) if judged else Markup("")
