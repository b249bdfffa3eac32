"""The work of the detect process: follow configurations, run what is due, answer questions, repeat for late data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import select, update

from mona_server import notify
from mona_server.config import frozen, revisions
from mona_server.config.model import ContextClass
from mona_server.detect.verses.base import Verse
from mona_server.detect.windows import window_ends
from mona_server.errors import BadRequest, MonaError, NotFound
from mona_server.insights import recreate, repository
from mona_server.insights.data import ClassData
from mona_server.insights.due import Due, due, tenants, unfollowed
from mona_server.insights.recreate import RUN_JOB
from mona_server.insights.runs import REASONS, Desk, run_at
from mona_server.insights.telling import finish_saved
from mona_server.store import jobs
from mona_server.store.store import Store
from mona_server.store.tables_insights import runs

log = structlog.get_logger()

Clock = Callable[[], datetime]
Stopped = Callable[[], bool]
LATE = 0.05
"""A window that gained at least this share of contexts is run again, once."""
LATE_RUNS = 7
MOST_ENDS = 5_000
DAY_S = 86_400


def ask(
    store: Store,
    tenant: str,
    context_class: str,
    *,
    now: datetime,
    verses: Sequence[str] | None = None,
    timestamp_s: float | None = None,
    from_s: float | None = None,
    to_s: float | None = None,
    reason: str = "demand",
    author: str = "",
) -> str:
    """Queue runs; returns the id of the job, whose result will be ``{"runs": [...], "insights": [...]}``.

    Of all verses of the class or the named ones; at ``timestamp_s``, at every T of ``from_s < T <= to_s`` (a backfill,
    of which nobody is told), or now. Raises NotFound for an unknown class or verse.
    """
    if reason not in REASONS:
        raise BadRequest(f"{reason!r} is no reason of a run", hint=f"known are {', '.join(REASONS)}")
    one = _class(store, tenant, context_class)
    for name in verses or ():
        if one.verse(name) is None:
            raise NotFound(f"class {context_class} has no verse {name}")
    parameters = {
        "context_class": context_class,
        "verses": None if verses is None else list(verses),
        "timestamp": timestamp_s,
        "from": from_s,
        "to": to_s,
        "reason": "backfill" if from_s is not None and reason == "demand" else reason,
    }
    return jobs.create(store.meta, tenant, RUN_JOB, parameters, int(now.timestamp() * 1000), author=author)


def work(desk: Desk, clock: Clock, stopped: Stopped = lambda: False) -> bool:
    """Do all that is to be done now; returns whether there was anything. One bad run does not stop the others."""
    did = follow_configurations(desk, clock, stopped)
    did |= answer_jobs(desk, clock, stopped)
    for one in due(desk.store, clock()):
        did = True
        _run_due(desk, one, clock, stopped)
        did |= answer_jobs(desk, clock, stopped)  # people do not wait for the schedule
        if stopped():
            break
    return did


def recover(desk: Desk, now: datetime) -> None:
    """At start: runs that a dead process left behind are failed, notices that it did not queue are queued."""
    with desk.store.meta.begin() as connection:
        left = update(runs).where(runs.c.state == "running")
        connection.execute(left.values(state="failed", error="the process ended during the run"))
    for tenant in tenants(desk.store):
        revision = revisions.active(desk.store.meta, tenant)
        for one in frozen.classes(desk.store.meta, revision).values() if revision else ():
            finish_saved(desk.store, tenant, one, now, public_url=desk.public_url)


def follow_configurations(desk: Desk, clock: Clock, stopped: Stopped = lambda: False) -> bool:
    """Close insights of verses that are gone, and ask for new runs of those that changed."""
    changed = unfollowed(desk.store)
    for tenant in changed:
        revision = revisions.active(desk.store.meta, tenant)
        if revision is None or stopped():
            continue
        classes = frozen.classes(desk.store.meta, revision)
        with desk.store.meta.begin() as connection:
            asked = recreate.apply(connection, tenant, classes, revision, clock())
        if asked:
            log.info("configuration_followed", tenant=tenant, config_id=revision.id, classes=len(asked))
    return bool(changed)


def answer_jobs(desk: Desk, clock: Clock, stopped: Stopped = lambda: False) -> bool:
    """Run what people asked for, oldest question first."""
    did = False
    while not stopped():
        job = jobs.claim(desk.store.meta, (RUN_JOB,), "detect", _ms(clock()))
        if job is None:
            return did
        did = True
        try:
            made_anew = job.parameters.get("times") is not None
            result = (_recreate if made_anew else _answer)(desk, job, clock, stopped)
            if result is not None:
                jobs.finish(desk.store.meta, job, result, now_ms=_ms(clock()))
        except jobs.LostJob:
            continue
        except MonaError as error:
            jobs.fail(desk.store.meta, job, str(error), now_ms=_ms(clock()))
        except Exception as error:
            log.exception("run_job_failed", job=job.id)
            jobs.fail(desk.store.meta, job, type(error).__name__, now_ms=_ms(clock()))
    return did


def _answer(desk: Desk, job: jobs.Job, clock: Clock, stopped: Stopped) -> dict[str, Any] | None:
    asked = job.parameters
    context_class = _class(desk.store, job.tenant, asked["context_class"])
    names = asked.get("verses")
    chosen = context_class.verses if names is None else [context_class.verse(name) for name in names]
    steps = [
        (verse, at)
        for verse in sorted((v for v in chosen if v is not None), key=lambda v: v.type.family != "New")
        for at in _ends(verse, asked, clock())
    ]
    revision = revisions.active_id(desk.store.meta, job.tenant)
    quiet = asked.get("reason") == "backfill"
    done: dict[str, list[str]] = job.checkpoint or {"runs": [], "insights": [], "failed": []}
    first = len(done["runs"]) + len(done["failed"])
    for number, (verse, at) in enumerate(steps[first:], start=first):
        if stopped():
            return None
        try:
            outcome = run_at(
                desk,
                job.tenant,
                context_class,
                verse,
                at,
                asked.get("reason") or "demand",
                config_id=revision,
                now=clock(),
                quiet=quiet,
            )
        except MonaError as error:
            if len(steps) == 1:
                raise
            done["failed"].append(f"{verse.name} at {int(at.timestamp())}: {error}")
        else:
            done["runs"].append(outcome.id)
            done["insights"] = list(dict.fromkeys([*done["insights"], *(i["insight_id"] for i in outcome.insights)]))
        jobs.progress(desk.store.meta, job, (number + 1) / len(steps), checkpoint=done, now_ms=_ms(clock()))
    return done


def _recreate(desk: Desk, job: jobs.Job, clock: Clock, stopped: Stopped) -> dict[str, Any] | None:
    """Repeat the runs of changed verses, oldest first, close what they no longer find, and tell the people concerned."""
    asked = job.parameters
    revision = revisions.active(desk.store.meta, job.tenant)
    context_class = frozen.classes(desk.store.meta, revision).get(asked["context_class"]) if revision else None
    verses = [] if context_class is None else [context_class.verse(name) for name in asked["times"]]
    changed = [(verse, asked["times"][verse.name]) for verse in verses if verse is not None]
    steps = [(verse, at_s, at_s == times[-1]) for verse, times in changed for at_s in times]
    first = (job.checkpoint or {}).get("done", 0)
    if context_class is not None:
        for number, (verse, at_s, last) in enumerate(steps[first:], start=first):
            if stopped():
                return None
            _safely(desk, job.tenant, context_class, verse, at_s, "config", asked["config_id"], clock, not last)
            share = (number + 1) / len(steps)
            jobs.progress(desk.store.meta, job, share, checkpoint={"done": number + 1}, now_ms=_ms(clock()))
    with desk.store.meta.begin() as connection:
        for verse, times in changed:
            recreate.settle(connection, job.tenant, verse, times[0], int(clock().timestamp()))
    rows = recreate.became(desk.store, job.tenant, [(verse, times[0]) for verse, times in changed], asked["closed"])
    if desk.settings.notifications.smtp_url:
        mails = {
            address: [repository.to_json(row, public_url=desk.public_url) for row in theirs]
            for address, theirs in recreate.concerned(desk.store, job.tenant, job.author, rows).items()
        }
        notify.tell_recreated(desk.store, job.tenant, asked["context_class"], asked["config_id"], mails, clock())
    return {"runs": len(steps), "insights": [row.id for row in rows], "closed": asked["closed"]}


def _ends(verse: Verse, asked: dict[str, Any], now: datetime) -> list[datetime]:
    """Every T that a job asks of a verse, newest first: so a finding of the past knows what the runs after it found."""
    if asked.get("from") is not None:
        until = now if asked.get("to") is None else datetime.fromtimestamp(float(asked["to"]), UTC)
        ends = window_ends(verse["cadence"], datetime.fromtimestamp(float(asked["from"]), UTC), until)
        if len(ends) > MOST_ENDS:
            raise BadRequest(
                f"verse {verse.name} has {len(ends)} runs in this range, at most {MOST_ENDS} can be asked for at once",
                hint="choose a shorter range",
            )
        return ends[::-1]
    at = now if asked.get("timestamp") is None else datetime.fromtimestamp(float(asked["timestamp"]), UTC)
    return [at]


def _run_due(desk: Desk, one: Due, clock: Clock, stopped: Stopped) -> None:
    for end in one.ends:
        if stopped():
            return
        at_s = int(end.timestamp())
        _safely(desk, one.tenant, one.context_class, one.verse, at_s, "schedule", one.revision.id, clock, False)
    repeat_late(desk, one, clock, stopped)


def repeat_late(desk: Desk, one: Due, clock: Clock, stopped: Stopped = lambda: False) -> int:
    """Repeat, once each, the latest runs whose windows have gained at least 5 % of contexts; returns how many."""
    with desk.store.meta.connect() as connection:
        c = runs.c
        wanted = select(runs).where(
            *repository.runs_of(one.tenant, one.verse), c.state == "done", c.repeats == 0, c.window_contexts > 0
        )
        rows = connection.execute(wanted.order_by(c.timestamp_s.desc()).limit(LATE_RUNS + 1)).all()[1:]
    repeated = 0
    data: ClassData | None = None
    for row in rows:
        days = desk.store.changed_days(one.tenant, one.context_class.name, row.data_revision or 0)
        if stopped() or not any(
            row.window_from_s <= (day + 1) * DAY_S and day * DAY_S < row.timestamp_s for day in days
        ):
            continue
        data = data or ClassData.open(desk.store, desk.engine, one.tenant, one.context_class)
        start_ms = None if data is None else data.start_ms(one.verse["timestamp_field_name"])
        plan = None
        if data is not None and start_ms is not None:
            plan = one.verse.type.plan(one.verse, row.timestamp_s * 1000, start_ms, data.look)
        if data is None or plan is None:
            continue
        now = float(data.contexts(plan.questions[-1], (row.window_from_s * 1000, row.timestamp_s * 1000))[0])
        if now >= (1 + LATE) * row.window_contexts:
            _safely(
                desk,
                one.tenant,
                one.context_class,
                one.verse,
                row.timestamp_s,
                "late_data",
                one.revision.id,
                clock,
                False,
            )
            repeated += 1
    return repeated


def _safely(
    desk: Desk,
    tenant: str,
    context_class: ContextClass,
    verse: Verse,
    at_s: int,
    reason: str,
    config_id: str,
    clock: Clock,
    quiet: bool,
) -> None:
    """A run whose failure is kept with it and logged, and stops nothing else."""
    at = datetime.fromtimestamp(at_s, UTC)
    try:
        run_at(desk, tenant, context_class, verse, at, reason, config_id=config_id, now=clock(), quiet=quiet)
    except Exception:
        log.exception("run_failed", tenant=tenant, verse=verse.name)


def _class(store: Store, tenant: str, name: str) -> ContextClass:
    revision = revisions.active(store.meta, tenant)
    found = frozen.classes(store.meta, revision).get(name) if revision else None
    if found is None:
        raise NotFound(f"Unknown context class: {name}")
    return found


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
