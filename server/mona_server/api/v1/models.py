"""Shapes of the answers of ``/api/v1``, for the OpenAPI document. Times are Unix seconds.

Routes answer with JSON made by their rooms; a test holds the answers against these shapes.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
Json = dict[str, Any]


class Model(BaseModel):
    """A shape; rooms may add keys."""

    model_config = ConfigDict(extra="allow")


class Page(BaseModel, Generic[T]):
    """A page of a list; ``next_cursor`` null = the end."""

    items: list[T]
    next_cursor: str | None = Field(examples=[None])


class Grant(Model):
    role: str = Field(examples=["Context Class Viewer"])
    arc_class: str | None = Field(examples=["LOAN"])


class User(Model):
    id: str = Field(examples=["user_5f0c"])
    email: str = Field(examples=["ann@example.com"])
    name: str = Field(examples=["Ann"])
    state: str = Field(description="invited, active, disabled", examples=["active"])
    roles: list[Grant]
    second_factor: bool = Field(examples=[False])
    last_login: float | None = Field(examples=[1700000000])


class Handed(Model):
    mailed: bool = Field(description="The mail server took the link; then it is not shown.")
    mail_error: str | None = Field(description="Why the mail did not go, where a mail server is set.", examples=[None])


class InvitedUser(User, Handed):
    activation_link: str | None = Field(description="Shown only here, and only when no mail went.")


class Link(Handed):
    link: str | None = Field(description="Null when it was mailed.")
    expires: float


class Token(Model):
    id: str = Field(examples=["tok_5f0c"])
    client_id: str = Field(description="The api key.", examples=["mona_x"])
    description: str = Field(examples=["training pipeline"])
    roles: list[Grant]
    created: float = Field(examples=[1700000000])
    expires: float | None = Field(examples=[None])
    last_used: float | None = Field(examples=[1700000000])


class MadeToken(Token):
    secret: str = Field(description="Shown only here.")
    user_id: str = Field(description="The tenant.", examples=["default"])


class Role(Model):
    name: str = Field(examples=["Viewer"])
    permissions: list[str] = Field(examples=[["mona.config.read"]])
    per_class: bool
    assignable: bool


class Tenant(Model):
    id: str = Field(examples=["acme"])
    name: str = Field(examples=["Acme"])


class AuditEntry(Model):
    id: int
    time: float = Field(examples=[1700000000])
    user: str | None
    token: str | None
    ip: str | None
    action: str = Field(examples=["config.upload"])
    target: str
    before: Any
    after: Any


class ContextClass(Model):
    name: str = Field(examples=["LOAN"])
    configured: bool
    contexts: int = Field(examples=[39032])
    first: float | None = Field(
        description="Time of the first context; in lists the begin of its day.", examples=[1611878400]
    )
    last: float | None = Field(
        description="Time of the last context; in lists the end of its day.", examples=[1619654400]
    )
    fields: int
    verses: int
    open_insights: int
    parent: str | None


class IngestionFrame(Model):
    from_: float = Field(alias="from", examples=[1700000000])
    messages: int = Field(description="Accepted ones.")
    refused: int
    new_contexts: int
    updates: int


class Counted(Model):
    reason: str
    count: int


class BuildError(Counted):
    field: str
    examples: list[str] = Field(description="Context ids.")


class UpdateAge(Model):
    p50: float | None
    p95: float | None


class Ingestion(Model):
    from_: float = Field(alias="from")
    to: float
    resolution: str = Field(examples=["1h"])
    frames: list[IngestionFrame] = Field(description="Oldest first, by arrival; hours without any are left out.")
    refused_by_reason: list[Counted]
    build_errors: list[BuildError]
    unknown_variables: list[str]
    update_age_seconds: UpdateAge = Field(description="How long after the context time known contexts were updated.")
    cut_texts: int
    duplicates: int = Field(description="Messages of repeated requests, of all classes.")


class JobId(Model):
    job_id: str = Field(examples=["0b1c"])


class BackfillJobs(JobId):
    jobs: dict[str, str] = Field(description="What is rebuilt → job.")


class Job(Model):
    id: str
    kind: str = Field(examples=["backfill"])
    state: str = Field(description="queued, running, done, failed, cancelled", examples=["running"])
    progress: float = Field(ge=0, le=1, examples=[0.4])
    created: float
    updated: float
    parameters: Json
    result: Any
    error: str | None


class Diff(Model):
    op: str = Field(description="add, remove, change", examples=["change"])
    path: str = Field(examples=["LOAN.fields.x.type"])
    old: Any = Field(examples=["string"])
    new: Any = Field(examples=["numeric"])


class Configuration(Model):
    raw_configuration_data: Json = Field(
        description="Context class → object, as uploaded.",
        examples=[{"LOAN": {"fields": {"amount": {"type": "numeric"}}}}],
    )
    config_id: str | None = None
    author: str | None = None
    commit_message: str | None = None
    time: float | None = None


class ConfigIssue(Model):
    path: str = Field(examples=["LOAN.fields.amount.type"])
    message: str
    severity: str = Field(examples=["error"])
    code: str = Field(examples=["unknown_type"])
    line: int | None = None
    column: int | None = None


class SavedConfiguration(Model):
    new_config_id: str
    new_config: Json = Field(description="Normal form.")
    diffs: list[Diff]
    warnings: list[ConfigIssue]


class Revision(Model):
    config_id: str
    parent: str | None
    author: str
    commit_message: str
    time: float
    diffs: list[Diff]


class RevisionWithConfig(Revision):
    config: Json


class DiffBetween(Model):
    diffs: list[Diff]


class Judgement(Model):
    valid: bool
    issues: list[ConfigIssue]


class Suggestion(Model):
    suggested_config: Json
    new_fields: dict[str, list[str]]
    confidence: dict[str, str]


class Event(Model):
    id: str = Field(examples=["ev_5f0c"])
    time: float = Field(examples=[1700000000])
    end: float | None
    title: str = Field(examples=["deploy 1.2"])
    kind: str = Field(examples=["deploy"])
    contextClass: str | None  # noqa: N815 - the name of the specification
    segment: Json
    url: str | None


class View(Model):
    id: str
    kind: str = Field(examples=["investigation"])
    name: str
    owner: str | None
    shared: bool
    arc_class: str | None
    state: Json
    version: int


class Version(Model):
    version: str = Field(examples=["0.1.0"])
    protocol: int = Field(examples=[2])


class Items(Model):
    items: list[Json]


class Session(Model):
    user: User
    csrf: str = Field(description="For the header X-CSRF-Token of every write.")


class Seed(Model):
    seed: str
    uri: str = Field(description="For a QR code.")


class Me(Model):
    tenant: str = Field(examples=["default"])
    user: User | None
    client_id: str | None
    roles: list[Grant]
    permissions: list[str]


class SegmentAnswer(Model):
    segments: list[Json]
    super_segments: list[Json]
    baseline: Json
    meta: Json


class DimensionsAnswer(Model):
    segments: list[Json]
    baseline: Json
    total_segments: int
    truncated: bool


class Table(Model):
    rows: list[Json]


class Context(Model):
    contextId: str  # noqa: N815 - the wire's name
    arcClass: str  # noqa: N815
    timestamp: float
    fields: Json
    message: Json | None


class ContextWithHistory(Context):
    first_arrival: float
    last_update: float
    history: list[Json]
    insights: list[str] = Field(
        description="Open ones whose window and segment hold this context, highest score first."
    )


class Insight(Model):
    user_id: str
    arc_class: str = Field(examples=["LOAN"])
    stanza_name: str
    verse_name: str = Field(examples=["loan__AverageDrift"])
    score: float
    main_signal: Json
    related_signals: list[Json]
    related_anomalies: list[Json]
    insight_id: str = Field(examples=["ins_5f0c"])
    state: str = Field(description="new, ongoing, recovering, resolved, suppressed", examples=["ongoing"])
    archived: bool
    urgency: str = Field(examples=["normal"])
    first_discovered: float
    last_discovered: float
    occurrences: int
    url: str
    title: str


class Side(Model):
    from_: float = Field(alias="from")
    to: float
    segment: Json
    size: int = Field(description="Contexts.")
    statistics: Json
    histogram: list[Json] = Field(description="Bins, the same on both sides: segment (null = other values) and size.")


class Distribution(Model):
    field: str = Field(examples=["amount"])
    target: Side = Field(description="What was judged.")
    benchmark: Side | None = Field(description="With what it was compared.")
    js_distance: float | None = Field(description="Jensen-Shannon distance of both, 0 to 1.")
    exact: bool


class InsightInFull(Insight):
    series: Json | None = Field(description="The chart of the main signal, as the run saw it.")
    runs: list[Json] = Field(description="In which it was found, newest first.")
    comments: list[Json]
    distribution: Distribution | None = Field(
        description="Of the metric, from the data as it is now (the ETag leaves it out); null without a metric or its data."
    )


class Comment(Model):
    id: str
    author: str
    time: float
    text: str


class Run(Model):
    id: str
    arc_class: str
    verse_name: str
    timestamp: float = Field(description="T")
    started: float
    seconds: float | None
    state: str = Field(description="running, done, failed, cancelled")
    reason: str = Field(description="schedule, demand, backfill, late_data, config")
    candidates: int
    tests: int
    passed_level: int
    passed_chance: int
    insights: list[str]
    expected_false: float | None
    error: str | None


class Import(Model):
    id: str
    file: str = Field(examples=["loans.parquet"])
    arc_class: str = Field(examples=["LOAN"])
    state: str = Field(description="queued, running, done, failed, cancelled")
    progress: float
    rows_read: int | None
    accepted: int | None
    refused: int | None
    reasons: list[Json]
    error: str | None


class SourceFiles(Model):
    queued: int
    running: int
    done: int
    failed: int = Field(description="Will be tried again.")
    set_aside: int = Field(description="Failed three times, or cancelled.")


class Source(Model):
    id: str = Field(examples=["src_5f0c"])
    kind: str = Field(examples=["object_store"])
    arc_class: str = Field(examples=["LOAN"])
    url: str = Field(examples=["file:///srv/loans"])
    pattern: str = Field(examples=["*.parquet"])
    start_after: str | float | None
    paused: bool
    author: str
    error: str | None = Field(description="Why the last look failed.")
    id_column: str | None
    time_column: str | None
    action: str | None
    rename: dict[str, str]
    poll_seconds: float
    created: float
    last_look: float | None
    files: SourceFiles


class SourceFailure(Model):
    name: str
    tries: int
    error: str | None
    job_id: str


class SourceInFull(Source):
    failures: list[SourceFailure]


class Provider(Model):
    issuer: str = Field(examples=["https://login.example"])
    client_id: str
    scopes: str
    allowed_groups: list[str]
    group_roles: Json
    default_role: str
    password_login: bool
    tenant_claim: str | None
    token_roles: list[str]


class Reading(Model):
    id: str = Field(examples=["lag_s"])
    title: str
    value: float
    unit: str
    status: str = Field(description="ok, warning, bad", examples=["ok"])
    advice: str


class Readings(Model):
    items: list[Reading]


class Deliveries(Model):
    deliveries: list[str]


class Use(Model):
    kind: str = Field(description="verse, field, kpi", examples=["verse"])
    name: str = Field(examples=["loan__AverageDrift"])


class FieldProfile(Model):
    name: str = Field(examples=["amount"])
    type: str = Field(examples=["numeric"])
    function: str = Field(examples=["identity"])
    sources: list[str]
    tags: list[str]
    count: float
    missing_ratio: float | None
    distinct: int
    distinct_exact: bool
    quantiles: dict[str, float | None]
    top_values: list[Json]
    used_by: list[Use]


class Fields(Model):
    items: list[FieldProfile]


class Answer(Model):
    """Free JSON of the query room."""
