"""The detect process: schedule and catch-up, questions, late data, new configurations, notices."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, update

from mona_server.errors import BadRequest, NotFound
from mona_server.insights import due, work
from mona_server.insights.process import serve
from mona_server.insights.run_records import list_runs
from mona_server.store import jobs
from mona_server.store.tables_insights import insights, runs
from mona_server.store.tables_notify import deliveries
from tests.insights.mill import DAY, TENANT, Mill
from tests.insights.test_runs import CONFIG, HAIFA, NAME, T0, day, states
from tests.support import PATIENCE_S, eventually

CLASS = "LOAN"


def at(days: float, minutes: float = 31) -> datetime:
    return datetime.fromtimestamp(T0 + days * DAY + minutes * 60, UTC)


def worked(mill: Mill, now: datetime) -> bool:
    return work.work(mill.desk, lambda: now)


def run_times(mill: Mill) -> list[tuple[float, str]]:
    """(day of T, reason) of all runs, in the order in which they were started."""
    with mill.store.meta.connect() as connection:
        rows = connection.execute(select(runs).order_by(runs.c.started_ms, runs.c.timestamp_s.desc()))
        return [((row.timestamp_s - T0) / DAY, row.reason) for row in rows]


def fill(mill: Mill, first: int, last: int, shifts: dict[int, float] | None = None) -> None:
    for number in range(first, last):
        mill.send(day(number, shift=(shifts or {}).get(number, 0.0)))


def test_a_run_waits_for_its_delay(mill: Mill) -> None:
    """At midnight plus 30 minutes, not before, and once."""
    mill.configure(CONFIG)
    fill(mill, 0, 15)
    worked(mill, at(15, 29))
    assert [when for when, _ in run_times(mill)] == [14]
    worked(mill, at(15, 31))
    assert [when for when, _ in run_times(mill)] == [14, 15]
    assert not worked(mill, at(15, 45))


def test_missed_runs_are_caught_up_newest_first(mill: Mill) -> None:
    """After a pause the newest T comes first, and at most seven are made up for."""
    mill.configure(CONFIG)
    fill(mill, 0, 30)
    worked(mill, at(15))
    verse = mill.context_class.verse(NAME)
    assert verse is not None
    ends = due.missing_ends(mill.store, TENANT, verse, at(30))
    assert [(end.timestamp() - T0) / DAY for end in ends] == [30, 29, 28, 27, 26, 25, 24]
    worked(mill, at(30))
    assert sorted(when for when, _ in run_times(mill)) == [15, 24, 25, 26, 27, 28, 29, 30]


def test_a_class_without_data_is_left_alone(mill: Mill) -> None:
    """No runs before there is anything to judge."""
    mill.configure(CONFIG)
    worked(mill, at(5))
    assert run_times(mill) == []
    assert due.due(mill.store, at(5)) == []


def test_disabled_verses_do_not_run(mill: Mill) -> None:
    """They stay in the configuration."""
    mill.configure(CONFIG | {"stanzas_global_defaults": {"disabled": True}})
    fill(mill, 0, 3)
    worked(mill, at(3))
    assert run_times(mill) == []


def test_people_ask_for_runs(mill: Mill) -> None:
    """The job tells which runs were made and what they found."""
    mill.configure(CONFIG)
    fill(mill, 0, 14, {13: 6.0})
    worked(mill, at(2))
    job_id = work.ask(mill.store, TENANT, CLASS, now=at(2), timestamp_s=T0 + 14 * DAY)
    assert due.waiting_jobs(mill.store, int(at(2).timestamp() * 1000))
    worked(mill, at(2))
    job = jobs.get(mill.store.meta, TENANT, job_id)
    assert job.state == "done"
    assert len(job.result["runs"]) == 1
    assert len(job.result["insights"]) == 1
    assert not due.waiting_jobs(mill.store, int(at(2).timestamp() * 1000))


def test_a_backfill_runs_every_end_and_tells_nobody(mill: Mill) -> None:
    """Each T of the range; the insights are there, no notice is."""
    mill.configure(CONFIG | {"notifications": {"all": {"emails": ["a@example.org"]}}})
    fill(mill, 0, 16, {13: 6.0})
    job_id = work.ask(mill.store, TENANT, CLASS, now=at(16), from_s=T0 + 11 * DAY, to_s=T0 + 16 * DAY)
    work.answer_jobs(mill.desk, lambda: at(16))
    job = jobs.get(mill.store.meta, TENANT, job_id)
    assert len(job.result["runs"]) == 5
    assert [(when, why) for when, why in sorted(run_times(mill))] == [(n, "backfill") for n in range(12, 17)]
    assert states(mill) == [(HAIFA, "resolved", 1)]
    assert notice_count(mill) == 0


def notice_count(mill: Mill) -> int:
    with mill.store.meta.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(deliveries)).scalar_one())


def test_one_notice_for_an_insight_that_lasts(mill: Mill) -> None:
    """Ten runs find it; people hear of it once, and again when it comes back."""
    mill.configure(CONFIG | {"notifications": {"all": {"emails": ["a@example.org"]}}})
    fill(mill, 0, 12)
    for number in range(12, 22):
        mill.send(day(number, shift=40.0 * 2 ** (number - 12)))
        worked(mill, at(number + 1))
    assert states(mill) == [(HAIFA, "ongoing", 10)]
    assert notice_count(mill) == 1
    fill(mill, 22, 29, {28: 1e6})
    for number in range(22, 29):
        worked(mill, at(number + 1))
    assert states(mill) == [(HAIFA, "new", 11)]
    assert notice_count(mill) == 2


def test_snoozed_and_archived_insights_are_silent(mill: Mill) -> None:
    """Snoozing holds back what would be told; the insight lives on."""
    mill.configure(CONFIG | {"notifications": {"all": {"emails": ["a@example.org"], "only_states": ["resolved"]}}})
    fill(mill, 0, 16, {12: 6.0})
    worked(mill, at(13))
    with mill.store.meta.begin() as connection:
        connection.execute(update(insights).values(snoozed_until_s=T0 + 100 * DAY))
    worked(mill, at(14))
    worked(mill, at(15))
    assert states(mill) == [(HAIFA, "resolved", 1)]
    assert notice_count(mill) == 0


def test_a_crash_before_the_notices_loses_none(mill: Mill) -> None:
    """Saved, but not told: the next start tells, and telling again adds nothing."""
    mill.configure(CONFIG | {"notifications": {"all": {"emails": ["a@example.org"]}}})
    fill(mill, 0, 14, {13: 6.0})
    outcome = mill.run(NAME, T0 + 14 * DAY, quiet=True)
    assert notice_count(mill) == 0
    with mill.store.meta.begin() as connection:
        events = [["new", outcome.insights[0]["insight_id"]]]
        connection.execute(update(runs).values(state="saved", events=events))
    for _ in range(2):
        work.recover(mill.desk, at(14))
    assert notice_count(mill) == 1
    with mill.store.meta.begin() as connection:
        connection.execute(update(runs).values(state="saved", events=events))
    work.recover(mill.desk, at(14))
    assert notice_count(mill) == 1


def test_a_run_that_a_dead_process_left_is_made_again(mill: Mill) -> None:
    """It is marked failed at the next start; somebody's question runs it."""
    mill.configure(CONFIG)
    fill(mill, 0, 14)
    mill.run(NAME, T0 + 14 * DAY)
    with mill.store.meta.begin() as connection:
        connection.execute(update(runs).values(state="running"))
    work.recover(mill.desk, at(14))
    assert list_runs(mill.store, TENANT)[0]["state"] == "failed"
    mill.run(NAME, T0 + 14 * DAY, "schedule")
    assert list_runs(mill.store, TENANT)[0]["state"] == "done"


def test_late_data_repeats_a_run_once(mill: Mill) -> None:
    """A window that gained 5 % is judged again at the next run, one time."""
    mill.configure(CONFIG)
    fill(mill, 0, 15)
    worked(mill, at(14))
    mill.send(day(13, start=100, per_city=40))
    worked(mill, at(15))
    assert (14, "late_data") in run_times(mill)
    mill.send(day(13, start=200, per_city=40))
    mill.send(day(15))
    worked(mill, at(16))
    with mill.store.meta.connect() as connection:
        rows = connection.execute(select(runs.c.timestamp_s, runs.c.repeats)).all()
        repeats = {row.timestamp_s: row.repeats for row in rows}
    assert repeats[T0 + 14 * DAY] == 1


def test_a_changed_verse_makes_its_insights_anew(mill: Mill) -> None:
    """The runs of the last 30 days are repeated with the new parameters; what they no longer find is closed."""
    first = mill.configure(CONFIG)
    fill(mill, 0, 15, {13: 6.0, 14: 60.0})
    for number in (13, 14, 15):
        worked(mill, at(number))
    assert states(mill) == [(HAIFA, "ongoing", 2)]
    verse = CONFIG["stanzas"]["main"]["verses"][0] | {"min_segment_size": 10_000}
    second = mill.configure(CONFIG | {"stanzas": {"main": {"verses": [verse]}}})
    worked(mill, at(15, 40))
    assert states(mill)[0][1] == "resolved"
    with mill.store.meta.connect() as connection:
        rows = connection.execute(select(runs.c.reason, runs.c.config_id)).all()
        reason = connection.execute(select(insights.c.resolved_reason)).scalar_one()
    assert {tuple(row) for row in rows} == {("config", second)}
    assert first != second
    assert reason in ("config_changed", "not_found")
    mill.configure(CONFIG)
    worked(mill, at(15, 50))
    assert states(mill)[-1][1:] in (("new", 2), ("ongoing", 2))


def test_insights_of_a_vanished_verse_are_closed(mill: Mill) -> None:
    """With the reason."""
    mill.configure(CONFIG)
    fill(mill, 0, 14, {13: 6.0})
    worked(mill, at(14))
    mill.configure(CONFIG | {"stanzas": {}})
    worked(mill, at(14, 40))
    assert states(mill) == [(HAIFA, "resolved", 1)]
    with mill.store.meta.connect() as connection:
        assert connection.execute(select(insights.c.resolved_reason)).scalar_one() == "verse_removed"


def test_unknown_names_are_refused(mill: Mill) -> None:
    """Before anything is queued."""
    mill.configure(CONFIG)
    with pytest.raises(NotFound, match="Unknown context class: NOPE"):
        work.ask(mill.store, TENANT, "NOPE", now=at(1))
    with pytest.raises(NotFound, match="no verse nope"):
        work.ask(mill.store, TENANT, CLASS, now=at(1), verses=["nope"])
    with pytest.raises(BadRequest, match="reason"):
        work.ask(mill.store, TENANT, CLASS, now=at(1), reason="because")


def test_tenants_do_not_see_each_other(mill: Mill) -> None:
    """Insights and runs of one tenant are not those of another."""
    mill.configure(CONFIG)
    fill(mill, 0, 14, {13: 6.0})
    outcome = mill.run(NAME, T0 + 14 * DAY)
    assert outcome.insights
    from mona_server.insights import listing
    from mona_server.insights.run_records import get_run

    with pytest.raises(NotFound):
        get_run(mill.store, "other", outcome.id)
    with pytest.raises(NotFound):
        listing.get(mill.store, "other", outcome.insights[0]["insight_id"])
    assert listing.find(mill.store, "other", listing.InsightQuery(context_class=CLASS)) == []


def test_the_process_serves_questions(mill: Mill) -> None:
    """A question that is put while the scheduler sleeps is answered by a worker process."""
    mill.configure(CONFIG)
    fill(mill, 0, 14, {13: 6.0})
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(mill.settings, stop))
    thread.start()
    try:
        now = datetime.now(UTC)
        job_id = work.ask(mill.store, TENANT, CLASS, now=now, timestamp_s=T0 + 14 * DAY)
        eventually(lambda: jobs.get(mill.store.meta, TENANT, job_id).state == "done")
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert (HAIFA, "new", 1) in states(mill)
