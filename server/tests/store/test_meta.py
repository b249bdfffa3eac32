"""meta.db: made from the tables of all rooms, migrated when older, refused when newer; writers wait for each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from mona_server.errors import Overloaded, Unavailable
from mona_server.store import Store, sqlite
from mona_server.store import meta as meta_module
from mona_server.store.meta import HEAD, load_tables, open_meta

MIGRATIONS = Path(meta_module.__file__).parent / "migrations"


def test_head_is_the_newest_migration() -> None:
    """The constant spares loading alembic at each start."""
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def differences(engine: Engine) -> list[Any]:
    """Between a database and the tables, types and defaults included."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found: list[Any] = compare_metadata(context, load_tables())
    return found


def migrated(path: Path) -> Engine:
    """A database that all migrations made, one after the other."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        meta_module._alembic_upgrade(connection)
    return engine


def test_migrations_and_tables_agree(tmp_path: Path) -> None:
    """Who changes a table writes a migration: the database that all of them make is the one the tables describe."""
    engine = migrated(tmp_path / "migrated.db")
    assert differences(engine) == []
    with engine.connect() as connection:
        assert meta_module._version(connection) == HEAD
    engine.dispose()


def test_a_new_database_is_a_migrated_one(tmp_path: Path) -> None:
    """The short way at the first start gives the same tables, indices and constraints as the long one."""
    short, long = open_meta(tmp_path / "new.db"), migrated(tmp_path / "migrated.db")

    def schema(engine: Engine) -> dict[str, Any]:
        seen = inspect(engine)
        return {
            table: (
                {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(table)},
                seen.get_pk_constraint(table),
                sorted((i["name"], i["column_names"], i["unique"]) for i in seen.get_indexes(table)),
                sorted((str(u["name"]), u["column_names"]) for u in seen.get_unique_constraints(table)),
                sorted((str(f["name"]), f["constrained_columns"]) for f in seen.get_foreign_keys(table)),
            )
            for table in seen.get_table_names()
            if table != "alembic_version"
        }

    assert schema(short) == schema(long)
    short.dispose()
    long.dispose()


def test_the_first_migration_looks_at_no_table_of_today() -> None:
    """It is frozen: what it makes must not follow the code."""
    assert "mona_server" not in (MIGRATIONS / "versions" / "0001_initial.py").read_text(encoding="utf-8")


def test_every_room_is_there(tmp_path: Path) -> None:
    """Tables register themselves in ``store/tables_<room>.py``."""
    engine = open_meta(tmp_path / "meta.db")
    assert set(load_tables().tables) | {"alembic_version"} == set(inspect(engine).get_table_names())
    assert "jobs" in load_tables().tables
    engine.dispose()


def test_newer_database_is_refused(tmp_path: Path) -> None:
    """An older Mona must not write what it does not understand."""
    engine = open_meta(tmp_path / "meta.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(Unavailable, match="9999"):
        open_meta(tmp_path / "meta.db")


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    """Read, then write, from eight threads: no lost update and no 'database is locked'."""
    engine = open_meta(tmp_path / "meta.db")
    table = Table("counter", MetaData(), Column("n", Integer))
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert().values(n=0))

    def count(_: int) -> None:
        with engine.begin() as connection:
            n = connection.execute(select(table.c.n)).scalar_one()
            connection.execute(table.update().values(n=n + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(80)))
    with engine.connect() as connection:
        assert connection.execute(select(table.c.n)).scalar_one() == 80
    engine.dispose()


def test_a_full_disk_is_our_own_error(tmp_path: Path) -> None:
    """Who writes learns that the disk is full, and nothing is stored; a wrong statement is still SQLAlchemy's error."""
    engine = open_meta(tmp_path / "meta.db")
    table = Table("texts", MetaData(), Column("text", Text, primary_key=True))
    with engine.begin() as connection:
        table.create(connection)
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    with engine.connect() as connection:
        connection.execute(text(f"PRAGMA max_page_count={pages + 1}"))
    with pytest.raises(Overloaded, match="disk is full"), engine.begin() as connection:
        connection.execute(table.insert().values(text="x" * 100_000))
    with engine.begin() as connection:
        assert connection.execute(select(table.c.text)).all() == []
        connection.execute(table.insert().values(text="short"))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(table.insert().values(text="short"))
    with pytest.raises(OperationalError, match="no such table"), engine.connect() as connection:
        connection.execute(text("SELECT * FROM missing"))
    engine.dispose()


def test_processes_that_start_together(tmp_path: Path) -> None:
    """Four parts open an empty data directory at the same moment."""
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store.open(tmp_path / "data"), range(4)))
    for store in stores:
        store.close()


@pytest.mark.parametrize("schema", ["inbox", "state"])
def test_numbered_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: str) -> None:
    """An older file gets the missing steps, each once and whole; a newer one is refused; a failing step leaves nothing."""
    source = sqlite._SCHEMAS / schema
    folder = tmp_path / "schema" / schema
    folder.mkdir(parents=True)
    for file in source.glob("*.sql"):
        (folder / file.name).write_text(file.read_text())
    monkeypatch.setattr(sqlite, "_SCHEMAS", tmp_path / "schema")
    path = tmp_path / "x.db"
    newest = max(int(file.stem) for file in folder.glob("*.sql"))
    sqlite.Database(path, schema).close()
    step = folder / f"{newest + 1:04}.sql"
    step.write_text("CREATE TABLE extra (a);\nCREATE TABLE extra (a);\n")
    with pytest.raises(Unavailable):
        sqlite.Database(path, schema)
    step.write_text("CREATE TABLE extra (a);\nINSERT INTO extra VALUES (1);\n")
    for _ in range(2):
        database = sqlite.Database(path, schema)
        assert database.connection.execute("SELECT count(*) FROM extra").fetchone() == (1,)
        database.close()
    step.unlink()
    with pytest.raises(Unavailable, match="newer"):
        sqlite.Database(path, schema)
