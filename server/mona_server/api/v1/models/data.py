"""What was ingested: classes, fields, contexts, and sums of their segments."""

from __future__ import annotations

from pydantic import Field

from mona_server.api.v1.models.base import Json, Model


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


class Answer(Model):
    """Free JSON of the query room."""
