"""Every command of ``mona``: arguments in, one call into a room, an answer out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mona_server import __version__
from mona_server import settings as settings_module
from mona_server.cli import up as up_module

app = typer.Typer(
    name="mona",
    help="Mona: monitoring that searches all segments. Start with `mona demo` or `mona up`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

DataDir = Annotated[Path, typer.Option("--data", help="The data directory; made when absent.", metavar="DIR")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
DEFAULT_DATA = Path("mona-data")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@app.command()
def up(
    data: DataDir = DEFAULT_DATA,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on. Default 8420.")] = None,
    only: Annotated[
        str | None, typer.Option(help=f"Some parts only, separated by commas: {', '.join(up_module.PARTS)}.")
    ] = None,
) -> None:
    """Start the server and keep it running until Ctrl-C."""
    settings = settings_module.load(data, server={"host": host, "port": port})
    up_module.serve(settings, tuple(only.split(",")) if only else tuple(up_module.PARTS))
