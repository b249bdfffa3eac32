"""What the commands share: their common options, the store, the clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mona_server import settings as settings_module
from mona_server.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from mona_server.store import Store

DataDir = Annotated[Path, typer.Option("--data", help="The data directory.", metavar="DIR")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Tenant = Annotated[str, typer.Option("--tenant", help="The tenant (user id).")]
DEFAULT_DATA = Path("mona-data")


def now_ms() -> int:
    """The clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


def open_store(data: Path, *, must_exist: bool = False) -> Store:
    """The store of a data directory; a running server does not mind. Raises :class:`NotFound` for a wrong place."""
    from mona_server.store import Store

    if must_exist and not (data / "meta.db").exists():
        raise NotFound(f"{data} is no data directory of Mona", hint="--data names it; `mona up` makes one")
    return Store.open(data, settings_module.load(data))


def parse_time(text: str) -> int:
    """Unix seconds of a time on the command line: ``2021-04-29``, ISO text, Unix seconds, or ``now``.

    >>> parse_time("2021-04-29T00:00Z"), parse_time("2021-04-29"), parse_time("1619654400")
    (1619654400, 1619654400, 1619654400)
    """
    if text == "now":
        return now_ms() // 1000
    if text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{text!r} is not a time", hint="for example 2021-04-29T00:00Z, 2021-04-29 or now") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def progress_bar(console: Console) -> Progress:
    """A bar for work that takes a while; silent where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
