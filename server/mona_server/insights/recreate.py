"""After a change of the configuration: insights of changed verses are made anew, those of vanished verses are closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from mona_server.config.model import ContextClass
from mona_server.detect.verses.base import Verse
from mona_server.insights.repository import of_verse, runs_of
from mona_server.store.tables_insights import detect_state, insight_occurrences, insights, runs

RECREATE_S = 30 * 86_400
MOST_RUNS = 30
"""So many of the latest runs of a changed verse are repeated at most."""

OPEN = ("new", "ongoing", "recovering")


@dataclass(frozen=True, slots=True)
class Changes:
    """What a new configuration means for the insights there are."""

    again: tuple[tuple[Verse, tuple[int, ...]], ...]
    """Changed verses, and the T (Unix seconds, ascending) of their runs that have to be repeated."""
    closed: int
    """Insights of verses that are gone."""


def followed(connection: Connection, tenant: str) -> str | None:
    """The configuration revision whose changes have been followed."""
    wanted = select(detect_state.c.config_id).where(detect_state.c.tenant == tenant)
    return connection.execute(wanted).scalar()


def follow(connection: Connection, tenant: str, config_id: str) -> None:
    """Note that the changes of a revision have been followed."""
    connection.execute(delete(detect_state).where(detect_state.c.tenant == tenant))
    connection.execute(detect_state.insert().values(tenant=tenant, config_id=config_id))


def apply(
    connection: Connection, tenant: str, classes: Mapping[str, ContextClass], config_id: str, now: datetime
) -> Changes:
    """Close insights of verses that are gone, and forget the last 30 days of runs of those that changed.

    The caller repeats these runs in order. In one transaction, so that a crash repeats all or nothing.
    """
    now_s = int(now.timestamp())
    verses = {
        (name, stanza.name, verse.name): verse
        for name, one in classes.items()
        for stanza in one.stanzas.values()
        for verse in stanza.verses
    }
    closed = _close_gone(connection, tenant, verses, now_s)
    again = []
    for verse in verses.values():
        times = _outdated(connection, tenant, verse, now_s)
        if times:
            _forget(connection, tenant, verse, times)
            if not verse["disabled"]:
                again.append((verse, times))
    follow(connection, tenant, config_id)
    return Changes(tuple(again), closed)


def settle(connection: Connection, tenant: str, verse: Verse, since_s: int, now_s: int) -> None:
    """Close open insights of a re-created verse that none of its repeated runs found."""
    c = insights.c
    connection.execute(
        update(insights)
        .where(*of_verse(tenant, verse), c.state.in_(OPEN), c.last_s < since_s)
        .values(state="resolved", resolved_s=now_s, resolved_reason="config_changed")
    )


def _close_gone(connection: Connection, tenant: str, verses: Mapping[tuple[str, str, str], Verse], now_s: int) -> int:
    c = insights.c
    wanted = select(c.context_class, c.stanza, c.verse_name).where(c.tenant == tenant, c.state.in_(OPEN)).distinct()
    closed = 0
    for name, stanza, verse_name in connection.execute(wanted).all():
        if (name, stanza, verse_name) not in verses:
            closed += connection.execute(
                update(insights)
                .where(
                    c.tenant == tenant,
                    c.context_class == name,
                    c.stanza == stanza,
                    c.verse_name == verse_name,
                    c.state.in_(OPEN),
                )
                .values(state="resolved", resolved_s=now_s, resolved_reason="verse_removed")
            ).rowcount
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
