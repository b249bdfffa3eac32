"""Shapes of the answers of ``/api/v1``, for the OpenAPI document: one module per subject. Times are Unix seconds.

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


class JobId(Model):
    job_id: str = Field(examples=["0b1c"])


class Items(Model):
    items: list[Json]
