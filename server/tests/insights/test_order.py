"""The insights after a set of runs are the same, in whatever order the runs were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mona_server.insights import repository, work
from mona_server.insights.lifecycle import Draft, Insight, Judged, Outcome
from mona_server.store.tables_insights import data_alerts, insight_occurrences, insights
from tests.insights.mill import DAY, TENANT, Mill
from tests.insights.test_lifecycle import Life, draft, verse
from tests.insights.test_runs import CONFIG, HAIFA, NAME, T0, day
from tests.insights.test_work import notice_count

Days = Mapping[int, frozenset[str]]
"""Day of a run → the cities that it finds."""


class Forgetful(Life):
    """Each run is told what the store tells it: few findings of each insight, and the runs since the first of these."""

    def run(self, day: int, *drafts: Draft, **options: Any) -> Outcome:
        at_s, whole, ran = day * DAY, dict(self.known), self.ran
        told = {key: self._told(insight, at_s) for key, insight in whole.items()}
        self.known, self.ran = told, {t for t in ran if t >= Judged.since(list(told.values()), at_s)}
        outcome = super().run(day, *drafts, **options)
        self.ran = ran | {at_s}
        for key, insight in self.known.items():
            times = set(whole[key].found if key in whole else ()) - {at_s} | ({at_s} if key in outcome.found else set())
            self.known[key] = replace(insight, found=tuple(sorted(times)), earlier=0)
        return outcome

    @staticmethod
    def _told(insight: Insight, at_s: int) -> Insight:
        if insight.past(at_s):
            return replace(insight, found=())
        before, after = [t for t in insight.found if t < at_s], [t for t in insight.found if t >= at_s]
        return replace(insight, found=(*before[-2:], *after), earlier=len(before[:-2]))


def left(
    days: Days, order: Iterable[int], type_name: str = "AverageDrift", kind: type[Life] = Life
) -> set[tuple[object, ...]]:
    """What runs leave that are made in an order: per insight its city, times, state and counts, and the one before it."""
    of = verse(type_name, **({"time_series_points": 5} if type_name == "AverageSuddenChange" else {}))
    life = kind(of)
    for number in order:
        life.run(number, *(draft(city, of=of) for city in sorted(days[number])))
    span = {insight.id: (insight.segment, insight.found) for insight in life.known.values()}
    return {
        (
            span[one.id],
            (one.first_s, one.last_s, one.occurrences),
            (one.state, one.missed, one.reopened, one.resolved_s, one.resolved_reason),
            span.get(one.previous_id or ""),
        )
        for one in life.known.values()
    }


def found_on(numbers: Iterable[int], of: Iterable[int]) -> Days:
    return {number: frozenset({"A"} if number in numbers else ()) for number in of}


types = pytest.mark.parametrize("type_name", ["AverageDrift", "AverageSuddenChange"])
cities = st.frozensets(st.sampled_from("AB"))


@types
@settings(max_examples=60)
@given(data=st.data())
def test_within_two_weeks_any_order_leaves_the_same(type_name: str, data: st.DataObject) -> None:
    """No finding is too far from the next to be the same insight, so ids do not depend on what was known when."""
    days = data.draw(st.dictionaries(st.integers(0, 14), cities, min_size=1))
    order = data.draw(st.permutations(sorted(days)))
    assert left(days, order, type_name) == left(days, sorted(days), type_name)


@types
@settings(max_examples=60)
@given(data=st.data())
def test_newest_first_leaves_what_oldest_first_leaves(type_name: str, data: st.DataObject) -> None:
    """Over months, too: with insights that were closed, that came back and that were followed by others."""
    days = data.draw(st.dictionaries(st.integers(0, 70), cities, min_size=1))
    assert left(days, sorted(days, reverse=True), type_name) == left(days, sorted(days), type_name)


@types
@settings(max_examples=60)
@given(data=st.data())
def test_a_run_needs_to_be_told_little(type_name: str, data: st.DataObject) -> None:
    """Two findings before T and those after it, and the runs since: in any order they leave what all of them would."""
    days = data.draw(st.dictionaries(st.integers(0, 50), cities, min_size=1))
    order = data.draw(st.permutations(sorted(days)))
    assert left(days, order, type_name, Forgetful) == left(days, order, type_name)


@pytest.mark.parametrize("last", [True, False])
def test_a_backfill_behind_a_scheduled_run(last: bool) -> None:
    """What seven runs of the past did not see is closed, and what comes later is another insight."""
    days = found_on([0, 1, 30, *([50] if last else [])], range(51))
    scheduled_first = [50, *range(49, -1, -1)]
    assert left(days, scheduled_first) == left(days, range(51))
    assert len(left(days, scheduled_first)) == (3 if last else 2)


def test_oldest_first_behind_a_run_that_found_nothing() -> None:
    """By hand, day after day: nothing stays open that the past did not see."""
    days = found_on([0, 1, 30], range(51))
    assert left(days, [50, *range(50)]) == left(days, range(51))


def test_an_insight_that_was_found_again_before_its_gap_was_known_stays_one() -> None:
    """Ids never change: it counts as reopened, although it would have been two in time."""
    days = found_on([0, 30], range(31))
    life = Life()
    for number in [0, 30, *range(1, 30)]:
        life.run(number, *([draft()] if days[number] else []))
    (insight,) = life.known.values()
    assert (insight.state, insight.reopened, insight.occurrences) == ("new", 1, 2)
    assert [event.kind for event in life.events] == ["new", "ongoing"]


def test_what_a_configuration_closed_stays_closed() -> None:
    """Runs for the past find it, too, and do not open it; a later one does."""
    life = Life()
    life.run(5, draft())
    closed = replace(life.known["ins_1"], state="resolved", resolved_s=6 * DAY, resolved_reason="verse_removed")
    life.known["ins_1"] = closed
    life.run(4, draft())
    life.run(3)
    assert (life.states, life.known["ins_1"].occurrences) == (["resolved"], 2)
    life.run(7, draft())
    assert (life.states, life.known["ins_1"].reopened) == (["new"], 1)
    life.run(8, draft())
    assert (life.states, life.known["ins_1"].reopened) == (["ongoing"], 1)
    assert [event.kind for event in life.events] == ["new", "reopened", "ongoing"]


@pytest.mark.parametrize(
    "order",
    [(14, 15, 16, 17, 18), (18, 17, 16, 15, 14), (18, 14, 15, 16, 17), (16, 18, 14, 17, 15)],
    ids=lambda order: "-".join(map(str, order)),
)
def test_the_store_holds_the_same(mill: Mill, order: tuple[int, ...]) -> None:
    """Found on two of five days, with a clean one in between and two after."""
    mill.configure(CONFIG)
    for number in range(18):
        mill.send(day(number, shift={13: 8.0, 15: 60.0}.get(number, 0.0)))
    for at in order:
        mill.run(NAME, T0 + at * DAY)
    with mill.store.meta.connect() as connection:
        (row,) = connection.execute(select(insights).where(insights.c.state != "suppressed")).all()
    assert (row.segment, row.state, row.resolved_reason) == (HAIFA, "resolved", "not_found")
    assert [(at - T0) / DAY for at in (row.first_s, row.last_s, row.resolved_s)] == [14, 16, 18]
    assert (row.occurrences, row.missed, row.reopened) == (2, 2, 0)
    assert row.body["main_signal"]["timestamp"] == T0 + 16 * DAY


@pytest.mark.parametrize("found_last", [True, False])
@pytest.mark.parametrize("scheduled", [True, False])
def test_a_backfill_leaves_the_same_behind_a_scheduled_run(mill: Mill, scheduled: bool, found_last: bool) -> None:
    """Two shocks three weeks apart are two insights, whatever the schedule has found before; only that one is told."""
    mill.configure(CONFIG | {"notifications": {"all": {"emails": ["a@example.org"]}}})
    shifts = {13: 8.0, 34: 60.0} | ({55: 500.0} if found_last else {})
    for number in range(56):
        mill.send(day(number, shift=shifts.get(number, 0.0)))
    if scheduled:
        mill.run(NAME, T0 + 56 * DAY, "schedule")
    now = datetime.fromtimestamp(T0 + 56 * DAY, UTC)
    work.ask(mill.store, TENANT, mill.name, now=now, from_s=T0 + 12 * DAY, to_s=T0 + 56 * DAY)
    work.answer_jobs(mill.desk, lambda: now)
    with mill.store.meta.connect() as connection:
        wanted = select(insights).where(insights.c.segment == HAIFA, insights.c.state != "suppressed")
        rows = connection.execute(wanted.order_by(insights.c.first_s)).all()
    lives = [((row.first_s - T0) / DAY, row.state, row.occurrences, row.reopened) for row in rows]
    assert lives == [(14, "resolved", 1, 0), (35, "resolved", 1, 0), *([(56, "new", 1, 0)] if found_last else [])]
    assert [row.previous_id for row in rows] == [None, *(row.id for row in rows[:-1])]
    assert notice_count(mill) == (1 if scheduled and found_last else 0)


def test_a_repeated_run_takes_back_what_it_no_longer_finds(mill: Mill) -> None:
    """Late data outweighs the shock: nothing was found at that T, and the next clean run closes the insight."""
    mill.configure(CONFIG)
    for number in range(15):
        mill.send(day(number, shift=5.0 if number == 13 else 0.0))
    mill.run(NAME, T0 + 14 * DAY)
    mill.send(day(13, start=100, per_city=400))
    states: list[str] = []
    for at, reason in ((14, "late_data"), (15, "schedule")):
        mill.run(NAME, T0 + at * DAY, reason)
        with mill.store.meta.connect() as connection:
            states += connection.execute(select(insights.c.state).where(insights.c.segment == HAIFA)).scalars()
            assert connection.execute(select(insight_occurrences)).all() == []
    assert states == ["recovering", "resolved"]


def test_missing_data_of_the_past_is_no_alert(mill: Mill) -> None:
    """A later run has seen data since."""
    mill.configure(CONFIG)
    for number in (*range(15), 16):
        mill.send(day(number))
    for at in (17, 16):
        mill.run(NAME, T0 + at * DAY)
    with mill.store.meta.connect() as connection:
        assert connection.execute(select(data_alerts)).all() == []


def test_an_insight_of_months_costs_a_run_no_more_than_one_of_days(mill: Mill) -> None:
    """The store tells a run of few findings and runs, however often the insight was found before."""
    mill.configure(CONFIG)
    for number in range(20):
        mill.send(day(number, shift=8.0 * 1.5**number if number > 12 else 0.0))
    for number in (14, 15, 16, 17):
        mill.run(NAME, T0 + number * DAY)
    (of,), at_s = mill.context_class.verses, T0 + 18 * DAY
    with mill.store.meta.connect() as connection:
        (insight,) = [one for one in repository.known(connection, TENANT, of, 0, at_s) if one.segment == HAIFA]
        assert (insight.found, insight.earlier) == ((T0 + 16 * DAY, T0 + 17 * DAY), 2)
        assert repository.judged(connection, TENANT, of, Judged.since([insight], at_s)) == list(insight.found)
    mill.run(NAME, at_s)
    with mill.store.meta.connect() as connection:
        (row,) = connection.execute(select(insights).where(insights.c.segment == HAIFA)).all()
    assert (row.state, row.first_s, row.last_s, row.occurrences) == ("ongoing", T0 + 14 * DAY, at_s, 5)
