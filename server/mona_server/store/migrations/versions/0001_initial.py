"""The tables of the first release, as they were then: never to be changed.

Longer than other files because it writes every column out, so that a later change of ``store/tables_*.py`` cannot
reach back into it. Each such change gets its own numbered file (``HEAD`` in ``store/meta.py`` names the newest).
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=True),
        sa.Column("token_id", sa.String(length=64), nullable=True),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False, comment="noun.verb"),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_by_tenant", "audit", ["tenant", "id"], unique=False)
    op.create_table(
        "config_revisions",
        sa.Column("id", sa.String(length=36), nullable=False, comment="uuid, the config_id of the wire"),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="1, 2, ... per tenant; the largest is active"),
        sa.Column("parent", sa.String(length=36), nullable=True, comment="the revision before it"),
        sa.Column(
            "restored", sa.String(length=36), nullable=True, comment="the revision whose content this one brought back"
        ),
        sa.Column(
            "context_class",
            sa.Text(),
            nullable=True,
            comment="the one class that an upload was about; null = whole file",
        ),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("commit_message", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("lenient", sa.Boolean(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False, comment="what was uploaded, byte for byte where it came as text"),
        sa.Column(
            "raw", sa.JSON(), nullable=False, comment="class → object as uploaded, all classes after this upload"
        ),
        sa.Column("normal", sa.JSON(), nullable=False, comment="class → normal form"),
        sa.Column("diffs", sa.JSON(), nullable=False, comment="against the parent, in the normal form"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_revisions")),
        sa.UniqueConstraint("tenant", "number", name="config_revisions_number"),
    )
    op.create_table(
        "data_alerts",
        sa.Column("id", sa.String(length=40), nullable=False, comment="alert_…"),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="no_data, little_data"),
        sa.Column("stanza", sa.Text(), nullable=False),
        sa.Column("verse_name", sa.Text(), nullable=False),
        sa.Column("opened_s", sa.BigInteger(), nullable=False, comment="T of the run that missed the data"),
        sa.Column("cleared_s", sa.BigInteger(), nullable=True),
        sa.Column("contexts", sa.Float(), nullable=False),
        sa.Column("usual", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_alerts")),
    )
    op.create_index("ix_data_alerts_open", "data_alerts", ["tenant", "context_class", "cleared_s"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column(
            "id", sa.String(length=36), nullable=False, comment="uuid; X-Mona-Delivery, the same in every attempt"
        ),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False, comment="name of the notification entry"),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("destination", sa.String(length=24), nullable=False, comment="hash that names the destination"),
        sa.Column("shown", sa.Text(), nullable=False, comment="the destination, shortened for people"),
        sa.Column("sealed", sa.Text(), nullable=False, comment="the destination, sealed"),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="insights, resolved, test"),
        sa.Column("urgent", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Integer(), nullable=False, comment="1 = gathers items until due_ms"),
        sa.Column("state", sa.String(length=16), nullable=False, comment="queued, sending, sent, failed"),
        sa.Column(
            "due_ms", sa.BigInteger(), nullable=False, comment="next attempt; while sending: when the claim lapses"
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("done_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True, comment="HTTP status, or SMTP reply code"),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index("deliveries_by_destination", "deliveries", ["tenant", "destination", "created_ms"], unique=False)
    op.create_index("deliveries_due", "deliveries", ["state", "due_ms"], unique=False)
    op.create_table(
        "detect_state",
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column(
            "config_id", sa.String(length=40), nullable=True, comment="the revision whose changes have been followed"
        ),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_detect_state")),
    )
    op.create_table(
        "frozen_segmentations",
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=False),
        sa.Column("field", sa.String(length=256), nullable=False),
        sa.Column("segmentation", sa.String(length=256), nullable=False),
        sa.Column(
            "definition", sa.Text(), nullable=False, comment="what it was fixed for; another definition is fixed anew"
        ),
        sa.Column("frozen", sa.JSON(), nullable=False, comment="boundaries, bucket_size and within, or discrete"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "context_class", "field", "segmentation", name=op.f("pk_frozen_segmentations")
        ),
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("mapping_digest", sa.String(length=64), nullable=False),
        sa.Column("file", sa.String(length=1024), nullable=False),
        sa.Column("mapping", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rows_read", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("error", sa.String(length=2048), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        comment="Files that were imported or are being imported.",
    )
    op.create_index("ix_imports_file", "imports", ["tenant", "digest", "mapping_digest"], unique=True)
    op.create_table(
        "insights",
        sa.Column("id", sa.String(length=40), nullable=False, comment="ins_…; never changes"),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=False),
        sa.Column("stanza", sa.Text(), nullable=False),
        sa.Column("verse_name", sa.Text(), nullable=False),
        sa.Column("verse_type", sa.String(length=64), nullable=False),
        sa.Column("signal_type", sa.String(length=96), nullable=False),
        sa.Column("metric", sa.Text(), nullable=True, comment="null for sizes and new segments"),
        sa.Column("desc", sa.Boolean(), nullable=False, comment="value below the reference"),
        sa.Column("baseline", sa.Text(), nullable=False, comment="canonical JSON text"),
        sa.Column(
            "segment", sa.Text(), nullable=False, comment="canonical JSON text of the main segment; it may change"
        ),
        sa.Column("time_axis", sa.Text(), nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False, comment="hash of what makes two findings the same"),
        sa.Column(
            "state", sa.String(length=16), nullable=False, comment="new, ongoing, recovering, resolved, suppressed"
        ),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("urgency", sa.String(length=8), nullable=False, comment="normal, high"),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("size", sa.Float(), nullable=False),
        sa.Column("ratio", sa.Float(), nullable=False),
        sa.Column("first_s", sa.BigInteger(), nullable=False, comment="T of the first run that found it"),
        sa.Column("last_s", sa.BigInteger(), nullable=False, comment="T of the latest run that found it"),
        sa.Column("occurrences", sa.Integer(), nullable=False, comment="runs that found it"),
        sa.Column("missed", sa.Integer(), nullable=False, comment="runs in a row that did not"),
        sa.Column("reopened", sa.Integer(), nullable=False),
        sa.Column("resolved_s", sa.BigInteger(), nullable=True),
        sa.Column(
            "resolved_reason",
            sa.String(length=32),
            nullable=True,
            comment="not_found, left_window, verse_removed, config_changed",
        ),
        sa.Column(
            "previous_id", sa.String(length=40), nullable=True, comment="the resolved insight that this one follows"
        ),
        sa.Column("snoozed_until_s", sa.BigInteger(), nullable=True),
        sa.Column("feedback", sa.String(length=16), nullable=True, comment="useful, expected, false_alarm"),
        sa.Column("feedback_note", sa.Text(), nullable=True),
        sa.Column("assignee", sa.Text(), nullable=True),
        sa.Column("config_id", sa.String(length=40), nullable=True),
        sa.Column("run_id", sa.String(length=40), nullable=True, comment="the latest run that found it"),
        sa.Column("as_of", sa.BigInteger(), nullable=True, comment="revision of the data in that run"),
        sa.Column(
            "body",
            sa.JSON(),
            nullable=False,
            comment="title, main and related signals, related anomalies, explanations",
        ),
        sa.Column(
            "evidence", sa.JSON(), nullable=True, comment="sums from which the main signal can be computed again"
        ),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_insights")),
    )
    op.create_index("ix_insights_list", "insights", ["tenant", "context_class", "last_s"], unique=False)
    op.create_index(
        "ix_insights_verse", "insights", ["tenant", "context_class", "stanza", "verse_name", "state"], unique=False
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column(
            "kind",
            sa.String(length=32),
            nullable=False,
            comment="backfill, delete_context, delete_range, forget_tenant, run ...",
        ),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="queued, running, done, failed, cancelled"),
        sa.Column("progress", sa.Float(), nullable=False, comment="0..1"),
        sa.Column(
            "checkpoint", sa.JSON(), nullable=True, comment="where a resumed job goes on; its worker's own shape"
        ),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("worker", sa.String(length=64), nullable=True, comment="process that claimed it"),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=False, comment="after it anybody may claim it again"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_state_kind", "jobs", ["state", "kind"], unique=False)
    op.create_index("ix_jobs_tenant_created", "jobs", ["tenant", "created_ms"], unique=False)
    op.create_table(
        "markers",
        sa.Column("id", sa.String(length=40), nullable=False, comment="ev_…"),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=True, comment="null = every class"),
        sa.Column("time_s", sa.Float(), nullable=False),
        sa.Column("end_s", sa.Float(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="deploy, holiday, config, other"),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_markers")),
    )
    op.create_index("ix_markers_time", "markers", ["tenant", "time_s"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=40), nullable=False, comment="run_…"),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=False),
        sa.Column("stanza", sa.Text(), nullable=False),
        sa.Column("verse_name", sa.Text(), nullable=False),
        sa.Column("timestamp_s", sa.BigInteger(), nullable=False, comment="T"),
        sa.Column(
            "reason", sa.String(length=16), nullable=False, comment="schedule, demand, backfill, late_data, config"
        ),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="running, saved (notices not queued yet), done, failed",
        ),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True, comment="candidates, tests, what passed, notes"),
        sa.Column("insight_ids", sa.JSON(), nullable=True),
        sa.Column("events", sa.JSON(), nullable=True, comment="what still has to be told; null when it has been"),
        sa.Column("window_contexts", sa.Float(), nullable=True, comment="contexts in the windows when it ran"),
        sa.Column("window_from_s", sa.BigInteger(), nullable=True),
        sa.Column("data_revision", sa.BigInteger(), nullable=True),
        sa.Column("repeats", sa.Integer(), nullable=False, comment="how often it ran again for late data"),
        sa.Column("verse_text", sa.Text(), nullable=True, comment="resolved parameters"),
        sa.Column("config_id", sa.String(length=40), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("tenant", "context_class", "stanza", "verse_name", "timestamp_s", name="runs_once"),
    )
    op.create_index("ix_runs_recent", "runs", ["tenant", "context_class", "started_ms"], unique=False)
    op.create_table(
        "sampling_factors",
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("config_name", sa.String(length=256), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=False, comment="empty = the default factor"),
        sa.Column("factor", sa.JSON(), nullable=False, comment="number 0..1"),
        sa.PrimaryKeyConstraint("tenant", "config_name", "context_class", name=op.f("pk_sampling_factors")),
    )
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("alg", sa.String(length=8), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False, comment="private JWK"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=128), nullable=False, comment="the user_id of the wire, claim tenantId"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("sso", sa.JSON(), nullable=True, comment="sign-in provider: issuer, client, sealed secret, mappings"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_table(
        "views",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True, comment="user; null = made with a token"),
        sa.Column("shared", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("context_class", sa.String(length=128), nullable=True),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_views")),
    )
    op.create_index("views_by_tenant", "views", ["tenant", "kind"], unique=False)
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False, comment="the api key"),
        sa.Column(
            "secret_hash", sa.String(length=64), nullable=False, comment="SHA-256: the secret has 256 random bits"
        ),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True, comment="user; null = command line"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True, comment="kept to the minute"),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_api_tokens_tenant_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("client_id", name=op.f("uq_api_tokens_client_id")),
    )
    op.create_table(
        "delivery_items",
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("destination", sa.String(length=24), nullable=False),
        sa.Column(
            "event",
            sa.String(length=256),
            nullable=False,
            comment="identity of the state event: sent once per destination",
        ),
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("insight", sa.JSON(), nullable=False),
        sa.Column("series", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name=op.f("fk_delivery_items_delivery_id_deliveries"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_delivery_items")),
        sa.UniqueConstraint("tenant", "destination", "event", name="delivery_items_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("delivery_items_by_delivery", "delivery_items", ["delivery_id", "position"], unique=False)
    op.create_table(
        "insight_comments",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("insight_id", sa.String(length=40), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["insight_id"], ["insights.id"], name=op.f("fk_insight_comments_insight_id_insights"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_insight_comments")),
    )
    op.create_index(op.f("ix_insight_comments_insight_id"), "insight_comments", ["insight_id"], unique=False)
    op.create_table(
        "insight_occurrences",
        sa.Column("insight_id", sa.String(length=40), nullable=False),
        sa.Column("timestamp_s", sa.BigInteger(), nullable=False, comment="T"),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("benchmark", sa.Float(), nullable=True),
        sa.Column("size", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["insight_id"], ["insights.id"], name=op.f("fk_insight_occurrences_insight_id_insights"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("insight_id", "timestamp_s", name=op.f("pk_insight_occurrences")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("email", sa.Text(), nullable=False, comment="lower case"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="invited, active, disabled"),
        sa.Column("roles", sa.JSON(), nullable=False, comment="list of {role, arc_class}"),
        sa.Column(
            "password_hash", sa.Text(), nullable=True, comment="Argon2id; null until activated, or single sign-on only"
        ),
        sa.Column("totp_sealed", sa.Text(), nullable=True, comment="second factor; null = none"),
        sa.Column("totp_last_step", sa.BigInteger(), nullable=True, comment="a code counts once"),
        sa.Column("failures", sa.Integer(), nullable=False, comment="wrong passwords or codes in a row"),
        sa.Column("locked_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("super_admin", sa.Integer(), nullable=False, comment="1 = may choose another tenant"),
        sa.Column("sso_subject", sa.Text(), nullable=True, comment="issuer + subject of the sign-in provider"),
        sa.Column("last_login_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_users_tenant_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name="users_email"),
    )
    op.create_table(
        "links",
        sa.Column("hash", sa.String(length=64), nullable=False, comment="SHA-256 of the text in the link"),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False, comment="activate, reset, login"),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_links_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_links")),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("token_id", sa.String(length=64), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True, comment="rotated then; still good for 60 s"),
        sa.ForeignKeyConstraint(
            ["token_id"], ["api_tokens.id"], name=op.f("fk_refresh_tokens_token_id_api_tokens"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_refresh_tokens")),
    )
    op.create_table(
        "sessions",
        sa.Column("hash", sa.String(length=64), nullable=False, comment="SHA-256 of the cookie"),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False, comment="12 h after it the session ends"),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sessions")),
    )
