"""One run: read the data, search, match with what is known, save, tell.

A run writes all its changes in one transaction of ``meta.db``, together with the events that have to be told; only then
are the notices queued. So a crash between the two loses nothing: :func:`telling.finish_saved` queues them again, which adds
nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import update

from mona_server import words
from mona_server.config.model import ContextClass
from mona_server.detect import SearchResult, search
from mona_server.detect.search import NOTHING
from mona_server.detect.signal import Signal
from mona_server.detect.verses.base import Verse
from mona_server.detect.windowed import remembering
from mona_server.detect.windows import Plan, window_end
from mona_server.insights import alerts, excused, markers, repository, run_records, telling
from mona_server.insights.data import ClassData, overlaps
from mona_server.insights.forming import drafts_of, unjudged
from mona_server.insights.lifecycle import Draft, Insight, Judged, Outcome, after_run, comparable, identity
from mona_server.insights.titles import title
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.segment import Segment
from mona_server.settings import Settings
from mona_server.store.store import Store
from mona_server.store.tables_insights import runs

Json = dict[str, Any]
REASONS = ("schedule", "demand", "backfill", "late_data", "config")
REMEMBER_S = 90 * 86_400
"""Resolved insights so old can still be named as the previous one."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What runs need: the store, the query engine, the settings."""

    store: Store
    engine: DuckEngine
    settings: Settings = field(repr=False)

    @classmethod
    def of(cls, store: Store, settings: Settings | None = None) -> Desk:
        """A desk with an engine of its own."""
        settings = settings or Settings(data_dir=store.data_dir)
        return cls(store, DuckEngine(settings.engine, store.data_dir / "spill"), settings)

    @property
    def public_url(self) -> str:
        return self.settings.server.public_url or ""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run did. ``run`` is the run object of the specification."""

    run: Json
    result: SearchResult | None = field(default=None, repr=False)
    insights: tuple[Json, ...] = ()
    """The insights that the run found, strongest first."""

    @property
    def id(self) -> str:
        return str(self.run["id"])


def run(
    store: Store,
    tenant: str,
    context_class: ContextClass,
    verse: Verse,
    at: datetime,
    reason: str = "demand",
    **options: Any,
) -> RunOutcome:
    """One run with an engine of its own; see :func:`run_at`."""
    return run_at(Desk.of(store), tenant, context_class, verse, at, reason, **options)


def run_at(
    desk: Desk,
    tenant: str,
    context_class: ContextClass,
    verse: Verse,
    at: datetime,
    reason: str = "demand",
    *,
    config_id: str | None = None,
    now: datetime | None = None,
    quiet: bool = False,
) -> RunOutcome:
    """Evaluate one verse for the window end at or before ``at`` (aware), save the insights and queue the notices.

    The same T may be run again: values are renewed, nothing is counted twice. ``quiet``: nobody is told. A scheduled
    run that another process has, or that is done, is not repeated. What goes wrong inside of the search is kept with
    the run (state ``failed``) and raised.
    """
    now = now or datetime.now(UTC)
    end = window_end(verse["cadence"], at)
    run_id = run_records.claim(desk.store, tenant, verse, end, reason, config_id, _ms(now))
    if run_id is None:
        return RunOutcome(run_records.get_run(desk.store, tenant, run_records.id_at(desk.store, tenant, verse, end)))
    began = time.monotonic()
    try:
        found = _search(desk, tenant, context_class, verse, end)
    except Exception as error:
        run_records.fail(desk.store, run_id, error, time.monotonic() - began)
        raise
    saved = _save(desk, tenant, verse, found, run_id, config_id, now, time.monotonic() - began, quiet)
    telling.tell(desk.store, tenant, context_class, run_id, now, public_url=desk.public_url)
    return RunOutcome(run_records.get_run(desk.store, tenant, run_id), found.result, saved)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the search of a run brought."""

    at_s: int
    result: SearchResult | None = None
    drafts: tuple[Draft, ...] = ()
    overlap: Mapping[tuple[str, str], float] = field(default_factory=dict)
    shortage: alerts.Shortage | None = None
    contexts: float = 0.0
    from_s: int | None = None
    revision: int = 0
    notes: tuple[str, ...] = ()


def _search(desk: Desk, tenant: str, context_class: ContextClass, verse: Verse, end: datetime) -> _Found:
    at_s = int(end.timestamp())
    data = ClassData.open(desk.store, desk.engine, tenant, context_class)
    start_ms = None if data is None else data.start_ms(verse["timestamp_field_name"])
    if data is None or start_ms is None:
        return _Found(at_s, notes=("the class has no data",))
    plan = verse.type.plan(verse, at_s * 1000, start_ms, data.look)
    if plan is None or not len(plan.target):
        return _Found(at_s, notes=(NOTHING,), revision=data.revision)
    ask = plan.questions[-1]
    window = (int(plan.bounds_ms[0, 0]), int(plan.bounds_ms[-1, 1]))
    contexts = float(data.contexts(ask, window)[0])
    short = alerts.shortage(verse, plan, start_ms, lambda edges: data.contexts(ask, edges))
    kept = _Found(at_s, contexts=contexts, from_s=window[0] // 1000, revision=data.revision, shortage=short)
    if short is not None:
        return replace(kept, notes=(short.text,))
    with desk.store.meta.connect() as connection:
        new = [Segment.parse(t) for t in repository.new_segments(connection, tenant, context_class.name)]
        left_out = excused.windows(connection, tenant, verse)
    look = remembering(excused.excusing(data.look, left_out, verse, plan), len(plan.questions))
    limit = desk.settings.engine.max_candidates
    result = search(verse, look, end, data_start_ms=start_ms, max_candidates=limit, known=new)
    if NOTHING in result.report.notes:  # without data nothing was judged, so nothing recovers either
        return replace(kept, notes=(NOTHING,))
    fields = data.related_fields(verse["find_related_anomalies_for"], verse["avoid_related_anomalies_for"])
    known_events = markers.for_class(
        desk.store.meta, tenant, context_class.name, window[0] / 1000, window[1] / 1000 + 86_400
    )
    drafts = tuple(drafts_of(verse, result, plan, fields, look, known_events))
    with desk.store.meta.connect() as connection:
        known = repository.known(connection, tenant, verse, at_s - REMEMBER_S, at_s)
        since_s = Judged.since(known, at_s)
        judged = Judged.by(verse, repository.judged(connection, tenant, verse, since_s))
    overlap = _overlaps([one for one in known if judged.open_at(one, at_s)], known, drafts, plan, data)
    why = unjudged(plan, result.report)
    notes: tuple[str, ...] = () if why is None else (why,)
    if left_out:
        notes += (f"{words.plural(len(left_out), 'window')} left out of benchmarks by feedback",)
    return replace(kept, result=result, drafts=drafts, overlap=overlap, notes=notes)


def _overlaps(
    open_then: list[Insight], known: list[Insight], drafts: tuple[Draft, ...], plan: Plan, data: ClassData
) -> dict[tuple[str, str], float]:
    """(insight id, draft identity) → Jaccard, for pairs that are not equal but may be the same."""
    identities = {draft.identity for draft in drafts}
    lost = [insight for insight in open_then if insight.identity not in identities]
    names = {insight.identity for insight in known}
    fresh = [draft for draft in drafts if draft.identity not in names]
    pairs = [(i, d) for i in lost for d in fresh if comparable(i, d.main)]
    found: dict[tuple[str, str], float] = {}
    for baseline in sorted({d.main.baseline for _, d in pairs}, key=lambda segment: segment.text):
        here = [(i, d) for i, d in pairs if d.main.baseline == baseline]
        texts = list(dict.fromkeys([t for i, d in here for t in (i.segment, d.main.segment.text)]))
        place = {text: k for k, text in enumerate(texts)}
        source = data.look(replace(plan.questions[-1], axes=(), metrics=(), within=baseline))
        shared = overlaps(source, [Segment.parse(text) for text in texts])
        for insight, draft in here:
            share = float(shared[place[insight.segment], place[draft.main.segment.text]])
            found[insight.id, draft.identity] = share
    return found


def _save(
    desk: Desk,
    tenant: str,
    verse: Verse,
    found: _Found,
    run_id: str,
    config_id: str | None,
    now: datetime,
    seconds: float,
    quiet: bool,
) -> tuple[Json, ...]:
    at_s = found.at_s
    with desk.store.meta.begin() as connection:
        if repository.last_run(connection, tenant, verse).timestamp_s == at_s:  # the past needs no alarm
            alerts.note(connection, tenant, verse, at_s, found.shortage)
        outcome = Outcome((), (), ())
        if found.shortage is None and found.result is not None:
            known = repository.known(connection, tenant, verse, at_s - REMEMBER_S, at_s)
            outcome = after_run(
                verse,
                at_s,
                known,
                found.drafts,
                lambda: repository.new_id("ins"),
                overlap=found.overlap,
                others=repository.judged(connection, tenant, verse, Judged.since(known, at_s)),
            )
            repository.save(
                connection,
                tenant,
                tenant,
                verse,
                outcome.changed,
                run_id=run_id,
                config_id=config_id,
                as_of=found.revision,
                now_ms=_ms(now),
            )
            mains = {key: draft.main for key, draft in zip(outcome.found, found.drafts, strict=True)}
            repository.note_found(connection, tenant, verse, mains, at_s, run_id)
            held = [(identity(s), s, title(s.to_json())) for s in _suppressed(found.result, known)]
            repository.save_suppressed(connection, tenant, tenant, verse, at_s, held, run_id=run_id, now_ms=_ms(now))
        repository.forget_suppressed(connection, int(now.timestamp()) - repository.KEEP_SUPPRESSED_S)
        events = [] if quiet else [[event.kind, event.insight_id] for event in outcome.events]
        connection.execute(
            update(runs)
            .where(runs.c.id == run_id)
            .values(
                state="saved",
                seconds=seconds,
                report=_report(found),
                insight_ids=list(outcome.found),
                events=events,
                window_contexts=found.contexts,
                window_from_s=found.from_s,
                data_revision=found.revision,
            )
        )
        rows = repository.by_ids(connection, tenant, outcome.found)
    return tuple(repository.to_json(rows[key], public_url=desk.public_url) for key in outcome.found)


def _suppressed(result: SearchResult, known: Sequence[Insight]) -> list[Signal]:
    """What passed the level and is no insight: first what could be chance, then what was folded, each the strongest."""
    open_ones = {insight.identity for insight in known if insight.open}
    folded = sorted((one.signal for finding in result.findings for one in finding.related), key=lambda s: -s.score)
    kept = [*result.held_back, *(signal for signal in folded if identity(signal) not in open_ones)]
    return kept[: repository.MOST_SUPPRESSED]


def _report(found: _Found) -> Json:
    if found.result is None:
        return {"notes": list(found.notes)}
    report = found.result.report
    return {
        "candidates": report.candidates,
        "pruned": report.pruned,
        "tests": report.tests,
        "passed_level": report.passed_level,
        "passed_chance": report.passed_chance,
        "max_depth_used": report.max_depth_used,
        "expected_false": report.expected_false,
        "notes": [*found.notes, *report.notes],
    }


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
