"""States, matching and events of insights: pure values in and out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mona_server.detect.signal import Finding, Signal
from mona_server.detect.verses import VERSES, Verse, resolve
from mona_server.insights.lifecycle import Draft, Event, Insight, Judged, Outcome, after_run, identity, match, stays_s
from mona_server.segment import ALL, Equals, Segment

DAY = 86_400


def verse(type_name: str = "AverageDrift", **given: Any) -> Verse:
    metrics = {"metrics": ["x"]} if VERSES[type_name].has_metrics else {}
    found, problems = resolve(VERSES[type_name], metrics | given, context_class="C", stanza="s")
    assert found is not None, problems
    return found


def signal(city: str = "A", of: Verse | None = None, **given: Any) -> Signal:
    of = of or verse()
    values: dict[str, Any] = {
        "verse": of,
        "at_ms": 0,
        "metric": "x",
        "segment": Segment.of({"city": Equals(city)}),
        "baseline": ALL,
        "level": 1.0,
        "infinite": False,
        "value": 2.0,
        "benchmark": 1.0,
        "std": 1.0,
        "size": 100.0,
        "ratio": 0.1,
        "baseline_size": 1000.0,
        "target_size": 20.0,
        "benchmark_size": 80.0,
        "count": 100.0,
        "min_level": 0.25,
    }
    return Signal(**values | given)


def draft(*args: Any, urgency: str = "normal", **given: Any) -> Draft:
    return Draft(finding=Finding(signal(*args, **given)), urgency=urgency, title="t")


def ids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"ins_{next(numbers)}"


class Life:
    """One verse and its insights, run after run."""

    def __init__(self, of: Verse | None = None) -> None:
        self.verse = of or verse()
        self.known: dict[str, Insight] = {}
        self.new_id = ids()
        self.events: list[Event] = []
        self.ran: set[int] = set()

    def run(self, day: int, *drafts: Draft, **options: Any) -> Outcome:
        options["others"] = sorted(self.ran)
        outcome = after_run(self.verse, day * DAY, list(self.known.values()), drafts, self.new_id, **options)
        self.ran.add(day * DAY)
        self.known |= {insight.id: replace(insight, seen=None) for insight in outcome.changed}
        self.events += outcome.events
        return outcome

    @property
    def states(self) -> list[str]:
        return [insight.state for insight in self.known.values()]


def test_found_again_is_ongoing() -> None:
    """Ten runs make one insight with ten occurrences, told of once."""
    life = Life()
    for day in range(10):
        life.run(day, draft())
    (insight,) = life.known.values()
    assert (insight.state, insight.occurrences) == ("ongoing", 10)
    assert (insight.first_s, insight.last_s) == (0, 9 * DAY)
    assert [event.kind for event in life.events] == ["new", "ongoing"]


def test_two_clean_runs_resolve() -> None:
    """Not found once: recovering; twice in a row: resolved."""
    life = Life()
    life.run(0, draft())
    life.run(1)
    assert life.states == ["recovering"]
    life.run(2)
    assert life.states == ["resolved"]
    assert life.known["ins_1"].resolved_reason == "not_found"


def test_recovering_and_found_again_is_ongoing() -> None:
    """One clean run in between does not count twice."""
    life = Life()
    for day, found in enumerate([True, False, True, False, True]):
        life.run(day, *([draft()] if found else []))
    assert life.states == ["ongoing"]
    assert life.known["ins_1"].missed == 0


def test_found_within_14_days_reopens() -> None:
    """Same id, counted on; after that a new insight that names the old one."""
    life = Life()
    life.run(0, draft())
    life.run(1)
    life.run(2)
    life.run(7, draft())
    assert (life.states, life.known["ins_1"].reopened) == (["new"], 1)
    assert [event.kind for event in life.events] == ["new", "recovering", "resolved", "reopened"]
    life.run(8)
    life.run(9)
    life.run(24, draft())
    assert life.states == ["resolved", "new"]
    assert life.known["ins_2"].previous_id == "ins_1"


def test_other_directions_and_metrics_are_other_insights() -> None:
    """Identity holds segment, metric, direction and baseline."""
    life = Life()
    life.run(0, draft("A"), draft("B"), draft("A", metric="y"), draft("A", value=0.0))
    assert len(life.known) == 4


def test_a_segment_that_shares_most_contexts_continues() -> None:
    """The id stays, the main segment changes; less overlap makes a new insight."""
    life = Life()
    life.run(0, draft("A"))
    renamed = draft("B")
    life.run(1, renamed, overlap={("ins_1", renamed.identity): 0.85})
    assert list(life.known) == ["ins_1"]
    assert life.known["ins_1"].segment == renamed.main.segment.text
    assert life.known["ins_1"].identity == renamed.identity
    other = draft("C")
    life.run(2, other, overlap={("ins_1", other.identity): 0.79})
    assert list(life.known) == ["ins_1", "ins_2"]


def test_the_largest_overlap_wins() -> None:
    """Each insight continues at most one finding, each finding at most one insight."""
    known = [Life().run(0, draft(city)).changed[0] for city in ("A", "B")]
    known = [replace(insight, id=f"ins_{k}") for k, insight in enumerate(known)]
    new = [draft("X"), draft("Y")]
    overlap = {
        ("ins_0", new[0].identity): 0.9,
        ("ins_1", new[0].identity): 0.95,
        ("ins_0", new[1].identity): 0.81,
    }
    matched = match(known, new, overlap, Judged((0,), None), DAY)
    assert {place: i.id for place, i in matched.items()} == {0: "ins_1", 1: "ins_0"}


def test_urgency_may_rise_and_fall() -> None:
    """A rise is told and brings an archived insight back; a fall is silent."""
    life = Life()
    life.run(0, draft())
    life.known["ins_1"] = replace(life.known["ins_1"], archived=True)
    life.run(1, draft())
    archived = [life.known["ins_1"].archived]
    life.run(2, draft(urgency="high"))
    archived.append(life.known["ins_1"].archived)
    assert archived == [True, False]
    life.run(3, draft(urgency="normal"))
    assert [e.kind for e in life.events] == ["new", "ongoing", "urgency_raised"]
    assert life.known["ins_1"].urgency == "normal"


@pytest.mark.parametrize(
    ("type_name", "given", "days"),
    [
        ("AverageSuddenChange", {"time_series_points": 10}, 10),
        ("AverageSuddenChange", {"time_series_points": "60d", "time_resolution": "12h"}, 60),
        ("NewSegments", {"time_period": "1w", "backfill_points": 2}, 14),
    ],
)
def test_events_in_time_stay_until_they_leave_the_window(type_name: str, given: dict[str, Any], days: int) -> None:
    """A sudden change is seen by one run only; it is open as long as charts show it."""
    of = verse(type_name, **given)
    assert stays_s(of) == days * DAY
    life = Life(of)
    life.run(0, draft(of=of))
    for day in range(1, days):
        life.run(day)
    assert life.states == ["new"]
    life.run(days)
    assert life.states == ["resolved"]
    assert life.known["ins_1"].resolved_reason == "left_window"


def test_late_data_may_take_a_finding_back() -> None:
    """The same window again, without it: recovering, as if the next run had not found it."""
    life = Life()
    life.run(0, draft())
    life.run(0)
    assert life.states == ["recovering"]
    life.run(0, draft())
    assert (life.states, life.known["ins_1"].occurrences) == (["new"], 1)


def test_runs_for_the_past_tell_no_news() -> None:
    """Newest first: older runs leave what runs in time would have left, and nobody hears of it."""
    life = Life()
    life.run(5, draft())
    life.run(4, draft())
    life.run(3)
    (insight,) = life.known.values()
    assert (insight.state, insight.first_s, insight.last_s, insight.occurrences) == ("ongoing", 4 * DAY, 5 * DAY, 2)
    life.run(1, draft("B"))
    assert life.known["ins_2"].state == "resolved"
    assert life.known["ins_2"].resolved_s == 4 * DAY
    assert [e.kind for e in life.events] == ["new"]


def test_identity_is_stable() -> None:
    """It hangs on what makes two findings the same, not on T or numbers."""
    assert identity(signal()) == identity(signal(at_ms=5, level=9.0, value=7.0, size=3.0))
    assert identity(signal()) != identity(signal(baseline=Segment.of({"k": Equals(1)})))
    assert identity(signal()) != identity(signal(of=verse(timestamp_field_name="MONA_ARRIVAL_TIMESTAMP")))
