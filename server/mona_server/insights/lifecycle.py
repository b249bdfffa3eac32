"""The life of an insight: what a run changes. Pure values in, changed values and events out.

    new ──found again──▶ ongoing ──not found──▶ recovering ──not found again──▶ resolved ──found within 14 days──▶ new
                            ▲                       │
                            └──────found again──────┘

Insights of sudden changes and new segments do not recover: they stay until their T has left the window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mona_server.detect.signal import Finding, Signal
from mona_server.detect.verses.base import Verse

State = Literal["new", "ongoing", "recovering", "resolved", "suppressed"]
EventKind = Literal["new", "ongoing", "recovering", "resolved", "reopened", "urgency_raised"]

REOPEN_S = 14 * 86_400
MISSES_TO_RESOLVE = 2
SAME = 0.8
"""Jaccard overlap from which two segments are the same insight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """One insight as it is kept. Times are Unix seconds."""

    id: str
    identity: str
    verse_name: str
    metric: str | None
    desc: bool
    baseline: str
    segment: str
    state: State
    urgency: str
    first_s: int
    last_s: int
    occurrences: int
    missed: int = 0
    reopened: int = 0
    archived: bool = False
    resolved_s: int | None = None
    resolved_reason: str | None = None
    previous_id: str | None = None
    seen: Draft | None = field(default=None, repr=False)
    """What the run of this change found; None when it found nothing new about it."""

    @property
    def open(self) -> bool:
        return self.state in ("new", "ongoing", "recovering")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A finding of a run, ready to become an insight or to continue one."""

    finding: Finding = field(repr=False)
    urgency: str
    title: str
    related_anomalies: tuple[Mapping[str, Any], ...] = ()
    explanations: tuple[Mapping[str, Any], ...] = ()
    global_share: float | None = None
    evidence: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def main(self) -> Signal:
        return self.finding.main

    @property
    def identity(self) -> str:
        return identity(self.main)


@dataclass(frozen=True, slots=True)
class Event:
    """A change of state that people may want to hear of."""

    kind: EventKind
    insight_id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run changes: insights as they are now (changed and new ones only), and what happened."""

    changed: tuple[Insight, ...]
    found: tuple[str, ...]
    """Ids of the insights that the run found, strongest first."""
    events: tuple[Event, ...]


def identity(signal: Signal) -> str:
    """Hash of class, verse, metric, direction, baseline, segment and time axis: equal = the same insight."""
    verse = signal.verse
    parts = (
        verse.context_class,
        verse.stanza,
        verse.name,
        signal.metric or "",
        "desc" if signal.desc else "asc",
        signal.baseline.text,
        signal.segment.text,
        str(verse["timestamp_field_name"]),
    )
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def stays_s(verse: Verse) -> int | None:
    """How long an insight stays open after its T without being found; None for types that recover."""
    from mona_server.detect.parameters import period_ms

    if verse.type.family == "SuddenChange":
        points, width = verse["time_series_points"], period_ms(verse["time_resolution"])
        return (points * width if isinstance(points, int) else period_ms(points)) // 1000
    if verse.type.family == "New":
        return int(verse["backfill_points"]) * period_ms(verse["time_period"]) // 1000
    return None


def after_run(
    verse: Verse,
    at_s: int,
    known: Sequence[Insight],
    drafts: Sequence[Draft],
    new_id: Callable[[], str],
    *,
    overlap: Mapping[tuple[str, str], float] | None = None,
    later_runs: Sequence[int] = (),
) -> Outcome:
    """The insights after a run of a verse.

    ``known``: the verse's insights that are open, or were resolved less than 14 days before ``at_s``. ``overlap``:
    (insight id, draft identity) → Jaccard of their segments. ``later_runs``: T of the runs of this verse after this
    one that are already done: a run for the past finds, but does not judge what came later.
    """
    overlap = overlap or {}
    matched = match(known, drafts, overlap)
    changed: dict[str, Insight] = {}
    events: list[Event] = []
    found: list[str] = []
    for place, draft in enumerate(drafts):
        before = matched.get(place)
        after, happened = _found(before, draft, at_s, new_id, later_runs, verse)
        changed[after.id] = after
        found.append(after.id)
        events += [Event(kind, after.id) for kind in happened]
    if not later_runs:
        for insight in known:
            if insight.id in changed or not insight.open or insight.last_s > at_s:
                continue
            missing = _not_found(insight, at_s, stays_s(verse))
            if missing is not None:
                changed[insight.id] = missing
                if missing.state != insight.state:
                    events.append(Event(missing.state, insight.id))  # type: ignore[arg-type]
    return Outcome(tuple(changed.values()), tuple(found), tuple(events))


def match(
    known: Sequence[Insight], drafts: Sequence[Draft], overlap: Mapping[tuple[str, str], float]
) -> dict[int, Insight]:
    """Draft number → the insight that it continues. Equal identity first, then the largest overlap of at least 80 %."""
    free = {insight.id: insight for insight in known}
    by_identity = {insight.identity: insight for insight in sorted(known, key=lambda i: (i.open, i.last_s))}
    matched: dict[int, Insight] = {}
    for place, draft in enumerate(drafts):
        same = by_identity.get(draft.identity)
        if same is not None and same.id in free:
            matched[place] = free.pop(same.id)
    pairs = sorted(
        (-share, place, insight.id)
        for place, draft in enumerate(drafts)
        if place not in matched
        for insight in free.values()
        if insight.open and comparable(insight, draft.main)
        for share in [overlap.get((insight.id, draft.identity), 0.0)]
        if share >= SAME
    )
    for _, place, insight_id in pairs:
        if place not in matched and insight_id in free:
            matched[place] = free.pop(insight_id)
    return matched


def comparable(insight: Insight, signal: Signal) -> bool:
    """Same metric, direction and baseline: only the segments may differ."""
    return (insight.metric, insight.desc, insight.baseline) == (signal.metric, signal.desc, signal.baseline.text)


def _found(
    before: Insight | None,
    draft: Draft,
    at_s: int,
    new_id: Callable[[], str],
    later_runs: Sequence[int],
    verse: Verse,
) -> tuple[Insight, list[EventKind]]:
    main = draft.main
    names: dict[str, Any] = {
        "identity": draft.identity,
        "verse_name": verse.name,
        "metric": main.metric,
        "desc": main.desc,
        "baseline": main.baseline.text,
        "segment": main.segment.text,
    }
    if before is not None and before.state == "resolved":
        resolved_s = before.resolved_s or before.last_s
        if at_s - resolved_s > REOPEN_S:
            previous, before = before.id, None
        else:
            previous = None
    else:
        previous = None
    if before is None:
        fresh = Insight(
            id=new_id(),
            state="new",
            urgency=draft.urgency,
            first_s=at_s,
            last_s=at_s,
            occurrences=1,
            previous_id=previous,
            seen=draft,
            **names,
        )
        settled = _settled(fresh, later_runs, stays_s(verse))
        return settled, ["new"] if settled.state == "new" else []
    if at_s < before.last_s:  # a run for the past: it happened then, too
        return replace(before, first_s=min(before.first_s, at_s), occurrences=before.occurrences + 1), []
    again = at_s == before.last_s
    events: list[EventKind] = []
    state: State = before.state
    reopened = before.reopened
    if before.state == "resolved":
        state, reopened = "new", before.reopened + 1
        events.append("reopened")
    elif not again:
        state = "ongoing"
        if before.state != "ongoing":
            events.append("ongoing")
    elif before.state == "recovering":
        state = "new" if before.occurrences == 1 else "ongoing"
    archived = before.archived
    if draft.urgency == "high" and before.urgency != "high":
        archived = False
        if "reopened" not in events:
            events.append("urgency_raised")
    after = replace(
        before,
        state=state,
        urgency=draft.urgency,
        first_s=min(before.first_s, at_s),
        last_s=at_s,
        occurrences=before.occurrences + (0 if again else 1),
        missed=0,
        reopened=reopened,
        archived=archived,
        resolved_s=None,
        resolved_reason=None,
        seen=draft,
        **names,
    )
    return after, events


def _settled(insight: Insight, later_runs: Sequence[int], stays: int | None) -> Insight:
    """A finding of the past, as the runs that came later left it."""
    later = sorted(at for at in later_runs if at > insight.last_s)
    if stays is not None:
        gone = next((at for at in later if at - insight.last_s >= stays), None)
        return (
            insight
            if gone is None
            else replace(insight, state="resolved", resolved_s=gone, resolved_reason="left_window")
        )
    if len(later) >= MISSES_TO_RESOLVE:
        at = later[MISSES_TO_RESOLVE - 1]
        return replace(insight, state="resolved", missed=len(later), resolved_s=at, resolved_reason="not_found")
    return replace(insight, state="recovering", missed=1) if later else insight


def _not_found(insight: Insight, at_s: int, stays: int | None) -> Insight | None:
    if stays is not None:
        if at_s - insight.last_s >= stays:
            return replace(insight, state="resolved", resolved_s=at_s, resolved_reason="left_window")
        return None
    if at_s == insight.last_s:  # the same window with late data: it was not there after all
        return replace(insight, state="recovering", missed=max(insight.missed, 1))
    missed = insight.missed + 1
    if missed >= MISSES_TO_RESOLVE:
        return replace(insight, state="resolved", missed=missed, resolved_s=at_s, resolved_reason="not_found")
    return replace(insight, state="recovering", missed=missed)
