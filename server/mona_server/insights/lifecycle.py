"""The life of an insight: what a run changes. Pure values in, changed values and events out.

    new ──found again──▶ ongoing ──not found──▶ recovering ──not found again──▶ resolved ──found within 14 days──▶ new
                            ▲                       │
                            └──────found again──────┘

Insights of sudden changes and new segments do not recover: they stay until their T has left the window.

The state follows from two lists, the T of the runs that found the insight and of those that judged, and from nothing else:
so runs for the past leave what runs in time would have left.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
    found: tuple[int, ...] = field(default=(), repr=False)
    """T of the runs that found it, ascending. Empty where their findings were taken back; ``last_s`` is then the last of them."""
    earlier: int = 0
    """How many findings came before those: a run at T asks for the last two before T and for all after it."""
    seen: Draft | None = field(default=None, repr=False)
    """What the run of this change found; None when it found nothing new about it."""

    @property
    def open(self) -> bool:
        return self.state in ("new", "ongoing", "recovering")

    def past(self, at_s: int) -> bool:
        """Had it been closed for more than 14 days before T, for good? Then a run at T may name it, and no more."""
        return self.state == "resolved" and max(self.last_s, self.resolved_s or 0) < at_s - REOPEN_S

    @property
    def closed_by_configuration(self) -> bool:
        """Runs have no say, until one finds it again."""
        return self.state == "resolved" and (not self.found or self.resolved_reason not in ("not_found", "left_window"))


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


@dataclass(frozen=True, slots=True)
class Judged:
    """What the runs of a verse say about its insights."""

    times: tuple[int, ...]
    """T of the runs that judged, ascending; a run without data is none."""
    stays_s: int | None
    """How long an insight stays open without being found; None where it recovers."""

    @classmethod
    def by(cls, verse: Verse, times: Sequence[int]) -> Judged:
        """The runs of a verse."""
        return cls(tuple(sorted(set(times))), stays_s(verse))

    @staticmethod
    def since(known: Sequence[Insight], at_s: int) -> int:
        """The T from which runs have to be known for a run at ``at_s``."""
        return min([at_s, *(_times(insight)[0] for insight in known if not insight.past(at_s))])

    def open_at(self, insight: Insight, at_s: int) -> bool:
        """Was the insight open at T, or would a finding at T have been open until it was found next?"""
        if insight.past(at_s) or insight.closed_by_configuration:
            return False
        return any(self._closed_s(*gap) is None for gap in _gaps(insight, at_s))

    def continues(self, insight: Insight, at_s: int) -> bool:
        """Is a finding at T one of this insight: open then, or closed for no more than 14 days?"""
        if insight.past(at_s):
            return False
        if insight.closed_by_configuration:
            return at_s - (insight.resolved_s or insight.last_s) <= REOPEN_S
        for found_s, again_s in _gaps(insight, at_s):
            closed_s = self._closed_s(found_s, again_s)
            if closed_s is None or again_s - closed_s <= REOPEN_S:
                return True
        return False

    def settled(self, insight: Insight) -> Insight:
        """As the runs left it."""
        insight = replace(insight, occurrences=insight.earlier + len(insight.found))
        if insight.found:
            first_s = insight.first_s if insight.earlier else insight.found[0]
            insight = replace(insight, first_s=first_s, last_s=insight.found[-1])
        if insight.closed_by_configuration:
            return insight
        times = _times(insight)
        last_s = times[-1]
        closed_s = self._closed_s(last_s)
        missed = 0 if self.stays_s is not None else len(self.times) - bisect_right(self.times, last_s)
        state: State
        if closed_s is not None:
            state = "resolved"
        elif missed:
            state = "recovering"
        else:
            state = "ongoing" if len(times) > 1 and self._closed_s(*times[-2:]) is None else "new"
        reason = "not_found" if self.stays_s is None else "left_window"
        return replace(
            insight,
            state=state,
            missed=min(missed, MISSES_TO_RESOLVE),
            resolved_s=closed_s,
            resolved_reason=None if closed_s is None else reason,
        )

    def reopenings(self, insight: Insight) -> int:
        """How often it was found after it had been closed."""
        return sum(self._closed_s(*gap) is not None for gap in pairwise(insight.found))

    def _closed_s(self, found_s: int, until_s: int | None = None) -> int | None:
        """T of the run that closed an insight, found at ``found_s`` and not again before ``until_s``."""
        end = len(self.times) if until_s is None else bisect_left(self.times, until_s)
        if self.stays_s is None:
            place = bisect_right(self.times, found_s) + MISSES_TO_RESOLVE - 1
        else:
            place = bisect_left(self.times, found_s + self.stays_s)
        return self.times[place] if place < end else None


def after_run(
    verse: Verse,
    at_s: int,
    known: Sequence[Insight],
    drafts: Sequence[Draft],
    new_id: Callable[[], str],
    *,
    overlap: Mapping[tuple[str, str], float] | None = None,
    others: Sequence[int] = (),
) -> Outcome:
    """The insights after a run of a verse.

    ``known``: the verse's insights that may be found again, or named as the previous one. ``overlap``: (insight id,
    draft identity) → Jaccard of their segments. ``others``: T of all runs of this verse that have judged, before and
    after this one; with ``at_s`` where it is repeated. A run for the past tells no news of insights that are known.
    """
    was, now = Judged.by(verse, others), Judged.by(verse, [*others, at_s])
    newest = now.times[-1] == at_s
    matched = match(known, drafts, overlap or {}, now, at_s)
    changed: dict[str, Insight] = {}
    events: list[Event] = []
    found: list[str] = []
    followed: dict[str, str] = {}
    for place, draft in enumerate(drafts):
        before = matched.get(place)
        if before is None:
            after = now.settled(_fresh(draft, at_s, new_id(), known))
            happened: list[EventKind] = ["new"] if after.state == "new" else []
            followers = [one for one in known if one.identity == after.identity and one.first_s > at_s]
            if followers:
                followed[min(followers, key=lambda one: one.first_s).id] = after.id
        else:
            after = _counted(before, _found(before, draft, at_s), was, now)
            happened = _news(before, after, newest)
        changed[after.id] = after
        found.append(after.id)
        events += [Event(kind, after.id) for kind in happened]
    for before in known:
        if before.id in changed or before.past(at_s):
            continue
        without = replace(
            before,
            found=tuple(found_s for found_s in before.found if found_s != at_s),
            previous_id=followed.get(before.id, before.previous_id),
        )
        after = _counted(before, without, was, now)
        if after != before:
            changed[after.id] = after
            if newest and after.state != before.state:
                events.append(Event(after.state, after.id))  # type: ignore[arg-type]
    return Outcome(tuple(changed.values()), tuple(found), tuple(events))


def match(
    known: Sequence[Insight],
    drafts: Sequence[Draft],
    overlap: Mapping[tuple[str, str], float],
    judged: Judged,
    at_s: int,
) -> dict[int, Insight]:
    """Draft number → the insight that it continues. Equal identity first, then the largest overlap of at least 80 %."""
    free = {insight.id: insight for insight in known}
    matched: dict[int, Insight] = {}
    for place, draft in enumerate(drafts):
        same = [i for i in free.values() if i.identity == draft.identity and judged.continues(i, at_s)]
        if same:
            nearest = min(same, key=lambda i: min(again_s - found_s for found_s, again_s in _gaps(i, at_s)))
            matched[place] = free.pop(nearest.id)
    pairs = sorted(
        (-share, place, insight.id)
        for place, draft in enumerate(drafts)
        if place not in matched
        for insight in free.values()
        if comparable(insight, draft.main)
        for share in [overlap.get((insight.id, draft.identity), 0.0)]
        if share >= SAME and judged.open_at(insight, at_s)
    )
    for _, place, insight_id in pairs:
        if place not in matched and insight_id in free:
            matched[place] = free.pop(insight_id)
    return matched


def comparable(insight: Insight, signal: Signal) -> bool:
    """Same metric, direction and baseline: only the segments may differ."""
    return (insight.metric, insight.desc, insight.baseline) == (signal.metric, signal.desc, signal.baseline.text)


def _times(insight: Insight) -> tuple[int, ...]:
    """When it was found; where that was taken back, just before, so that the run that took it back counts as a miss."""
    return insight.found or (insight.last_s - 1,)


def _gaps(insight: Insight, at_s: int) -> list[tuple[int, int]]:
    """From the finding before T to T, and from T to the finding after it (or at it)."""
    times = _times(insight)
    place = bisect_left(times, at_s)
    before, after = times[max(place - 1, 0) : place], times[place : place + 1]
    return [*((found_s, at_s) for found_s in before), *((at_s, found_s) for found_s in after)]


def _names(draft: Draft) -> dict[str, Any]:
    main = draft.main
    return {
        "identity": draft.identity,
        "verse_name": main.verse.name,
        "metric": main.metric,
        "desc": main.desc,
        "baseline": main.baseline.text,
        "segment": main.segment.text,
    }


def _fresh(draft: Draft, at_s: int, insight_id: str, known: Sequence[Insight]) -> Insight:
    earlier = [one for one in known if one.identity == draft.identity and one.last_s < at_s]
    return Insight(
        id=insight_id,
        state="new",
        urgency=draft.urgency,
        first_s=at_s,
        last_s=at_s,
        occurrences=1,
        previous_id=max(earlier, key=lambda one: one.last_s).id if earlier else None,
        found=(at_s,),
        seen=draft,
        **_names(draft),
    )


def _found(before: Insight, draft: Draft, at_s: int) -> Insight:
    after = replace(before, found=tuple(sorted({*before.found, at_s})))
    if at_s < before.last_s:  # a run for the past: it happened then, too
        return after
    raised = draft.urgency == "high" and before.urgency != "high"
    archived = before.archived and not raised
    state = "new" if before.closed_by_configuration else before.state
    return replace(after, state=state, urgency=draft.urgency, archived=archived, seen=draft, **_names(draft))


def _counted(before: Insight, after: Insight, was: Judged, now: Judged) -> Insight:
    """As the runs leave it, its reopenings counted on."""
    settled = now.settled(after)
    if before.closed_by_configuration and after.seen is not None:
        state = "new" if settled.state == "ongoing" else settled.state
        return replace(settled, state=state, reopened=before.reopened + 1)
    return replace(settled, reopened=before.reopened + now.reopenings(after) - was.reopenings(before))


def _news(before: Insight, after: Insight, newest: bool) -> list[EventKind]:
    """What to tell of an insight that was found again."""
    if newest and before.state == "resolved":
        return ["reopened"]
    events: list[EventKind] = []
    if newest and after.state == "ongoing" and before.state != "ongoing":
        events.append("ongoing")
    if after.urgency == "high" and before.urgency != "high":
        events.append("urgency_raised")
    return events
