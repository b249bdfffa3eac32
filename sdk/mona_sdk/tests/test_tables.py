"""Tables (Q39)."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.tests.servers import RecordingServer

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

COLUMNS: dict[str, list[Any]] = {
    "id": ["a", "b", "c"],
    "when": [datetime(2024, 1, 2, tzinfo=timezone.utc), datetime(2024, 1, 3, tzinfo=timezone.utc), None],
    "amount": [1.5, float("nan"), 3.0],
    "count": [1, None, 3],
    "city": ["Haifa", None, "Lod"],
    "ok": [True, False, None],
}


class Interchange:
    """Something that speaks the dataframe protocol only."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def __dataframe__(self, *args: Any, **kwargs: Any) -> Any:
        return self._frame.__dataframe__(*args, **kwargs)


class Stream:
    """Something that speaks Arrow's stream protocol only."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def _reader() -> Any:
    table = pa.table(COLUMNS)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))


TABLES: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "pandas with Arrow types": lambda: pa.table(COLUMNS).to_pandas(types_mapper=pd.ArrowDtype),
    "pandas with nullable types": lambda: pd.DataFrame(COLUMNS).convert_dtypes(),
    "polars": lambda: pl.DataFrame(COLUMNS, strict=False),
    "polars lazy": lambda: pl.DataFrame(COLUMNS, strict=False).lazy(),
    "Arrow table": lambda: pa.table(COLUMNS),
    "Arrow reader": _reader,
    "Arrow record batch": lambda: pa.table(COLUMNS).combine_chunks().to_batches()[0],
    "stream protocol": lambda: Stream(pa.table(COLUMNS)),
    "dataframe protocol": lambda: Interchange(pa.table(COLUMNS)),
}


@pytest.mark.parametrize("kind", list(TABLES))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_rows_arrive_without_their_missing_cells(
    server: RecordingServer, make_client: Callable[..., Client], kind: str
) -> None:
    """From every kind of table."""
    client = make_client()
    result = client.export_table(TABLES[kind](), "LOAN", "id", "when", action="ADD")
    assert result == {"total": 3, "failed": 0, "sent": 3, "failure_reasons": {}}
    assert [message["message"] for message in server.messages] == [
        {"amount": 1.5, "count": 1, "city": "Haifa", "ok": True},
        {"ok": False},
        {"amount": 3.0, "count": 3, "city": "Lod"},
    ]
    assert [message["contextId"] for message in server.messages] == ["a", "b", "c"]
    assert [message["exportTimestamp"] for message in server.messages][:2] == [
        "2024-01-02T00:00:00+00:00",
        "2024-01-03T00:00:00+00:00",
    ]
    assert isinstance(server.messages[2]["exportTimestamp"], float)
    assert {message["action"] for message in server.messages} == {"ADD"}


def test_columns_can_be_chosen(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Ids may be numbers, names any hashable, and there may be no id."""
    frame = pd.DataFrame({"n": [1, 2], 5: ["x", "y"], "z": [0.5, 0.25]})
    client = make_client()
    assert client.export_table(frame, "LOAN", "n", columns=[5])["sent"] == 2
    assert [(m["contextId"], m["message"]) for m in server.messages] == [("1", {"5": "x"}), ("2", {"5": "y"})]
    assert client.export_table(frame, "LOAN", None, columns=["z"])["sent"] == 2
    assert "contextId" not in server.messages[-1]


def test_long_tables_are_read_in_chunks(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Places are row numbers, and every row arrives."""
    server.keep_requests = True
    n = 20_000
    frame = pl.DataFrame({"id": [str(i) for i in range(n)], "v": np.arange(n) / 7})
    result = make_client().export_table(frame, "LOAN", "id")
    assert result["sent"] == n
    assert [message["contextId"] for message in server.messages] == [str(i) for i in range(n)]


def test_mistakes_are_told_at_once(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Before anything is sent."""
    client = make_client()
    with pytest.raises(ValueError, match=r"no column 'nope'; it has id, v"):
        client.export_table(pd.DataFrame({"id": ["a"], "v": [1]}), "LOAN", "nope")
    with pytest.raises(TypeError, match="list is no table"):
        client.export_table([1, 2], "LOAN", "id")
    assert server.sends == []


def test_tables_go_through_the_queue_too(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """In background mode the result says what was queued."""
    client = make_client(background=True)
    assert client.export_table(pd.DataFrame({"id": ["a"], "v": [1]}), "LOAN", "id")["queued"] == 1
    assert client.flush(5)
    assert server.messages[0]["message"] == {"v": 1}
