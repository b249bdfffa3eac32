"""``mona backup`` and ``mona restore``: a consistent copy of a data directory while it is in use.

The copy is a folder like the data directory itself, with ``backup.json`` that names the checksum of every file.
The order makes it consistent: first the inbox, then the state, then the files that this state lists. What was
accepted in between is not in the copy; what was folded in between is in the state and is skipped in the inbox.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mona_server import __version__
from mona_server.errors import BadRequest, Conflict, DataDamaged
from mona_server.store import lake, state
from mona_server.store.store import Store
from mona_server.store.verify import database_damage

LISTING = "backup.json"
_LONGEST_MS = 24 * 3_600_000
_DATABASES = ("inbox.db", "state.db", "meta.db")


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A backup that was made or restored."""

    path: Path
    files: int
    bytes: int
    revision: int
    """Newest revision of facts in it."""


def backup(store: Store, target: Path, *, now_ms: int) -> BackedUp:
    """Copy the data directory of an open store to a new folder; the server may go on.

    Raises Conflict where the folder is not empty, BadRequest where ``meta`` is not in the data directory.
    """
    if store.meta.dialect.name != "sqlite":
        raise BadRequest("meta data is in PostgreSQL", hint="back it up with pg_dump, and the rest with a file copy")
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise Conflict(f"{target} is not empty", hint="name a new folder")
    with store.state.writing() as connection:
        state.set_mark(connection, state.KEEP_FILES_UNTIL, str(now_ms + _LONGEST_MS))
    try:
        for name in _DATABASES:
            _copy_database(store.data_dir / name, target / name)
        copied = sqlite3.connect(target / "state.db")
        try:
            paths = [row[0] for row in copied.execute("SELECT path FROM files WHERE removed_ms IS NULL")]
            # Files that were replaced before the copy are not in it.
            copied.execute("DELETE FROM files WHERE removed_ms IS NOT NULL")
            copied.commit()
            revision = copied.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'revisions'")
            newest = revision.fetchone()[0]
        finally:
            copied.close()
        for path in paths:
            _copy(store.lake / path, target / "lake" / path)
        settings = store.data_dir / "mona.toml"
        if settings.exists():
            _copy(settings, target / "mona.toml", link=False)
    finally:
        with store.state.writing() as connection:
            state.set_mark(connection, state.KEEP_FILES_UNTIL, "0")
    (target / "lake").mkdir(exist_ok=True)
    files: dict[str, dict[str, Any]] = {
        str(path.relative_to(target)): {"bytes": path.stat().st_size, "sha256": lake.checksum(path)}
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }
    listing = {"version": __version__, "made_ms": now_ms, "revision": newest, "files": files}
    (target / LISTING).write_text(json.dumps(listing, indent=1), encoding="utf-8")
    for folder, _, names in os.walk(target):
        for name in names:
            lake.sync(Path(folder) / name)
        lake.sync(Path(folder))
    return BackedUp(target, len(files), sum(file["bytes"] for file in files.values()), newest)


def restore(source: Path, data_dir: Path) -> BackedUp:
    """Make a data directory from a backup. The server must not run on it.

    Raises BadRequest where ``source`` is no backup, DataDamaged where a file of it is not as it was written,
    Conflict where the data directory is not empty.
    """
    try:
        listing = json.loads((source / LISTING).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadRequest(f"{source} is no backup", hint=f"it has no readable {LISTING}") from None
    if data_dir.exists() and any(data_dir.iterdir()):
        raise Conflict(f"{data_dir} is not empty", hint="restore into a new folder")
    for path, file in listing["files"].items():
        found = source / path
        if not found.is_file() or found.stat().st_size != file["bytes"] or lake.checksum(found) != file["sha256"]:
            raise DataDamaged(f"the backup is damaged: {path}", hint="use another backup")
    data_dir.mkdir(parents=True, exist_ok=True)
    for path in listing["files"]:
        _copy(source / path, data_dir / path, link=False)
    for name in _DATABASES:
        problem = database_damage(data_dir / name)
        if problem:
            raise DataDamaged(f"{name} in the backup: {problem}", hint="use another backup")
    # The state may be newer than the inbox, whose numbers are then lifted: here that is no loss.
    with Store.open(data_dir) as store, store.state.writing() as connection:
        state.remove_mark(connection, state.INBOX_LOST)
    size = sum(file["bytes"] for file in listing["files"].values())
    return BackedUp(data_dir, len(listing["files"]), size, listing["revision"])


def _copy_database(source: Path, target: Path) -> None:
    reader = sqlite3.connect(source)
    try:
        # Not SQLite's page by page copy: free pages still hold what was deleted.
        reader.execute("VACUUM INTO ?", (str(target),))
    finally:
        reader.close()


def _copy(source: Path, target: Path, *, link: bool = True) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(source, target)  # files of the lake never change, so one on the same volume costs nothing
        except OSError:
            pass
        else:
            return
    shutil.copy2(source, target)
