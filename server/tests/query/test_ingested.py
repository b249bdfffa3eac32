"""Contexts as rows: what is there now, in pages without loss or repetition, samples that repeat, whole exports."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings

from mona_server.errors import BadRequest
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.ingested import (
    ContextsRequest,
    IngestedRequest,
    export_contexts,
    get_ingested_data,
    list_contexts,
)
from mona_server.query.requests import InvalidRequest
from mona_server.segment import Segment
from tests.query import naive
from tests.query.lab import DAY_MS
from tests.query.test_segments import KINDS, dataset_of, filled, history, segments

DAY_S = DAY_MS // 1000


def ask(lab: Any, **body: Any) -> dict[str, Any]:
    dataset = dataset_of(lab)
    return get_ingested_data(dataset, IngestedRequest.parse(dataset, {"start_time": 0, "end_time": 4 * DAY_S, **body}))


@settings(max_examples=25, deadline=None)
@given(steps=history, segment=segments)
def test_every_context_appears_once_as_it_is_now(engine: DuckEngine, steps: Any, segment: Any) -> None:
    """Changed, moved and deleted contexts included; the fields are those of the newest revision."""
    with tempfile.TemporaryDirectory() as folder:
        lab = filled(Path(folder), engine, steps)
        answer = ask(lab, segment=segment)
        expected = {
            key: (time, {k: sorted(set(v)) if isinstance(v, list) else v for k, v in row.items() if v != []})
            for key, (time, row) in lab.state.items()
            if naive.inside(row, Segment.parse(segment))
        }
        found = {
            item["contextId"]: (
                round(item["timestamp"] * 1000),
                {k: sorted(v) if isinstance(v, list) else v for k, v in item["fields"].items()},
            )
            for item in answer["crcs"]
        }
        assert found == expected
        assert answer["total"] == answer["sampled"] == len(expected)
        times = [item["timestamp"] for item in answer["crcs"]]
        assert times == sorted(times)


def test_a_sample_is_repeatable_and_about_as_large_as_asked(new_lab: Any) -> None:
    """It depends on the ids alone, and says how many there are."""
    lab = new_lab(KINDS)
    for i in range(2000):
        lab.put(f"id-{i}", i, {"x": float(i)})
    first, second = ask(lab, sampling_threshold=500), ask(lab, sampling_threshold=500)
    assert first == second
    assert first["total"] == 2000
    assert 400 < first["sampled"] < 600
    assert ask(lab, sampling_threshold=0)["crcs"] == []


def test_pages_neither_lose_nor_repeat_while_contexts_arrive(new_lab: Any) -> None:
    """Newest first, many with one time; a newer context that arrives between two pages changes neither."""
    lab = new_lab(KINDS)
    for i in range(25):
        lab.put(f"id-{i:02d}", 1000 * (i // 10), {"x": float(i)})
    seen: list[str] = []
    cursor = None
    for turn in range(10):
        dataset = dataset_of(lab)
        page = list_contexts(dataset, ContextsRequest.parse(dataset, {"limit": 7, "cursor": cursor}))
        seen += [item["contextId"] for item in page["items"]]
        cursor = page["next_cursor"]
        lab.put(f"new-{turn}", 10_000_000 + turn, {})
        if cursor is None:
            break
    assert seen == [f"id-{i:02d}" for i in (*range(24, 19, -1), *range(19, 9, -1), *range(9, -1, -1))]


def test_a_list_can_be_searched_by_the_beginning_of_the_id(new_lab: Any) -> None:
    """``search`` and ``segment`` narrow a list; a broken cursor is refused."""
    lab = new_lab(KINDS)
    for name in ("a1", "a2", "b1"):
        lab.put(name, 0, {"city": name[0]})
    dataset = dataset_of(lab)
    found = list_contexts(dataset, ContextsRequest.parse(dataset, {"search": "a"}))
    assert [item["contextId"] for item in found["items"]] == ["a2", "a1"]
    found = list_contexts(dataset, ContextsRequest.parse(dataset, {"segment": '{"city": [{"value": "b"}]}'}))
    assert [item["contextId"] for item in found["items"]] == ["b1"]
    with pytest.raises(InvalidRequest, match="cursor"):
        ContextsRequest.parse(dataset, {"cursor": "?"})


def test_exports_hold_every_context(new_lab: Any, tmp_path: Path) -> None:
    """Parquet, CSV and JSON lines of the same rows; another format is refused."""
    lab = new_lab({**KINDS, "City": "string"})
    lab.put("1", 1500, {"city": "Haifa", "City": "x", "tags": ["a", "b"]})
    lab.put("2", 500, {"x": 2.0, "tags": "c"})
    lab.put("1", 1500, {"city": "Acre", "tags": ["a"]})
    dataset = dataset_of(lab)
    request = IngestedRequest.parse(dataset, {"start_time": 0, "end_time": 10})
    path = export_contexts(dataset, request, "parquet", tmp_path)
    with duckdb.connect() as db:
        rows = db.execute(f"SELECT contextId, timestamp, city, x, tags FROM '{path}'").fetchall()
    assert rows == [("2", 0.5, None, 2.0, ["c"]), ("1", 1.5, "Acre", None, ["a"])]
    lines = export_contexts(dataset, request, "jsonl", tmp_path).read_text().splitlines()
    assert [json.loads(line)["contextId"] for line in lines] == ["2", "1"]
    text = export_contexts(dataset, request, "csv", tmp_path).read_text().splitlines()
    assert text[0].startswith("contextId,timestamp,city,vip,x,p,tags")
    assert len(text) == 3
    with pytest.raises(BadRequest, match="not a format"):
        export_contexts(dataset, request, "xml", tmp_path)  # type: ignore[arg-type]


def test_a_bad_request_lists_all_problems(new_lab: Any) -> None:
    """Wrong times, an unknown field and too large a sample come together."""
    dataset = dataset_of(new_lab(KINDS))
    body = {"start_time": "x", "segment": {"town": [{"value": 1}]}, "sampling_threshold": 10**6}
    with pytest.raises(InvalidRequest) as caught:
        IngestedRequest.parse(dataset, body)
    assert [issue.path for issue in caught.value.issues] == [
        "start_time",
        "end_time",
        "sampling_threshold",
        "segment.town",
    ]
