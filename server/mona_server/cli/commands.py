"""Every command of ``mona`` by name. A command is a function in a module of this package and one line here."""

from __future__ import annotations

from typing import Annotated

import typer

from mona_server import __version__
from mona_server import settings as settings_module
from mona_server.cli import care_commands, config_commands, data_commands, identity_commands, search_commands
from mona_server.cli import demo as demo_command
from mona_server.cli import up as up_module
from mona_server.cli.common import DEFAULT_DATA, DataDir

app = typer.Typer(
    name="mona",
    help="Mona: monitoring that searches all segments. Start with `mona demo` or `mona up`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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


app.command()(demo_command.demo)
app.command("import")(data_commands.import_files)
app.command("import-config")(config_commands.import_config)
app.command()(search_commands.detect)
app.command()(search_commands.check)
app.command()(search_commands.recompute)
app.command()(care_commands.doctor)
app.command()(care_commands.verify)
app.command()(care_commands.backup)
app.command()(care_commands.restore)
app.add_typer(identity_commands.token_app, name="token")
app.add_typer(identity_commands.user_app, name="user")
