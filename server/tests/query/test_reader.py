"""From a store's snapshot to facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mona_server.config import revisions
from mona_server.detect.source import AxisRequest, SourceQuestion
from mona_server.errors import BadRequest, DataDamaged, NotFound
from mona_server.query import service
from mona_server.query.conditions import Binder, check_fields, segment_sql
from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.errors import QueryTimeout, QueryTooLarge
from mona_server.query.facts import Column, Facts
from mona_server.query.reader import Reader
from mona_server.segment import Segment
from mona_server.settings import Engine, Settings
from mona_server.store import Store, backup
from mona_server.store.rows import PhysicalColumn
from tests.ingest.lab import Lab as FoldLab


def test_a_field_that_changed_its_type_has_the_column_of_its_type_now() -> None:
    """The configuration decides; a field that was never stored has a column that no file has."""
    stored = (PhysicalColumn("x", "string", "x"), PhysicalColumn("x", "numeric", "x@2", False))
    columns = Facts.columns_of(stored, {"x": "numeric", "place": "geopoint"})
    assert columns == {"x": Column("x", "numeric", "x@2"), "place": Column("place", "geo", "place@0")}
    assert Facts.columns_of(stored, {"x": "string"}) == {"x": Column("x", "string", "x")}
    assert Facts.columns_of(stored, None) == {"x": Column("x", "numeric", "x@2")}


def test_columns_that_no_file_has_are_null(engine: DuckEngine) -> None:
    """A configured field without data reads as missing, and a class without data as no rows."""
    facts = Facts(engine, columns=Facts.columns_of((), {"x": "numeric"}))
    assert facts.rows(f"SELECT count(*), count({facts.column('x').sql}) FROM {facts.relation(['x'])}") == [(0, 0)]


CONFIG = {
    "fields": {
        "a": {"type": "numeric"},
        "s": {"type": "string"},
        "b": {"type": "boolean"},
        "when": {"type": "timestamp"},
        "never": {"type": "string"},
    }
}
TYPES: Any = {"LOAN": {"a": "numeric", "s": "string", "b": "boolean", "when": "timestamp", "never": "string"}}


@pytest.fixture
def fold(tmp_path: Path) -> Iterator[FoldLab]:
    """A data directory with a configured class."""
    lab = FoldLab(tmp_path / "data")
    lab.builders.configure(TYPES)
    revisions.save(lab.store.meta, "T", {"LOAN": CONFIG}, author="me", commit_message="", now_ms=lab.now_ms)
    yield lab
    lab.close()


def send(fold: FoldLab, *messages: tuple[str, dict[str, Any]]) -> None:
    fold.send([{"contextId": key, "exportTimestamp": 1_600_000_000, "message": values} for key, values in messages])
    fold.fold()


def test_a_reader_sees_files_and_pending_rows_alike(fold: FoldLab) -> None:
    """The same contexts before and after the flush: scalars, arrays, times, fields that nobody sent."""
    send(fold, ("1", {"a": 1, "s": ["x", "y"], "b": True, "when": 1_600_000_001}), ("2", {"s": "x"}), ("3", {}))
    with Reader(fold.store, Settings(data_dir=fold.path)) as reader:
        answers = []
        for _ in range(2):
            dataset = reader.dataset("T", "LOAN")
            request = service.IngestedRequest.parse(dataset, {"start_time": 1_600_000_000, "end_time": 1_600_000_001})
            rows = service.get_ingested_data(dataset, request)
            source = dataset.source(SourceQuestion((AxisRequest("s"),), ("a",), (1_600_000_000_000, 1_600_000_001_000)))
            answers.append((rows, source.axes, source.sums((0,)).size.tolist()))
            fold.flush()
        assert answers[0] == answers[1]
        rows, axes, size = answers[0]
        assert rows["crcs"][0] == {
            "contextId": "1",
            "arcClass": "LOAN",
            "timestamp": 1_600_000_000,
            "fields": {"a": 1, "s": ["x", "y"], "b": True, "when": 1_600_000_001},
            "message": {"a": 1, "s": ["x", "y"], "b": True, "when": 1_600_000_001},
        }
        assert [str(c.to_json()) for c in axes[0].conditions][:2] == ["{'value': 'x'}", "{'value': 'y'}"]
        assert size == [[2], [1], [1]]


def test_as_of_reads_what_was_known_then(fold: FoldLab) -> None:
    """A late label is not there yet; the answer names the time it stands for."""
    send(fold, ("1", {"a": 1}))
    fold.flush()
    before_ms = fold.later()
    send(fold, ("1", {"a": 5}))
    with Reader(fold.store, Settings(data_dir=fold.path)) as reader:
        for as_of_ms, mean in ((None, 5.0), (before_ms, 1.0)):
            dataset = reader.dataset("T", "LOAN", as_of_ms)
            request = service.SegmentRequest.parse(dataset, {"from": 1_600_000_000, "to": 1_600_000_001})
            answer = service.get_segment(dataset, request)
            assert answer["baseline"]["metrics"]["a"]["average"] == mean
            assert answer["meta"]["as_of"] == (None if as_of_ms is None else as_of_ms / 1000)


def answers_hash(store: Store, contexts: list[str], as_of_ms: int) -> str:
    """A digest of what every kind of question is answered, now and as of a moment."""
    times = {"from": 1_600_000_000, "to": 1_600_000_001}
    with Reader(store, Settings(data_dir=store.data_dir)) as reader:
        told: list[Any] = [service.get_context(reader, "T", "LOAN", key) for key in contexts]
        for moment in (None, as_of_ms):
            dataset = reader.dataset("T", "LOAN", moment)
            asked = service.IngestedRequest.parse(dataset, {"start_time": times["from"], "end_time": times["to"]})
            told.append(service.get_ingested_data(dataset, asked))
            for segment in ({}, {"s": [{"value": "x"}]}):
                request = service.SegmentRequest.parse(dataset, {**times, "segment": segment})
                told.append(service.get_segment(dataset, request))
            question = SourceQuestion((AxisRequest("s"),), ("a",), (1_600_000_000_000, 1_600_000_001_000))
            source = dataset.source(question)
            told.append([source.sums((0,)).size.tolist(), source.sums((0,)).total.tolist()])
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def test_a_restored_backup_answers_every_question_alike(fold: FoldLab, tmp_path: Path) -> None:
    """Contexts with their history, sums, pages, as-of reads; files and pending rows; a later message changes the digest."""
    send(fold, *((str(n), {"a": n * 0.1, "s": ["x", "y"][n % 2], "b": n % 3 == 0}) for n in range(50)))
    fold.flush()
    before_ms = fold.later()
    send(fold, ("7", {"a": 99, "s": ["x", "z"]}), ("8", {"when": 1_600_000_001}))
    ids = [str(n) for n in range(50)]
    expected = answers_hash(fold.store, ids, before_ms)
    backup.backup(fold.store, tmp_path / "backup", now_ms=fold.now_ms)
    send(fold, ("9", {"a": 1.5}))
    assert answers_hash(fold.store, ids, before_ms) != expected
    backup.restore(tmp_path / "backup", tmp_path / "restored")
    with Store.open(tmp_path / "restored") as restored:
        assert answers_hash(restored, ids, before_ms) == expected


def test_one_context_has_its_messages_in_order(fold: FoldLab) -> None:
    """Built fields, the merged message, and what was sent when."""
    send(fold, ("1", {"a": 1}))
    fold.flush()
    send(fold, ("1", {"s": "x"}))
    with Reader(fold.store, Settings(data_dir=fold.path)) as reader:
        found = service.get_context(reader, "T", "LOAN", "1")
        assert found["fields"] == {"a": 1, "s": "x"}
        assert found["message"] == {"a": 1, "s": "x"}
        assert [one["message"] for one in found["history"]] == [{"a": 1}, {"s": "x"}]
        assert found["timestamp"] == 1_600_000_000
        with pytest.raises(NotFound):
            service.get_context(reader, "other", "LOAN", "1")


def test_a_class_that_is_only_configured_is_empty(fold: FoldLab) -> None:
    """It can be asked; a class that nobody knows cannot."""
    with Reader(fold.store, Settings(data_dir=fold.path)) as reader:
        assert service.overview(reader.dataset("T", "LOAN")) == service.Overview(0, None, None)
        with pytest.raises(NotFound):
            reader.dataset("T", "NOPE")
        with pytest.raises(NotFound):
            reader.dataset("other", "LOAN")


def test_a_query_that_takes_too_long_is_stopped() -> None:
    """With a status of its own and what to do."""
    engine = DuckEngine(Engine(query_timeout_s=1.5))
    with pytest.raises(QueryTimeout, match=r"stopped after 1\.5 s") as caught:
        engine.rows("SELECT count(*) FROM range(10000000) a, range(10000000) b")
    assert caught.value.status == 504
    assert engine.rows("SELECT 1") == [(1,)]
    engine.close()


def test_a_query_that_needs_too_much_memory_says_so() -> None:
    """Without a place to spill, the limit is an error and not the end of the process."""
    engine = DuckEngine(Engine(memory="50MB", threads=1))
    with pytest.raises(QueryTooLarge, match="more memory"):
        engine.rows("SELECT a, count(*) FROM range(20000000) t(a) GROUP BY a")
    engine.close()


def test_a_missing_file_is_damage(engine: DuckEngine, new_lab: Any) -> None:
    """Never served silently."""
    lab = new_lab({"x": "numeric"})
    lab.put("1", 0, {"x": 1.0})
    lab.flush()
    Path(lab.files[0].path).unlink()
    with pytest.raises(DataDamaged, match="cannot be read"):
        lab.facts().rows(f"SELECT count(*) FROM {lab.facts().relation()}")


def test_a_broken_pattern_is_a_bad_request(new_lab: Any) -> None:
    """The pattern itself is not repeated: it may hold anything."""
    facts = new_lab({"s": "string"}).facts()
    broken = Segment.parse({"s": [{"regex": "(secret"}]})
    with pytest.raises(BadRequest, match="cannot be read") as caught:
        segment_sql(facts, broken, Binder())
    assert [name for name, _ in check_fields(facts, [broken])] == ["s"]
    assert "secret" not in str(caught.value)
