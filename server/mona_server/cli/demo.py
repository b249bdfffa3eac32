"""``mona demo``: see something at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mona_server.cli.common import Json


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End when the insights are there, instead of serving.")] = False,
    as_json: Json = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="An empty directory to keep; a temporary one if absent.", metavar="DIR"),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on. Default 8420, or a free one.")
    ] = None,
) -> None:
    """Real flights through the real client, the search, and pages to look at."""
    from mona_server.cli import demo_run

    demo_run.run(data=data, port=port, leave=leave, as_json=as_json)
