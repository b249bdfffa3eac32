"""``meta.db``: what people and the engine decide (users, configurations, insights, jobs), by SQLAlchemy Core.

Each room keeps its tables in ``store/tables_<room>.py`` and registers them in the one :data:`metadata` here.
:func:`open_meta` makes a new database from them, and brings an older one up to date by the Alembic
migrations in ``store/migrations``.

Use ``engine.begin()`` to write and ``engine.connect()`` to read: on SQLite the first takes the write lock at
once (``BEGIN IMMEDIATE``), because a deferred read-then-write beside another writer fails instead of waiting.
A disk that is full or takes no writes, a damaged file, a database that does not answer: these raise our own errors.
"""

from __future__ import annotations

import importlib
import pkgutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, MetaData, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from mona_server.errors import MonaError, Unavailable
from mona_server.store.sqlite import Witness, explain, storage_errors, storage_problem

HEAD = "0004"
"""The newest migration; alembic itself (slow to import) is loaded only for a database that is behind."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_BUSY_TIMEOUT_MS = 30_000


def load_tables() -> MetaData:
    """The metadata with the tables of all rooms."""
    package = importlib.import_module("mona_server.store")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("tables_"):
            importlib.import_module(f"mona_server.store.{module.name}")
    return metadata


def open_meta(path: Path, url: str | None = None) -> Engine:
    """An engine on ``meta.db`` (or on the PostgreSQL database of ``store.url``), with all tables up to date.

    Raises Unavailable for a database that a newer Mona has written or that does not answer, Overloaded for a full disk.
    """
    load_tables()
    engine = create_engine(url or f"sqlite:///{path}")
    _raise_our_errors(engine, path)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, path)
    try:
        upgrade(engine)
    except DBAPIError as error:
        engine.dispose()
        if isinstance(error.orig, sqlite3.Error):
            raise explain(error.orig, path) from error
        raise _no_answer() from error
    except MonaError:
        engine.dispose()
        raise
    return engine


def upgrade(engine: Engine) -> None:
    """Create or migrate the tables. Processes that start together do it one after the other."""
    with engine.connect() as connection:
        known = _version(connection)
    if known == HEAD:
        return
    with engine.begin() as connection:
        known = _version(connection)  # another process may have been faster
        if known is not None and known > HEAD:
            raise Unavailable(
                f"meta.db has schema {known}, this Mona knows {HEAD}", hint="start the version that wrote it, or newer"
            )
        if known is None:
            metadata.create_all(connection)
            connection.execute(text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
            connection.execute(text("DELETE FROM alembic_version"))
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
        elif known != HEAD:
            _alembic_upgrade(connection)


def _version(connection: Any) -> str | None:
    if "alembic_version" not in inspect(connection).get_table_names():
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()  # type: ignore[no-any-return]


def _alembic_upgrade(connection: Any) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _raise_our_errors(engine: Engine, path: Path) -> None:
    @event.listens_for(engine, "handle_error", retval=True)
    def on_error(context: ExceptionContext) -> MonaError | None:
        if isinstance(context.original_exception, sqlite3.Error):
            return storage_problem(context.original_exception, path)
        return _no_answer() if context.is_disconnect else None


def _no_answer() -> Unavailable:
    return Unavailable("the database of store.url does not answer", hint="is it running, and is the URL right?")


def _prepare_sqlite(engine: Engine, path: Path) -> None:
    witness = Witness(path.parent)

    @event.listens_for(engine, "engine_disposed")
    def on_dispose(_engine: Engine) -> None:
        witness.close()

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's begin event below starts transactions
        for pragma in (
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    @contextmanager
    def begin() -> Iterator[Connection]:
        with engine.connect().execution_options(immediate=True) as connection, connection.begin():
            yield connection
        with storage_errors(path):
            witness.confirm()

    engine.begin = begin  # type: ignore[method-assign]
