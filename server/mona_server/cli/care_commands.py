"""Commands that look after a data directory: doctor, verify, backup, restore."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mona_server import settings as settings_module
from mona_server.cli import up
from mona_server.cli.common import DEFAULT_DATA, DataDir, Json, now_ms, open_store

_MARKS = {"ok": "  ", "warning": "! ", "bad": "!!"}


def doctor(data: DataDir = DEFAULT_DATA, as_json: Json = False) -> None:
    """How the data directory is doing, and what to do where it is not well. Code 1 when something is bad."""
    from mona_server.store import doctor as room

    with open_store(data, must_exist=True) as store:
        readings = room.examine(store, settings_module.load(data), now_ms())
    if as_json:
        print(json.dumps([asdict(reading) for reading in readings]))
    else:
        for reading in readings:
            amount = _bytes(reading.value) if reading.unit == "bytes" else f"{reading.value:,.0f} {reading.unit}"
            print(f"{_MARKS[reading.status]} {reading.title:<48} {amount:>14}")
            if reading.advice:
                print(f"      {reading.advice}")
    if any(reading.status == "bad" for reading in readings):
        raise typer.Exit(1)


def verify(
    data: DataDir = DEFAULT_DATA,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild what can be rebuilt; the server must be off.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare facts with documents, the manifest with the files, sums with facts. Code 1 when something differs."""
    from mona_server.store import verify as room

    lock = up.lock_data_dir(data) if repair else None
    try:
        with open_store(data, must_exist=True) as store:
            findings = room.verify(store, now_ms=now_ms(), repair=repair)
    finally:
        if lock is not None:
            lock.close()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{'repaired' if finding.repaired else 'wrong'}: {finding.message}")
            if not finding.repaired:
                print(f"      {finding.hint}")
        if not findings:
            print("all is as it should be")
    if any(not finding.repaired for finding in findings):
        raise typer.Exit(1)


def backup(
    target: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    data: DataDir = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Copy the whole data directory, consistent, while the server runs."""
    from mona_server.store import backup as room

    with open_store(data, must_exist=True) as store:
        done = room.backup(store, target, now_ms=now_ms())
    _report("backed up to", done, as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `mona backup` made.")],
    data: DataDir = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Make a data directory from a backup. The directory must be new or empty."""
    from mona_server.store import backup as room

    _report("restored to", room.restore(source, data), as_json=as_json)


def _report(words: str, done: object, *, as_json: bool) -> None:
    from mona_server.store.backup import BackedUp

    assert isinstance(done, BackedUp)
    if as_json:
        print(json.dumps(asdict(done) | {"path": str(done.path)}))
    else:
        print(f"{words} {done.path}: {done.files} files, {_bytes(done.bytes)}, revision {done.revision}")


def _bytes(amount: float) -> str:
    """Bytes as people read them.

    >>> _bytes(1500), _bytes(3 * 2**30)
    ('1.5 KiB', '3.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError
