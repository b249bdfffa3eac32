"""Which classes exist, and which physical column holds which field. Functions run in the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from mona_server.store.rows import RESERVED, TYPES, PhysicalColumn, layout_text


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A context class that has data."""

    class_id: int
    tenant: str
    name: str
    created_ms: int


def find_class(connection: sqlite3.Connection, tenant: str, name: str) -> int | None:
    """The id of a class, or None where it has no data."""
    row = connection.execute("SELECT class_id FROM classes WHERE tenant = ? AND name = ?", (tenant, name)).fetchone()
    return row[0] if row else None


def ensure_class(connection: sqlite3.Connection, tenant: str, name: str, now_ms: int) -> int:
    """The id of a class, made when it is new."""
    found = find_class(connection, tenant, name)
    if found is not None:
        return found
    row = connection.execute(
        "INSERT INTO classes (tenant, name, created_ms) VALUES (?, ?, ?) RETURNING class_id", (tenant, name, now_ms)
    ).fetchone()
    return int(row[0])


def list_classes(connection: sqlite3.Connection, tenant: str | None = None) -> list[ClassRow]:
    """All classes, of one tenant or of all."""
    rows = connection.execute(
        "SELECT class_id, tenant, name, created_ms FROM classes WHERE ? IS NULL OR tenant = ? ORDER BY tenant, name",
        (tenant, tenant),
    )
    return [ClassRow(*row) for row in rows]


def read_columns(connection: sqlite3.Connection, class_id: int) -> list[PhysicalColumn]:
    """All physical columns of a class, old types of a field included, by name."""
    rows = connection.execute(
        "SELECT field, type, physical, lists FROM columns WHERE class_id = ? ORDER BY physical", (class_id,)
    )
    return [PhysicalColumn(field, type_, physical, bool(lists)) for field, type_, physical, lists in rows]


def ensure_columns(
    connection: sqlite3.Connection, class_id: int, fields: Sequence[tuple[str, str]]
) -> list[PhysicalColumn]:
    """The physical column of each ``(field, type)``, made where new.

    A field that changes its type gets ``<field>@2`` and so on; a field whose name differs from another only in
    case does too, because DuckDB does not tell such columns apart.
    """
    known = read_columns(connection, class_id)
    by_field = {(column.field, column.type): column for column in known}
    taken = {name.casefold() for name in RESERVED}
    for column in known:
        taken |= {column.physical.casefold(), column.list_column.casefold()}
    result = []
    for field, type_ in fields:
        if type_ not in TYPES:
            raise ValueError(f"field {field}: no column for type {type_!r}")
        found = by_field.get((field, type_))
        if found is None:
            physical, number = field, 1
            while physical.casefold() in taken or f"{physical}[]".casefold() in taken:
                number += 1
                physical = f"{field}@{number}"
            found = PhysicalColumn(field, type_, physical)
            taken |= {physical.casefold(), found.list_column.casefold()}
            connection.execute(
                "INSERT INTO columns (class_id, field, type, physical) VALUES (?, ?, ?, ?)",
                (class_id, field, type_, physical),
            )
            by_field[field, type_] = found
        result.append(found)
    return result


def note_lists(connection: sqlite3.Connection, class_id: int, physical: Sequence[str]) -> None:
    """From now on these columns have a second one for arrays."""
    connection.executemany(
        "UPDATE columns SET lists = 1 WHERE class_id = ? AND physical = ?", [(class_id, name) for name in physical]
    )


def ensure_layout(connection: sqlite3.Connection, class_id: int, physical: Sequence[str]) -> int:
    """The id of an order of physical columns."""
    text = layout_text(physical)
    row = connection.execute(
        "SELECT layout_id FROM layouts WHERE class_id = ? AND physical = ?", (class_id, text)
    ).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO layouts (class_id, physical) VALUES (?, ?) RETURNING layout_id", (class_id, text)
        ).fetchone()
    return int(row[0])


def read_layouts(connection: sqlite3.Connection, class_id: int) -> dict[int, list[str]]:
    """Layout → its physical columns."""
    rows = connection.execute("SELECT layout_id, physical FROM layouts WHERE class_id = ?", (class_id,))
    return {layout: json.loads(text) for layout, text in rows}


def forget_unused(connection: sqlite3.Connection) -> int:
    """Remove the classes that are to be forgotten and that nothing refers to any more; returns how many.

    A class that got new data in the meantime stays. For the fold only: it keeps class ids in memory.
    """
    gone = connection.execute(
        "SELECT class_id FROM classes WHERE forgotten = 1"
        " AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.class_id = classes.class_id)"
        " AND NOT EXISTS (SELECT 1 FROM erasures WHERE erasures.class_id = classes.class_id)"
        " AND NOT EXISTS (SELECT 1 FROM files WHERE files.class_id = classes.class_id AND removed_ms IS NULL)"
    ).fetchall()
    for table in ("days", "columns", "layouts", "ledger", "classes"):
        connection.executemany(f"DELETE FROM {table} WHERE class_id = ?", gone)
    return len(gone)
