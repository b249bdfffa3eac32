"""After a change of the configuration: insights of changed verses are made anew, those of vanished verses are closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from mona_server.config.model import ContextClass
from mona_server.config.revisions import Revision
from mona_server.detect.verses.base import Verse
from mona_server.insights.repository import of_verse, runs_of
from mona_server.store import jobs
from mona_server.store.store import Store
from mona_server.store.tables_identity import users
from mona_server.store.tables_insights import detect_state, insight_comments, insight_occurrences, insights, runs

RECREATE_S = 30 * 86_400
MOST_RUNS = 30
"""So many of the latest runs of a changed verse are repeated at most."""

MOST_TOLD = 200
"""So many insights are named in a mail about a changed configuration at most, the strongest."""
RUN_JOB = "run"
"""Kind of the jobs that ask for runs."""

OPEN = ("new", "ongoing", "recovering")


def followed(connection: Connection, tenant: str) -> str | None:
    """The configuration revision whose changes have been followed."""
    wanted = select(detect_state.c.config_id).where(detect_state.c.tenant == tenant)
    return connection.execute(wanted).scalar()


def follow(connection: Connection, tenant: str, config_id: str) -> None:
    """Note that the changes of a revision have been followed."""
    connection.execute(delete(detect_state).where(detect_state.c.tenant == tenant))
    connection.execute(detect_state.insert().values(tenant=tenant, config_id=config_id))


def apply(
    connection: Connection, tenant: str, classes: Mapping[str, ContextClass], revision: Revision, now: datetime
) -> list[str]:
    """Close insights of verses that are gone, forget the last 30 days of runs of those that changed, and queue their
    repetition; returns the ids of the jobs, one per class.

    In one transaction, and the repeated runs are a job, so that a crash or a restart loses none of it.
    """
    now_s = int(now.timestamp())
    verses = {
        (name, stanza.name, verse.name): verse
        for name, one in classes.items()
        for stanza in one.stanzas.values()
        for verse in stanza.verses
    }
    closed = _close_gone(connection, tenant, verses, now_s)
    again: dict[str, dict[str, list[int]]] = {}
    for verse in verses.values():
        times = _outdated(connection, tenant, verse, now_s)
        if times:
            _forget(connection, tenant, verse, times)
            if not verse["disabled"]:
                again.setdefault(verse.context_class, {})[verse.name] = list(times)
    follow(connection, tenant, revision.id)
    made = []
    for name in sorted({*again, *closed}):
        parameters = {
            "context_class": name,
            "reason": "config",
            "config_id": revision.id,
            "times": again.get(name, {}),
            "closed": closed.get(name, []),
        }
        made.append(
            jobs.create_with(
                connection, tenant, RUN_JOB, parameters, int(now.timestamp() * 1000), author=revision.author
            )
        )
    return made


def settle(connection: Connection, tenant: str, verse: Verse, since_s: int, now_s: int) -> None:
    """Close open insights of a re-created verse that none of its repeated runs found."""
    c = insights.c
    connection.execute(
        update(insights)
        .where(*of_verse(tenant, verse), c.state.in_(OPEN), c.last_s < since_s)
        .values(state="resolved", resolved_s=now_s, resolved_reason="config_changed")
    )


def became(store: Store, tenant: str, verses: Sequence[tuple[Verse, int]], closed: Sequence[str]) -> list[Any]:
    """Rows of the insights that a change of the configuration is about, strongest first: those of each verse that were
    found at or after a T, or closed because they were not; and those with the ids ``closed``."""
    c = insights.c
    about = [
        and_(*of_verse(tenant, verse), c.state != "suppressed", (c.last_s >= since_s - 1)) for verse, since_s in verses
    ]
    wanted = select(insights).where(c.tenant == tenant, or_(c.id.in_(closed), *about)).order_by(c.score.desc(), c.id)
    with store.meta.connect() as connection:
        return list(connection.execute(wanted.limit(MOST_TOLD)))


def concerned(store: Store, tenant: str, author: str, rows: Sequence[Any]) -> dict[str, list[Any]]:
    """Mail address → the rows of insights to tell its owner of: all for the author of the change, and to those who
    worked on an insight (assigned to it, commented it, archived it or gave feedback) theirs."""
    ids = [row.id for row in rows]
    c = insight_comments.c
    with store.meta.connect() as connection:
        comments = connection.execute(select(c.insight_id, c.author).where(c.insight_id.in_(ids))).all()
        people: dict[str, set[str]] = {author: set(ids)}
        for row in rows:
            for name in (row.assignee, row.judged_by):
                if name:
                    people.setdefault(name, set()).add(row.id)
        for insight_id, name in comments:
            people.setdefault(name, set()).add(insight_id)
        known = select(users.c.id, users.c.email).where(users.c.tenant == tenant, users.c.state == "active")
        address = {row.id: row.email for row in connection.execute(known.where(users.c.id.in_(list(people))))}
    mails: dict[str, set[str]] = {}
    for name, theirs in people.items():
        to = address.get(name, name)
        if "@" in to:
            mails.setdefault(to.lower(), set()).update(theirs)
    return {to: [row for row in rows if row.id in theirs] for to, theirs in mails.items()}


def _close_gone(
    connection: Connection, tenant: str, verses: Mapping[tuple[str, str, str], Verse], now_s: int
) -> dict[str, list[str]]:
    """Class → ids of the insights that were closed."""
    c = insights.c
    wanted = select(c.id, c.context_class, c.stanza, c.verse_name).where(c.tenant == tenant, c.state.in_(OPEN))
    closed: dict[str, list[str]] = {}
    for row in connection.execute(wanted.order_by(c.id)).all():
        if (row.context_class, row.stanza, row.verse_name) not in verses:
            closed.setdefault(row.context_class, []).append(row.id)
            connection.execute(
                update(insights)
                .where(c.id == row.id)
                .values(state="resolved", resolved_s=now_s, resolved_reason="verse_removed")
            )
    return closed


def _outdated(connection: Connection, tenant: str, verse: Verse, now_s: int) -> tuple[int, ...]:
    """T of the verse's runs of the last 30 days, where they were made with other parameters."""
    c = runs.c
    where = (*runs_of(tenant, verse), c.state.in_(("saved", "done", "failed")))
    newest = connection.execute(
        select(c.timestamp_s, c.verse_text).where(*where).order_by(c.timestamp_s.desc()).limit(1)
    ).first()
    if newest is None or newest.verse_text == verse.text:
        return ()
    since = max(now_s, newest.timestamp_s) - RECREATE_S
    wanted = select(c.timestamp_s).where(*where, c.timestamp_s > min(since, newest.timestamp_s - RECREATE_S))
    times = connection.execute(wanted.order_by(c.timestamp_s.desc()).limit(MOST_RUNS)).scalars().all()
    return tuple(sorted(int(at) for at in times))


def _forget(connection: Connection, tenant: str, verse: Verse, times: tuple[int, ...]) -> None:
    """As if these runs had not been: their findings are taken back, so that repeating them counts nothing twice."""
    c, o = insights.c, insight_occurrences.c
    ids = list(connection.execute(select(c.id).where(*of_verse(tenant, verse), c.state != "suppressed")).scalars())
    for insight_id in ids:
        gone = connection.execute(
            delete(insight_occurrences).where(o.insight_id == insight_id, o.timestamp_s.in_(times))
        ).rowcount
        if not gone:
            continue
        first, last, number = connection.execute(
            select(func.min(o.timestamp_s), func.max(o.timestamp_s), func.count()).where(o.insight_id == insight_id)
        ).one()
        if not number:  # it may be found again under its id; until then it has been seen before these runs
            first = last = times[0] - 1
        connection.execute(
            update(insights).where(c.id == insight_id).values(first_s=first, last_s=last, occurrences=number, missed=0)
        )
    connection.execute(delete(insights).where(*of_verse(tenant, verse), c.state == "suppressed", c.last_s.in_(times)))
    connection.execute(delete(runs).where(*runs_of(tenant, verse), runs.c.timestamp_s.in_(times)))
