"""Configurations and what is said of them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mona_server.api.v1.models.base import Json, Model


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
