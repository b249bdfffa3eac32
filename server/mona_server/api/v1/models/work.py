"""What the server does and how it fares: jobs, imports, sources, readings, deliveries."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mona_server.api.v1.models.base import JobId, Json, Model


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


class BackfillJobs(JobId):
    jobs: dict[str, str] = Field(description="What is rebuilt → job.")


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


class Version(Model):
    version: str = Field(examples=["0.1.0"])
    protocol: int = Field(examples=[2])
