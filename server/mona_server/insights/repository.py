"""Insights and runs in ``meta.db``. Every question names the tenant; nobody sees another one's."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from mona_server.detect.signal import Signal
from mona_server.detect.verses.base import Verse
from mona_server.insights.lifecycle import Draft, Insight
from mona_server.store.tables_insights import insight_occurrences, insights, runs

Json = dict[str, Any]
KEEP_SUPPRESSED_S = 30 * 86_400
MOST_SUPPRESSED = 100
"""So many signals of one run that are no insights (chance, or folded) are kept."""
MOST_RELATED = 100
"""So many related signals are kept with an insight, the strongest."""


def new_id(prefix: str) -> str:
    """A fresh id, e.g. ``ins_4f1c…``."""
    return f"{prefix}_{uuid.uuid4().hex[:20]}"


def known(connection: Connection, tenant: str, verse: Verse, since_s: int, at_s: int) -> list[Insight]:
    """The verse's insights that are open, or were resolved or last seen at ``since_s`` or later, as a run at T asks for them."""
    c = insights.c
    remembered = c.state.in_(("new", "ongoing", "recovering")) | ((c.state == "resolved") & (c.last_s >= since_s))
    rows = connection.execute(select(insights).where(*of_verse(tenant, verse), remembered).order_by(c.first_s, c.id))
    return [_with_findings(connection, _insight(row), at_s) for row in rows.all()]


def _with_findings(connection: Connection, insight: Insight, at_s: int) -> Insight:
    """With the two findings before T and those after it: an insight may have been found every minute for months."""
    if insight.past(at_s):
        return insight
    o = insight_occurrences.c
    of_it = select(o.timestamp_s).where(o.insight_id == insight.id)
    before = connection.execute(of_it.where(o.timestamp_s < at_s).order_by(o.timestamp_s.desc()).limit(2)).scalars()
    after = connection.execute(of_it.where(o.timestamp_s >= at_s).order_by(o.timestamp_s)).scalars()
    found = (*reversed(before.all()), *after)
    return replace(insight, found=found, earlier=max(insight.occurrences - len(found), 0))


def save(
    connection: Connection,
    tenant: str,
    user_id: str,
    verse: Verse,
    changed: Sequence[Insight],
    *,
    run_id: str,
    config_id: str | None,
    as_of: int,
    now_ms: int,
) -> None:
    """Write changed insights, and which of them the run found."""
    for one in changed:
        values: dict[str, Any] = {
            name: getattr(one, name)
            for name in (
                *("identity", "metric", "desc", "baseline", "segment", "state", "urgency", "first_s", "last_s"),
                *("occurrences", "missed", "reopened", "archived", "resolved_s", "resolved_reason", "previous_id"),
            )
        }
        values["updated_ms"] = now_ms
        if one.seen is not None:
            main = one.seen.main
            values |= {
                "score": main.score,
                "level": main.level,
                "size": main.size,
                "ratio": main.ratio,
                "run_id": run_id,
                "config_id": config_id,
                "as_of": as_of,
                "body": body_of(one.seen, user_id),
                "evidence": one.seen.evidence,
            }
        touched = connection.execute(
            update(insights).where(insights.c.id == one.id, insights.c.tenant == tenant).values(values)
        )
        if not touched.rowcount:
            connection.execute(insert(insights).values(id=one.id, **_names(tenant, verse), **values))
            drop_suppressed(connection, tenant, verse, one.identity)


def note_found(
    connection: Connection, tenant: str, verse: Verse, found: Mapping[str, Signal], at_s: int, run_id: str
) -> None:
    """Insight id → the signal that the run found of it; what an earlier run at the same T found is taken back."""
    table = insight_occurrences
    ids = select(insights.c.id).where(*of_verse(tenant, verse))
    connection.execute(delete(table).where(table.c.insight_id.in_(ids), table.c.timestamp_s == at_s))
    for insight_id, signal in found.items():
        connection.execute(
            insert(table).values(
                insight_id=insight_id,
                timestamp_s=at_s,
                run_id=run_id,
                score=signal.score,
                level=signal.level,
                value=signal.value,
                benchmark=signal.benchmark,
                size=signal.size,
            )
        )


def save_suppressed(
    connection: Connection,
    tenant: str,
    user_id: str,
    verse: Verse,
    at_s: int,
    held_back: Sequence[tuple[str, Signal, str]],
    *,
    run_id: str,
    now_ms: int,
) -> None:
    """Signals that are no insights, as (identity, signal, title): kept for a while, shown on request."""
    c = insights.c
    for key, signal, title in held_back[:MOST_SUPPRESSED]:
        where = (*of_verse(tenant, verse), c.identity == key, c.state == "suppressed")
        before = connection.execute(select(c.id, c.first_s, c.last_s, c.occurrences).where(*where)).first()
        again = before is not None and before.last_s >= at_s
        values: dict[str, Any] = {
            "last_s": at_s if before is None else max(at_s, before.last_s),
            "first_s": at_s if before is None else min(at_s, before.first_s),
            "occurrences": 1 if before is None else before.occurrences + (0 if again else 1),
            "score": signal.score,
            "level": signal.level,
            "size": signal.size,
            "ratio": signal.ratio,
            "run_id": run_id,
            "body": {"title": title, "main_signal": signal.to_json(user_id)},
            "updated_ms": now_ms,
        }
        if before is not None:
            connection.execute(update(insights).where(c.id == before.id).values(values))
            continue
        connection.execute(
            insert(insights).values(
                id=new_id("ins"),
                identity=key,
                metric=signal.metric,
                desc=signal.desc,
                baseline=signal.baseline.text,
                segment=signal.segment.text,
                state="suppressed",
                urgency="normal",
                **_names(tenant, verse),
                **values,
            )
        )


def drop_suppressed(connection: Connection, tenant: str, verse: Verse, identity: str) -> None:
    """What is an insight now is no longer held back."""
    connection.execute(
        delete(insights).where(
            *of_verse(tenant, verse), insights.c.identity == identity, insights.c.state == "suppressed"
        )
    )


def forget_suppressed(connection: Connection, before_s: int) -> None:
    """Remove suppressed signals that were last seen before a moment."""
    connection.execute(delete(insights).where(insights.c.state == "suppressed", insights.c.last_s < before_s))


def body_of(draft: Draft, user_id: str) -> Json:
    """What an insight says, as it is kept."""
    related = [
        {**one.signal.to_json(user_id), "relation": one.relation} for one in draft.finding.related[:MOST_RELATED]
    ]
    return {
        "title": draft.title,
        "main_signal": draft.main.to_json(user_id),
        "related_signals": related,
        "related_anomalies": [dict(one) for one in draft.related_anomalies],
        "explanations": [dict(one) for one in draft.explanations],
        "global_share": draft.global_share,
    }


def to_json(row: Any, *, public_url: str = "", comments: int = 0) -> Json:
    """The insight object of the specification, original keys first."""
    body = row.body
    main = body["main_signal"]
    return {
        "user_id": main.get("user_id", ""),
        "arc_class": row.context_class,
        "stanza_name": row.stanza,
        "verse_name": row.verse_name,
        "score": row.score,
        "main_signal": main,
        "related_signals": body.get("related_signals", []),
        "related_anomalies": body.get("related_anomalies", []),
        "insight_id": row.id,
        "state": row.state,
        "archived": bool(row.archived),
        "urgency": row.urgency,
        "first_discovered": row.first_s,
        "last_discovered": row.last_s,
        "occurrences": row.occurrences,
        "url": f"{public_url.rstrip('/')}/insights/{row.id}" if public_url else f"/insights/{row.id}",
        "title": body.get("title", ""),
        "explanations": body.get("explanations", []),
        "global_share": body.get("global_share"),
        "feedback": row.feedback,
        "feedback_note": row.feedback_note,
        "exclude_window": bool(row.exclude_window),
        "assignee": row.assignee,
        "comments_count": comments,
        "snoozed_until": row.snoozed_until_s,
        "resolved_at": row.resolved_s,
        "resolved_reason": row.resolved_reason,
        "reopened": row.reopened,
        "previous_insight_id": row.previous_id,
        "config_id": row.config_id,
        "as_of": row.as_of,
        "run_id": row.run_id,
        "timestamp_field_name": row.time_axis,
    }


def by_ids(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, Any]:
    """Rows by id."""
    rows = connection.execute(select(insights).where(insights.c.tenant == tenant, insights.c.id.in_(list(ids))))
    return {row.id: row for row in rows}


def new_segments(connection: Connection, tenant: str, context_class: str) -> list[str]:
    """Canonical texts of the segments that open insights of NewSegments verses of a class name."""
    c = insights.c
    wanted = select(c.segment).where(
        c.tenant == tenant,
        c.context_class == context_class,
        c.verse_type == "NewSegments",
        c.state.in_(("new", "ongoing", "recovering")),
    )
    return list(connection.execute(wanted.distinct().order_by(c.segment)).scalars())


def judged(connection: Connection, tenant: str, verse: Verse, since_s: int) -> list[int]:
    """T of the runs of a verse that judged, from ``since_s`` on; those without data did not."""
    c = runs.c
    wanted = select(c.timestamp_s).where(
        *runs_of(tenant, verse),
        c.timestamp_s >= since_s,
        c.report["tests"].as_integer().is_not(None),
    )
    return list(connection.execute(wanted.order_by(c.timestamp_s)).scalars())


def last_run(connection: Connection, tenant: str, verse: Verse) -> Any:
    """The row of the run with the latest T, or None."""
    wanted = select(runs).where(*runs_of(tenant, verse)).order_by(runs.c.timestamp_s.desc()).limit(1)
    return connection.execute(wanted).first()


def of_verse(tenant: str, verse: Verse) -> tuple[Any, ...]:
    """Conditions for the insights of a verse."""
    c = insights.c
    return (
        c.tenant == tenant,
        c.context_class == verse.context_class,
        c.stanza == verse.stanza,
        c.verse_name == verse.name,
    )


def runs_of(tenant: str, verse: Verse) -> tuple[Any, ...]:
    """Conditions for the runs of a verse."""
    c = runs.c
    return (
        c.tenant == tenant,
        c.context_class == verse.context_class,
        c.stanza == verse.stanza,
        c.verse_name == verse.name,
    )


def _names(tenant: str, verse: Verse) -> Json:
    return {
        "tenant": tenant,
        "context_class": verse.context_class,
        "stanza": verse.stanza,
        "verse_name": verse.name,
        "verse_type": verse.type.type,
        "signal_type": verse.type.signal_type,
        "time_axis": verse["timestamp_field_name"],
    }


def _insight(row: Any) -> Insight:
    names = [name for name in Insight.__dataclass_fields__ if name not in ("seen", "found", "earlier")]
    return Insight(**{name: getattr(row, name) for name in names})
