"""The command line: ``mona …``.

Errors of our own end with one line on standard error, with code 2 for bad input and 1 for all else; a traceback is a
defect. Rooms are imported when a command needs them, so that ``mona --help`` is quick.
"""

from __future__ import annotations

import os
import sys

from mona_server.errors import BadRequest, MonaError

__all__ = ["main"]


def main() -> None:
    """Entry point of the program ``mona``."""
    # Before numpy is loaded, here or in a part: OpenBLAS is asked for small products between which other work is done; there
    # threads that wait for the next one take processor time from whoever has work (half of a deep search's, measured).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from mona_server.cli.commands import app

    try:
        app()
    except MonaError as error:
        print(f"mona: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadRequest) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
