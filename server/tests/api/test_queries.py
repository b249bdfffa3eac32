"""Questions about data over both families of paths."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from tests.api.conftest import NOW_MS, Api

AT = NOW_MS // 1000 // 86_400 * 86_400 - 86_400
CONFIG = {"LOAN": {"fields": {"amount": {"type": "numeric"}, "city": {"type": "string"}}}}
SEGMENT = {"context_class": "LOAN", "timestamp_from": AT, "timestamp_to": AT + 86_400}
CONTEXTS = {"context_class": "LOAN", "start_time": AT, "end_time": AT + 86_400, "segment": {}}
DIMENSIONS = {
    "context_class": "LOAN",
    "dimension": "city",
    "target_time_range": [AT, AT + 86_400],
    "compared_time_range": [AT - 86_400, AT],
    "metric_1_field": "amount",
    "metric_1_type": "average",
    "metric_2_field": "amount",
    "metric_2_type": "sum",
    "min_segment_size": 1,
    "sort_function": "SIZE_TOP",
}
ASKED = [
    ("/get_segment", SEGMENT),
    ("/get_ingested_data", CONTEXTS),
    ("/get_segments_for_dimensions", DIMENSIONS),
    ("/stats", DIMENSIONS),
]


@pytest.fixture
def loans(api: Api) -> Api:
    api.post("/upload_config", {"config": CONFIG, "commit_message": "m"})
    api.send("LOAN", [{"id": f"c{i}", "at": AT + i, "amount": i, "city": ["Haifa", "Eilat"][i % 2]} for i in range(20)])
    return api


def test_contexts_of_a_segment(loans: Api) -> None:
    """Contexts with their fields and merged message, in the shape that the public client reads."""
    ask = {**CONTEXTS, "segment": {"city": [{"value": "Haifa"}]}}
    answer = loans.post("/get_ingested_data", ask).json()["response_data"]
    assert (answer["total"], answer["sampled"], len(answer["crcs"])) == (10, 10, 10)
    assert answer["crcs"][0] == {
        "contextId": "c0",
        "arcClass": "LOAN",
        "timestamp": AT,
        "fields": {"amount": 0, "city": "Haifa"},
        "message": {"amount": 0, "city": "Haifa"},
    }
    old = {
        "contextClass": "LOAN",
        "startTime": str(AT),
        "endTime": AT + 86_400,
        "segment": {},
        "negativeSegments": ask["segment"],
    }
    assert loans.post("/get_ingested_data", old).json()["response_data"]["total"] == 10


def test_statistics_of_segments(loans: Api) -> None:
    """Sizes and statistics per segment, with and without an envelope, and as rows."""
    ask = {
        **SEGMENT,
        "requested_segments": [{"city": [{"value": "Eilat"}]}],
        "metrics": [{"field": "amount", "types": ["average"]}],
    }
    (segment,) = loans.post("/get_segment", ask).json()["response_data"]["segments"]
    assert (segment["size"], segment["metrics"]["amount"]["average"]) == (10, 10)
    assert loans.post("/api/v1/query/segment", ask).json()["segments"] == [segment]
    rows = loans.post("/api/v1/query/segment?format=table", {**ask, "time_series_resolutions": ["1d"]}).json()["rows"]
    assert rows == [{"time": AT, "segment": "city = Eilat", "size": 10, "amount count": 10, "amount average": 10}]


def test_more_questions(loans: Api) -> None:
    """How a field is spread, two windows compared, correlations, and a profile of every field."""
    window = {key: SEGMENT[key] for key in SEGMENT}
    shape = loans.post("/api/v1/query/histogram", {**window, "field": "city"})
    assert shape.status_code == 200, shape.text
    sides = {"a": {"from": AT, "to": AT + 10}, "b": {"from": AT + 10, "to": AT + 20}}
    compared = loans.post("/api/v1/query/compare", {"context_class": "LOAN", **sides})
    assert compared.status_code == 200, compared.text
    assert loans.post("/api/v1/query/correlations", window).status_code == 200
    profiles = {one["name"]: one for one in loans.get("/api/v1/classes/LOAN/fields").json()["items"]}
    assert (profiles["amount"]["count"], profiles["city"]["type"]) == (20, "string")
    for path in ("histogram", "compare", "correlations"):
        assert loans.post(f"/api/v1/query/{path}", {"context_class": "LOAN"}).status_code in {200, 400}
        assert (
            loans.post(
                f"/api/v1/query/{path}", {**window, **sides, "field": "city"}, token=loans.token(tenant="acme")
            ).status_code
            == 404
        )
    exact = loans.get("/api/v1/classes/LOAN").json()
    assert (exact["contexts"], exact["first"], exact["last"]) == (20, AT, AT + 19)


def test_segments_of_a_field(loans: Api) -> None:
    """Two windows side by side; the old path is the same; as rows for tables."""
    answer = loans.post("/get_segments_for_dimensions", DIMENSIONS).json()["response_data"]
    assert {item["value"] for item in answer["segments"]} == {"Haifa", "Eilat"}
    assert loans.post("/stats", DIMENSIONS).json()["response_data"] == answer
    rows = loans.post("/api/v1/query/segments?format=table", DIMENSIONS).json()["rows"]
    assert rows[0]["target size"] == 10


def test_as_of_asks_what_was_known(loans: Api) -> None:
    """A question as of an earlier moment does not see what came later."""
    before = loans.now_ms / 1000 + 1
    loans.clock.now_ms += 60_000
    loans.send("LOAN", [{"id": "late", "at": AT, "amount": 1000, "city": "Haifa"}])
    now = loans.post("/api/v1/query/segment", SEGMENT).json()["segments"][0]["size"]
    then = loans.post("/api/v1/query/segment", {**SEGMENT, "as_of": before}).json()["segments"][0]["size"]
    assert (now, then) == (21, 20)


@pytest.mark.parametrize(("path", "ask"), ASKED)
def test_each_question_in_every_case(loans: Api, path: str, ask: dict[str, Any]) -> None:
    """Bad input, missing keys, unknown class, missing token, wrong role, another tenant: the safe shape each time."""
    good = loans.post(path, ask).json()
    assert set(good) == {"response_data"}
    assert loans.post_2(path, ask).json() == {**good, "success": True}
    for key in ask:
        missing = {name: value for name, value in ask.items() if name != key}
        told = loans.post(path, missing)
        if key == "segment":
            continue  # without a segment: all data
        assert told.status_code == 200, key
        assert key in told.json()["error_message"], key
        assert loans.post_2(path, missing).status_code == 400
    for changed in ({"context_class": "NOPE"}, {"context_class": ""}):
        told = loans.post(path, {**ask, **changed}).json()
        assert set(told) >= {"success", "data", "error_message"}
    assert loans.post(path, {**ask, "context_class": "NOPE"}).json()["error_message"] == "Unknown context class: NOPE"
    assert loans.post_2(path, {**ask, "context_class": "NOPE"}).status_code == 404
    assert loans.post(path, ask, token={}).status_code == 401
    assert "mona.investigations.read" in loans.post(path, ask, token=loans.token("Exporter")).json()["error_message"]
    acme = loans.post(path, ask, token=loans.token(tenant="acme")).json()
    assert acme["error_message"] == "Unknown context class: LOAN"


@pytest.mark.parametrize(("path", "ask"), ASKED)
def test_empty_data(api: Api, path: str, ask: dict[str, Any]) -> None:
    """A class that is configured and has no data gives empty answers, not errors."""
    api.post("/upload_config", {"config": CONFIG, "commit_message": "m"})
    answer = api.post(path, ask).json()
    assert set(answer) == {"response_data"}, answer


def test_contexts_page_without_loss_while_new_ones_arrive(loans: Api) -> None:
    """Pages of three walk through all contexts once, though a newer one comes in between."""
    seen: list[str] = []
    for page in loans.pages("/api/v1/classes/LOAN/contexts?limit=3"):
        seen += [item["contextId"] for item in page]
        if len(seen) == 6:
            loans.send("LOAN", [{"id": "newer", "at": AT + 5_000, "amount": 1, "city": "Haifa"}])
    assert seen == [f"c{i}" for i in reversed(range(20))]
    one = loans.get("/api/v1/classes/LOAN/contexts?search=c1&limit=100").json()["items"]
    assert len(one) == 11
    segment = json.dumps({"city": [{"value": "Haifa"}]})
    assert len(loans.get(f"/api/v1/classes/LOAN/contexts?segment={segment}&limit=100").json()["items"]) == 11
    for bad in ("limit=0", "limit=x", "cursor=rubbish", "segment=7", "from=5&to=4"):
        assert loans.get(f"/api/v1/classes/LOAN/contexts?{bad}").status_code == 400, bad


def test_one_context_with_its_history(loans: Api) -> None:
    """Fields, merged message and every message; another tenant and another class do not have it."""
    loans.send("LOAN", [{"id": "c1", "amount": 7}])
    shown = loans.get("/api/v1/classes/LOAN/contexts/c1").json()
    assert shown["fields"] == {"amount": 7, "city": "Eilat"}
    assert [item["message"] for item in shown["history"]] == [{"amount": 1, "city": "Eilat"}, {"amount": 7}]
    assert shown["timestamp"] == AT + 1
    assert loans.get("/api/v1/classes/LOAN/contexts/nobody").status_code == 404
    assert loans.get("/api/v1/classes/LOAN/contexts/c1", token=loans.token(tenant="acme")).status_code == 404


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_exports(loans: Api, form: str) -> None:
    """All contexts as a file; nothing is left behind in the data directory."""
    answer = loans.get(f"/api/v1/classes/LOAN/contexts.{form}?from={AT + 5}")
    assert answer.status_code == 200
    raw = io.BytesIO(answer.content)
    readers: dict[str, Callable[[io.BytesIO], pd.DataFrame]] = {
        "parquet": pd.read_parquet,
        "csv": pd.read_csv,
        "jsonl": lambda stream: pd.read_json(stream, lines=True),
    }
    table = readers[form](raw)
    assert len(table) == 15
    assert set(table.columns) == {"contextId", "timestamp", "amount", "city"}
    assert list((loans.store.data_dir / "tmp").glob("export-*")) == []
    assert loans.get(f"/api/v1/classes/LOAN/contexts.{form}", token=loans.token("Exporter")).status_code == 403
    assert loans.get("/api/v1/classes/LOAN/contexts.xml").status_code in {400, 404}
