"""The acceptance table of the original paths: each of them, in every case that it may meet, for both kinds of callers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mona_server.api.answers import SERVICE_PATHS
from tests.api.conftest import NOW_MS, Api

AT = NOW_MS // 1000 - 3_600
CLASS: dict[str, Any] = {"fields": {"amount": {"type": "numeric"}, "city": {"type": "string"}}, "stanzas": {}}
BAD_CLASS: dict[str, Any] = {"fields": {"amount": {"type": "no type"}}}
WINDOW = {"timestamp_from": AT, "timestamp_to": AT + 100}
DIMENSIONS: dict[str, Any] = {
    "context_class": "LOAN", "dimension": "city", "target_time_range": [AT, AT + 100],
    "compared_time_range": [AT - 100, AT], "metric_1_field": "amount", "metric_1_type": "average",
    "metric_2_field": "amount", "metric_2_type": "sum", "min_segment_size": 1, "sort_function": "SIZE_TOP",
}  # fmt: skip
UNKNOWN = {"context_class": "NOPE"}


@dataclass(frozen=True)
class Row:
    """One path. ``good`` and ``bad`` are bodies; ``refused`` a role that may not."""

    path: str
    good: dict[str, Any]
    bad: dict[str, Any]
    """What changes for a wrong request; empty: there is nothing to get wrong."""
    refused: str
    answer: tuple[str, ...] = ("response_data",)
    """Keys of a good answer for legacy callers."""
    asks_data: bool = False
    """An unknown class is an error; so is a class without data or configuration."""


TABLE = (
    Row("/configs", {}, {}, "Participant"),
    Row("/upload_config", {"config": {"LOAN": CLASS}, "commit_message": "m"}, {"config": {"LOAN": BAD_CLASS}}, "Viewer"),
    Row("/upload_config_for_context_class", {"config": CLASS, "context_class": "LOAN"}, {"config": BAD_CLASS}, "Viewer"),
    Row("/get_config_history", {}, {"number_of_revisions": 0}, "Participant", ("configs", "msg")),
    Row("/get_new_config_fields", {}, {}, "Participant"),
    Row("/suggest_new_config", {"events": [{"arcClass": "A", "message": {"x": 1}}]}, {"events": 7}, "Participant"),
    Row("/validate_config", {"config": {"LOAN": CLASS}}, {"config": {"LOAN": BAD_CLASS}}, "Participant"),
    Row("/validate_config_per_context_class", {"config": CLASS, "context_class": "LOAN"}, {"config": BAD_CLASS},
        "Participant", ("field_building_results",)),
    Row("/get_sampling_factors", {}, {"config_name": 7}, "Viewer"),
    Row("/create_sampling_factor", {"config_name": "s", "sampling_factor": 0.5}, {"sampling_factor": 2}, "Viewer"),
    Row("/create_openai_context_class", {"context_class": "CHAT", "openai_api_type": "ChatCompletion"},
        {"openai_api_type": "Telepathy"}, "Viewer"),
    Row("/initiate_csv_upload_request", {"file_path": "a.csv", "context_class": "LOAN"}, {"file_path": "../a.csv"},
        "Viewer", ("request_id", "rows", "status")),
    Row("/insights", {"context_class": "LOAN", "min_segment_size": 1}, {"min_segment_size": "much"}, "Exporter", asks_data=True),
    Row("/get_ingested_data", {"context_class": "LOAN", "start_time": AT, "end_time": AT + 100, "segment": {}},
        {"end_time": AT - 1}, "Exporter", asks_data=True),
    Row("/get_segment", {"context_class": "LOAN", **WINDOW}, {"timestamp_to": "later"}, "Exporter", asks_data=True),
    Row("/get_segments_for_dimensions", DIMENSIONS, {"sort_function": "LUCK"}, "Exporter", asks_data=True),
    Row("/stats", DIMENSIONS, {"metric_1_type": "mood"}, "Exporter", asks_data=True),
)  # fmt: skip
EVERY = pytest.mark.parametrize("row", TABLE, ids=[row.path for row in TABLE])


@pytest.fixture
def empty(make_api: Callable[..., Api], tmp_path: Path) -> Api:
    """A server with an import root and nothing else."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.csv").write_text("id\n1\n")
    os.utime(root / "a.csv", (0, 0))
    return make_api(imports={"roots": (str(root),)})


@pytest.fixture
def loans(empty: Api) -> Api:
    empty.post("/upload_config", {"config": {"LOAN": CLASS}, "commit_message": "m"})
    empty.send("LOAN", [{"id": f"c{i}", "at": AT + i, "amount": i, "city": "Haifa"} for i in range(5)])
    return empty


def check_good(api: Api, row: Row) -> None:
    """Legacy callers get the named keys, none of them null, and no ``error_message``; protocol 2 the same and more."""
    told = api.post(row.path, row.good)
    assert told.status_code == 200, told.text
    assert set(told.json()) >= set(row.answer), told.text
    assert "error_message" not in told.json()
    if row.answer == ("response_data",):
        assert told.json()["response_data"] is not None
    honest = api.post_2(row.path, row.good)
    assert honest.status_code == 200, honest.text
    assert honest.json()["success"] is True
    assert set(honest.json()) == {*told.json(), "success"}


def check_failed(api: Api, row: Row, body: dict[str, Any], status: int, token: dict[str, str] | None = None) -> str:
    """Legacy callers get 200 with ``success`` false and a text; protocol 2 the honest status. The text."""
    told = api.post(row.path, body, token=token)
    assert told.status_code == 200, told.text
    assert (told.json()["success"], told.json()["data"]) == (False, None)
    text = told.json()["error_message"]
    assert isinstance(text, str)
    assert text
    honest = api.post_2(row.path, body, token=token)
    assert honest.status_code == status, honest.text
    assert (honest.json()["success"], honest.json()["error_message"]) == (False, text)
    assert honest.json()["request_id"] == honest.headers["x-request-id"]
    return str(text)


def test_every_path_has_its_row() -> None:
    """A path cannot be added without its cases."""
    assert {row.path for row in TABLE} == SERVICE_PATHS


@EVERY
def test_good_input(loans: Api, row: Row) -> None:
    """The shape that the public client unpacks."""
    check_good(loans, row)


@EVERY
def test_bad_input(loans: Api, row: Row) -> None:
    """A text that names what is wrong, in the shape that no generation of the client crashes on."""
    if row.bad:
        status = 403 if row.path == "/initiate_csv_upload_request" else 400
        check_failed(loans, row, row.good | row.bad, status)
    broken = loans.post(row.path, b"{")
    assert (broken.status_code, broken.json()["success"]) == (200, False)


@EVERY
def test_missing_token(loans: Api, row: Row) -> None:
    """Plain text for legacy callers, the envelope for others; a token that is none is the same."""
    for token in ({}, {"Authorization": "Bearer nothing"}):
        told = loans.post(row.path, row.good, token=token)
        assert (told.status_code, told.headers["content-type"].split(";")[0]) == (401, "text/plain")
        assert loans.post_2(row.path, row.good, token=token).json()["success"] is False


@EVERY
def test_wrong_role(loans: Api, row: Row) -> None:
    """The missing permission is named."""
    text = check_failed(loans, row, row.good, 403, loans.token(row.refused))
    assert "missing permission" in text
    assert "mona." in text


@EVERY
def test_unknown_class(loans: Api, row: Row) -> None:
    """Who asks for data of a class that is not there is told so; a class of one's own making is no error."""
    if row.asks_data:
        assert check_failed(loans, row, row.good | UNKNOWN, 404) == "Unknown context class: NOPE"
    elif "context_class" in row.good:
        assert loans.post(row.path, row.good | UNKNOWN).json().get("success", True) is True


@EVERY
def test_empty_data(empty: Api, row: Row) -> None:
    """A server without anything answers good questions well; a class that is configured and has no data is empty."""
    if row.asks_data:
        empty.post("/upload_config", {"config": {"LOAN": CLASS}, "commit_message": "m"})
    check_good(empty, row)
