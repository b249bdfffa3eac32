"""Insights, the runs that found them, and what people keep beside them: comments, events, saved views."""

from __future__ import annotations

from pydantic import Field

from mona_server.api.v1.models.base import Json, Model


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
