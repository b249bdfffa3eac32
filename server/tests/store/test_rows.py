"""Rows between the fold and a file: bytes in, columns out, nothing lost, whatever the layouts."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mona_server.store.rows import (
    RESERVED,
    TYPES,
    PhysicalColumn,
    column_types,
    concatenate,
    decode_fact,
    encode_fact,
    encode_fact_chunk,
    fact_columns,
)

COLUMNS = (
    PhysicalColumn("n", "numeric", "n"),
    PhysicalColumn("s", "string", "s", lists=True),
    PhysicalColumn("b", "boolean", "b"),
    PhysicalColumn("t", "timestamp", "t"),
    PhysicalColumn("old", "string", "old"),
)
LAYOUTS = {1: ["n", "s"], 2: ["s", "b", "t"], 3: []}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "s": st.none() | st.text() | st.lists(st.text(), min_size=1, max_size=3),
    "b": st.none() | st.booleans(),
    "t": st.none() | st.integers(-(2**62), 2**62),
}


@st.composite
def facts(draw: st.DrawFn) -> tuple[int, str, int, int, list[Any]]:
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    values = [draw(VALUES[name]) for name in LAYOUTS[layout]]
    return layout, draw(st.text(min_size=1)), draw(st.integers(0, 2**41)), draw(st.integers(0, 2**41)), values


@given(facts())
def test_fact_round_trip(fact: tuple[int, str, int, int, list[Any]]) -> None:
    """What was encoded comes out again."""
    assert decode_fact(encode_fact(*fact)) == fact


CHUNKS = st.lists(
    st.tuples(st.integers(1, 9), st.lists(facts(), max_size=4), st.lists(facts(), max_size=4)), max_size=4
)


@given(CHUNKS)
def test_columns_hold_every_row_in_every_layout(chunks: list[tuple[int, list[Any], list[Any]]]) -> None:
    """Signs, revisions and values of all rows in order; a column that a layout does not have is NULL there."""
    encoded = [(r, encode_fact_chunk([encode_fact(*f) for f in m], [encode_fact(*f) for f in p])) for r, m, p in chunks]
    columns = fact_columns(encoded, LAYOUTS, COLUMNS)
    expected = [(f, sign, r) for r, m, p in chunks for part, sign in ((m, -1), (p, 1)) for f in part]
    assert set(columns) == set(column_types(COLUMNS))
    assert all(len(array) == len(expected) for array in columns.values())
    for i, ((layout, id_, time_ms, arrival_ms, values), sign, revision) in enumerate(expected):
        row = {name: array[i] for name, array in columns.items()}
        assert (row["MONA_ID"], row["MONA_SIGN"], row["MONA_REVISION"]) == (id_, sign, revision)
        assert (row["MONA_TIMESTAMP"], row["MONA_ARRIVAL_TIMESTAMP"]) == (time_ms, arrival_ms)
        given_values = dict(zip(LAYOUTS[layout], values, strict=True))
        for column in COLUMNS:
            value = given_values.get(column.physical)
            if isinstance(value, list):
                assert row[column.list_column] == value
                value = None
            stored = row[column.physical]
            assert (stored is np.ma.masked or stored is None) if value is None else stored == value


@given(CHUNKS)
def test_chunks_may_be_decoded_one_by_one(chunks: list[tuple[int, list[Any], list[Any]]]) -> None:
    """The cache of a process keeps decoded chunks and puts them together: the same as all at once."""
    encoded = [(r, encode_fact_chunk([encode_fact(*f) for f in m], [encode_fact(*f) for f in p])) for r, m, p in chunks]
    if encoded:
        parts = concatenate([fact_columns([chunk], LAYOUTS, COLUMNS) for chunk in encoded])
        whole = fact_columns(encoded, LAYOUTS, COLUMNS)
        assert {name: array.tolist() for name, array in parts.items()} == {
            name: array.tolist() for name, array in whole.items()
        }


def test_equal_texts_are_kept_once() -> None:
    """Decoded rows are held until they are in a file; most texts are one of a few."""
    facts = [encode_fact(2, f"c{i}", 1, 2, [f"value {i % 3}", True, None]) for i in range(300)]
    texts = fact_columns([(1, encode_fact_chunk(facts[:150], facts[150:]))], LAYOUTS, COLUMNS)["s"]
    assert len({id(text) for text in texts}) == 3


def test_duckdb_reads_the_columns_as_they_are_meant() -> None:
    """Masked numbers are NULL, not NaN; lists are lists; an all-NULL column takes the type that it is cast to."""
    chunk = encode_fact_chunk(
        [], [encode_fact(1, "a", 1, 2, [1.5, ["x", "y"]]), encode_fact(2, "b", 3, 4, ["z", True, None])]
    )
    columns = fact_columns([(7, chunk)], LAYOUTS, COLUMNS)
    types = column_types(COLUMNS)
    duck = duckdb.connect()
    duck.register("rows", columns)
    casts = ", ".join(f'CAST("{name}" AS {type_})' for name, type_ in types.items() if name not in RESERVED)
    assert duck.execute(f"SELECT {casts} FROM rows").fetchall() == [
        (1.5, None, ["x", "y"], None, None, None),
        (None, "z", None, True, None, None),
    ]
    duck.close()


def test_every_field_type_has_a_column() -> None:
    """The types of configurations are the keys here."""
    from typing import get_args

    from mona_server.config.model import FieldType

    assert set(TYPES) == set(get_args(FieldType))
