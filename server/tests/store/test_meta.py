"""meta.db: made from the tables of all rooms, migrated when older, refused when newer; writers wait for each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, MetaData, Table, inspect, select, text

from mona_server.errors import Unavailable
from mona_server.store import Store, sqlite
from mona_server.store import meta as meta_module
from mona_server.store.meta import HEAD, load_tables, open_meta

MIGRATIONS = Path(meta_module.__file__).parent / "migrations"


def test_head_is_the_newest_migration() -> None:
    """The constant spares loading alembic at each start."""
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_migrations_and_tables_agree(tmp_path: Path) -> None:
    """A database that all migrations made is the one that the tables describe."""
    engine = open_meta(tmp_path / "old.db")
    with engine.begin() as connection:
        load_tables().drop_all(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        connection.execute(text("DELETE FROM alembic_version"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0000')"))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
        meta_module._alembic_upgrade(connection)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), load_tables()) == []
        assert meta_module._version(connection) == HEAD
    engine.dispose()


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
