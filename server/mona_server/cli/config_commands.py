"""``mona import-config``: a configuration file into a data directory, as it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mona_server.cli.common import DEFAULT_DATA, DataDir, Json, Tenant, now_ms, open_store
from mona_server.errors import BadRequest


def import_config(
    file: Annotated[Path, typer.Argument(help="The configuration, JSON, with or without the user id level.")],
    data: DataDir = DEFAULT_DATA,
    tenant: Tenant = "default",
    context_class: Annotated[
        str | None, typer.Option("--class", help="Only this context class changes. Default: the whole file.")
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="What people read in the history.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be kept, and store nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take a configuration file verbatim. What this server does not know is kept inactive and listed."""
    from mona_server.config import ConfigError, parse, revisions

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} cannot be read: {error}") from None
    saved = None
    if context_class is None:
        parsed = parse(text, user_id=tenant, lenient=True)
    else:
        parsed = revisions.parse_for_class(text, context_class, user_id=tenant, lenient=True)
    if not parsed.errors and not dry_run:
        with open_store(data) as store:
            try:
                saved = revisions.save(
                    store.meta,
                    tenant,
                    text,
                    author="mona import-config",
                    commit_message=message or f"Import {file.name}",
                    now_ms=now_ms(),
                    context_class=context_class,
                    lenient=True,
                )
            except ConfigError as error:  # pragma: no cover - the same text was read a moment ago
                raise BadRequest(error.message) from None
    inactive = [
        *(
            f"{name}.fields.{one.name}"
            for name, c in parsed.classes.items()
            for one in c.fields.values()
            if not one.active
        ),
        *(f"{name}: verse {one.type}" for name, c in parsed.classes.items() for one in c.inactive_verses),
    ]
    answer: dict[str, Any] = {
        "config_id": saved.revision.id if saved else None,
        "classes": list(parsed.classes),
        "inactive": inactive,
        "issues": [issue.to_json() for issue in parsed.issues],
    }
    if as_json:
        print(json.dumps(answer))
    else:
        for issue in parsed.issues:
            place = f"{file}:{issue.line}:{issue.column}" if issue.line else str(file)
            print(f"{place}: {issue.severity}: {issue.path}: {issue.message}", file=sys.stderr)
        for name in inactive:
            print(f"inactive: {name}")
        if saved:
            print(f"{', '.join(parsed.classes) or 'no class'} configured, revision {saved.revision.id}")
    if parsed.errors:
        raise typer.Exit(2)
