"""From a store's snapshot to facts."""

from __future__ import annotations

from mona_server.query.engines.duckdb import DuckEngine
from mona_server.query.facts import Column, Facts
from mona_server.store.rows import PhysicalColumn


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
