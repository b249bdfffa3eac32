"""Files become messages: every format and compression, nothing invented, nothing lost."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import zstandard

from mona_server.errors import BadRequest, NotFound
from mona_server.sources.files import FileMapping, chunks, look_at

ROWS: list[dict[str, Any]] = [
    {"id": "a", "ts": 1700000000, "amount": 1.5, "city": "Haifa", "ok": True},
    {"id": "b", "ts": 1700000001, "city": 'O\'Fallon, "MO"', "ok": False},
    {"id": "c", "ts": 1700000002, "amount": -2.0, "ok": True},
]
MAPPING = FileMapping(context_class="LOAN", id_column="id", time_column="ts")
CSV = 'id,ts,amount,city,ok\na,1700000000,1.5,Haifa,true\nb,1700000001,,"O\'Fallon, ""MO""",false\nc,1700000002,-2.0,,true\n'


def write(path: Path, sql: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet)")


def write_parquet(path: Path) -> None:
    rows = ", ".join(
        f"('{r['id']}', {r['ts']}, {r.get('amount', 'NULL')}, "
        + (f"'{r['city'].replace(chr(39), chr(39) * 2)}'" if "city" in r else "NULL")
        + f", {r['ok']})"
        for r in ROWS
    )
    write(
        path,
        f"SELECT id, ts, CAST(amount AS DOUBLE) AS amount, city, ok FROM (VALUES {rows}) v(id, ts, amount, city, ok)",
    )


def write_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


FORMATS: dict[str, Callable[[Path], object]] = {
    "list.json": lambda path: path.write_text(json.dumps(ROWS)),
    "lines.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    "table.csv": lambda path: path.write_text(CSV),
    "table.tsv": lambda path: path.write_text(CSV.replace(",", "\t").replace("O'Fallon\t", "O'Fallon,")),
    "table.parquet": write_parquet,
    "table.arrow": write_arrow,
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def messages(path: Path, mapping: FileMapping = MAPPING, **options: int) -> list[dict[str, Any]]:
    table = look_at(path, mapping)
    return [message for chunk in chunks(table, mapping, **options) for message in json.loads(chunk.body)["messages"]]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_messages(name: str, compression: str, tmp_path: Path) -> None:
    """Formats are told apart by their bytes; an empty cell is an absent key, not a null."""
    plain = tmp_path / name
    FORMATS[name](plain)
    packed = tmp_path / "file.gzip"
    packed.write_bytes(COMPRESSIONS[compression](plain.read_bytes()))
    table = look_at(packed, MAPPING)
    assert table.rows == 3
    read = messages(packed)
    assert [message["contextId"] for message in read] == ["a", "b", "c"]
    assert [int(message["exportTimestamp"]) for message in read] == [row["ts"] for row in ROWS]
    assert [message["message"] for message in read] == ROWS
    assert {message["arcClass"] for message in read} == {"LOAN"}


def test_chunks_are_the_same_each_time_and_can_be_resumed(tmp_path: Path) -> None:
    """The same file gives the same bodies; skipped rows are those of the chunks before."""
    path = tmp_path / "t.csv"
    path.write_text("id,ts,x\n" + "".join(f"i{i},{1700000000 + i},{i}\n" for i in range(2500)))
    table = look_at(path, MAPPING)
    first, second = list(chunks(table, MAPPING, rows=1000)), list(chunks(table, MAPPING, rows=1000))
    assert first == second
    assert [(chunk.first_row, chunk.rows) for chunk in first] == [(0, 1000), (1000, 1000), (2000, 500)]
    assert list(chunks(table, MAPPING, rows=1000, skip_rows=2000)) == first[2:]


def test_rows_without_an_id_get_one_that_does_not_change(tmp_path: Path) -> None:
    """Importing the same file again meets the same contexts; a warning says what that costs."""
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n2\n")
    mapping = FileMapping(context_class="C")
    table = look_at(path, mapping)
    assert len(table.warnings) == 2
    ids = [message["contextId"] for message in messages(path, mapping)]
    assert ids == [message["contextId"] for message in messages(path, mapping)]
    assert len(set(ids)) == 2
    assert [message["exportTimestamp"] for message in messages(path, mapping)] == [None, None]


def test_leading_zeros_of_a_csv_stay_text(tmp_path: Path) -> None:
    """A postal code is not a number."""
    path = tmp_path / "t.csv"
    path.write_text("id,ts,zip,n\na,1700000000,02134,10\nb,1700000001,90210,20\n")
    assert [m["message"]["zip"] for m in messages(path)] == ["02134", "90210"]
    assert [m["message"]["n"] for m in messages(path)] == [10, 20]


def test_a_latin_1_csv_is_read(tmp_path: Path) -> None:
    """The encoding is detected; letters are not damaged."""
    path = tmp_path / "t.csv"
    path.write_bytes("id,ts,city\na,1700000000,Zürich\n".encode("latin-1"))
    assert messages(path)[0]["message"]["city"] == "Zürich"


def test_numbers_that_json_lacks_are_no_value(tmp_path: Path) -> None:
    """NaN and infinities become absent keys."""
    path = tmp_path / "t.parquet"
    write(
        path,
        "SELECT 'a' AS id, 1700000000 AS ts, CAST('nan' AS DOUBLE) AS x, CAST('inf' AS DOUBLE) AS y, 1.0 AS z",
    )
    assert messages(path)[0]["message"] == {"id": "a", "ts": 1700000000, "z": 1.0}


def test_native_times_are_the_time_of_the_message(tmp_path: Path) -> None:
    """Timestamps with and without zone, and dates, arrive as ISO text in UTC."""
    path = tmp_path / "t.parquet"
    write(
        path,
        "SELECT 'a' AS id, TIMESTAMP '2021-01-02 03:04:05.5' AS ts, DATE '2021-01-02' AS d, [1, 2] AS l, {'k': 'v'} AS o",
    )
    (message,) = messages(path)
    assert message["exportTimestamp"] == "2021-01-02T03:04:05.500000Z"
    assert message["message"]["d"] == "2021-01-02"
    assert (message["message"]["l"], message["message"]["o"]) == ([1, 2], {"k": "v"})


@pytest.mark.parametrize("name", ["list.json", "table.csv"])
def test_columns_can_be_renamed_and_the_action_set(name: str, tmp_path: Path) -> None:
    """`rename` moves a key; the others stay."""
    path = tmp_path / name
    FORMATS[name](path)
    mapping = FileMapping(context_class="C", id_column="id", time_column="ts", action="ADD", rename={"city": "town"})
    first = messages(path, mapping)[0]
    assert (first["message"]["town"], "city" in first["message"], first["action"]) == ("Haifa", False, "ADD")


def test_an_explicit_null_of_a_json_file_stays(tmp_path: Path) -> None:
    """In JSON a null is said, and deletes the stored value; in a table it is an empty cell."""
    path = tmp_path / "t.json"
    path.write_text('[{"id": 7, "ts": "1700000000", "x": null}]')
    (message,) = messages(path)
    assert message["message"]["x"] is None
    assert message["contextId"] == "7"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, an unknown column and a broken file each get their own sentence."""
    with pytest.raises(NotFound, match="no such file"):
        look_at(tmp_path / "absent.csv", MAPPING)
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n")
    with pytest.raises(BadRequest, match=r"no column id, ts.*its columns are x"):
        look_at(path, MAPPING)
    broken = tmp_path / "t.json"
    broken.write_text('[{"id": "a", "ts": 1},\n {"id": "b", "ts"')
    with pytest.raises(BadRequest, match=r"t\.json"):
        look_at(broken, MAPPING)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BadRequest, match="cannot be read as parquet"):
        look_at(cut, MAPPING)
