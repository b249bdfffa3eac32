"""Tables of ``meta.db``: what the search found, in which runs, and what people said about it.

Times named ``_s`` are Unix seconds (a T of a run, or a moment of it), ``_ms`` milliseconds.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from mona_server.store.meta import metadata

insights = Table(
    "insights",
    metadata,
    Column("id", String(40), primary_key=True, comment="ins_…; never changes"),
    Column("tenant", String(128), nullable=False),
    Column("context_class", String(128), nullable=False),
    Column("stanza", Text, nullable=False),
    Column("verse_name", Text, nullable=False),
    Column("verse_type", String(64), nullable=False),
    Column("signal_type", String(96), nullable=False),
    Column("metric", Text, nullable=True, comment="null for sizes and new segments"),
    Column("desc", Boolean, nullable=False, comment="value below the reference"),
    Column("baseline", Text, nullable=False, comment="canonical JSON text"),
    Column("segment", Text, nullable=False, comment="canonical JSON text of the main segment; it may change"),
    Column("time_axis", Text, nullable=False),
    Column("identity", String(64), nullable=False, comment="hash of what makes two findings the same"),
    Column("state", String(16), nullable=False, comment="new, ongoing, recovering, resolved, suppressed"),
    Column("archived", Boolean, nullable=False, default=False),
    Column("urgency", String(8), nullable=False, comment="normal, high"),
    Column("score", Float, nullable=False),
    Column("level", Float, nullable=False),
    Column("size", Float, nullable=False),
    Column("ratio", Float, nullable=False),
    Column("first_s", BigInteger, nullable=False, comment="T of the first run that found it"),
    Column("last_s", BigInteger, nullable=False, comment="T of the latest run that found it"),
    Column("occurrences", Integer, nullable=False, comment="runs that found it"),
    Column("missed", Integer, nullable=False, default=0, comment="runs in a row that did not"),
    Column("reopened", Integer, nullable=False, default=0),
    Column("resolved_s", BigInteger, nullable=True),
    Column(
        "resolved_reason", String(32), nullable=True, comment="not_found, left_window, verse_removed, config_changed"
    ),
    Column("previous_id", String(40), nullable=True, comment="the resolved insight that this one follows"),
    Column("snoozed_until_s", BigInteger, nullable=True),
    Column("feedback", String(16), nullable=True, comment="useful, expected, false_alarm"),
    Column("feedback_note", Text, nullable=True),
    Column("judged_by", Text, nullable=True, comment="who archived it or gave feedback, last"),
    Column(
        "exclude_window",
        Boolean,
        nullable=False,
        default=False,
        server_default=false(),
        comment="its window is left out of later benchmarks of its segment and metric",
    ),
    Column("assignee", Text, nullable=True),
    Column("config_id", String(40), nullable=True),
    Column("run_id", String(40), nullable=True, comment="the latest run that found it"),
    Column("as_of", BigInteger, nullable=True, comment="revision of the data in that run"),
    Column("body", JSON, nullable=False, comment="title, main and related signals, related anomalies, explanations"),
    Column("evidence", JSON, nullable=True, comment="sums from which the main signal can be computed again"),
    Column("updated_ms", BigInteger, nullable=False),
    Index("ix_insights_list", "tenant", "context_class", "last_s"),
    Index("ix_insights_verse", "tenant", "context_class", "stanza", "verse_name", "state"),
)

insight_occurrences = Table(
    "insight_occurrences",
    metadata,
    Column("insight_id", ForeignKey("insights.id", ondelete="CASCADE"), primary_key=True),
    Column("timestamp_s", BigInteger, primary_key=True, comment="T"),
    Column("run_id", String(40), nullable=False),
    Column("score", Float, nullable=False),
    Column("level", Float, nullable=False),
    Column("value", Float, nullable=True),
    Column("benchmark", Float, nullable=True),
    Column("size", Float, nullable=False),
)

insight_comments = Table(
    "insight_comments",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("insight_id", ForeignKey("insights.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("author", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True, comment="run_…"),
    Column("tenant", String(128), nullable=False),
    Column("context_class", String(128), nullable=False),
    Column("stanza", Text, nullable=False),
    Column("verse_name", Text, nullable=False),
    Column("timestamp_s", BigInteger, nullable=False, comment="T"),
    Column("reason", String(16), nullable=False, comment="schedule, demand, backfill, late_data, config"),
    Column("state", String(16), nullable=False, comment="running, saved (notices not queued yet), done, failed"),
    Column("started_ms", BigInteger, nullable=False),
    Column("seconds", Float, nullable=True),
    Column("report", JSON, nullable=True, comment="candidates, tests, what passed, notes"),
    Column("insight_ids", JSON, nullable=True),
    Column("events", JSON, nullable=True, comment="what still has to be told; null when it has been"),
    Column("window_contexts", Float, nullable=True, comment="contexts in the windows when it ran"),
    Column("window_from_s", BigInteger, nullable=True),
    Column("data_revision", BigInteger, nullable=True),
    Column("repeats", Integer, nullable=False, default=0, comment="how often it ran again for late data"),
    Column("verse_text", Text, nullable=True, comment="resolved parameters"),
    Column("config_id", String(40), nullable=True),
    Column("error", Text, nullable=True),
    UniqueConstraint("tenant", "context_class", "stanza", "verse_name", "timestamp_s", name="runs_once"),
    Index("ix_runs_recent", "tenant", "context_class", "started_ms"),
)

data_alerts = Table(
    "data_alerts",
    metadata,
    Column("id", String(40), primary_key=True, comment="alert_…"),
    Column("tenant", String(128), nullable=False),
    Column("context_class", String(128), nullable=False),
    Column("kind", String(16), nullable=False, comment="no_data, little_data"),
    Column("stanza", Text, nullable=False),
    Column("verse_name", Text, nullable=False),
    Column("opened_s", BigInteger, nullable=False, comment="T of the run that missed the data"),
    Column("cleared_s", BigInteger, nullable=True),
    Column("contexts", Float, nullable=False),
    Column("usual", Float, nullable=False),
    Index("ix_data_alerts_open", "tenant", "context_class", "cleared_s"),
)

markers = Table(
    "markers",
    metadata,
    Column("id", String(40), primary_key=True, comment="ev_…"),
    Column("tenant", String(128), nullable=False),
    Column("context_class", String(128), nullable=True, comment="null = every class"),
    Column("time_s", Float, nullable=False),
    Column("end_s", Float, nullable=True),
    Column("title", Text, nullable=False),
    Column("kind", String(16), nullable=False, comment="deploy, holiday, config, other"),
    Column("segment", Text, nullable=False, default="{}"),
    Column("url", Text, nullable=True),
    Index("ix_markers_time", "tenant", "time_s"),
)

detect_state = Table(
    "detect_state",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("config_id", String(40), nullable=True, comment="the revision whose changes have been followed"),
)
