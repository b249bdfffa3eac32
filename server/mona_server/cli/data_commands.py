"""Commands that move or look after data: import, and what keeps a data directory well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mona_server import settings as settings_module
from mona_server.cli.common import DEFAULT_DATA, DataDir, Json, Tenant, now_ms, open_store, progress_bar
from mona_server.errors import BadRequest


def import_files(
    files: Annotated[list[Path], typer.Argument(help="CSV, Parquet, JSON or Arrow files, plain or compressed.")],
    context_class: Annotated[str, typer.Option("--class", help="The context class of all rows.")],
    data: DataDir = DEFAULT_DATA,
    tenant: Tenant = "default",
    id_column: Annotated[str | None, typer.Option(help="Column with the context id. Default: contextId.")] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Column with the time. Default: exportTimestamp or timestamp.")
    ] = None,
    action: Annotated[str | None, typer.Option(help="OVERWRITE (default), ADD, NEW or DELETE.")] = None,
    rename: Annotated[list[str] | None, typer.Option("--map", help="old=new: rename a column; several times.")] = None,
    as_json: Json = False,
) -> None:
    """Send files as messages. A file that was imported before changes nothing; a broken-off import goes on."""
    from mona_server.ingest.limits import Limits
    from mona_server.sources.files import FileMapping, look_at
    from mona_server.sources.imports import Import, import_file

    pairs = dict(_pair(text) for text in rename or [])
    mapping = FileMapping(
        context_class=context_class, id_column=id_column, time_column=time_column, action=action, rename=pairs
    )
    errors = Console(stderr=True)
    results: list[Import] = []
    settings = settings_module.load(data)
    for path in files:
        look_at(path, mapping)  # all names are checked before the first row is sent
    with open_store(data) as store, progress_bar(errors) as progress:
        for path in files:
            task = progress.add_task(path.name, total=None)
            done = import_file(
                store,
                tenant,
                path,
                mapping,
                Limits.of(settings),
                clock=now_ms,
                on_progress=lambda state, task=task: progress.update(task, total=state.rows, completed=state.rows_read),  # type: ignore[misc]
                on_warning=lambda text, path=path: errors.print(f"{path.name}: {text}"),  # type: ignore[misc]
            )
            progress.update(task, total=done.rows, completed=done.rows)
            results.append(done)
    if as_json:
        print(json.dumps([result.to_json() for result in results]))
        return
    for result in results:
        print(f"{result.file}: {_summary(result)}")
        for refusal in result.reasons[:5]:
            print(f"  row {refusal['line']}: {refusal['reason']}")


def _summary(result: object) -> str:
    from mona_server.sources.imports import Import

    assert isinstance(result, Import)
    if result.repeated:
        return "imported before, nothing done"
    return f"{result.accepted:,} rows accepted" + (f", {result.refused:,} refused" if result.refused else "")


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise BadRequest(f"--map {text}: must be old=new")
    return old, new
