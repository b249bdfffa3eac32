"""``python -m mona_server.cli.part NAME DATA --host H --port P``: one supervised process. Not for people."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mona_server.cli.up import PARTS, serve_part
from mona_server.errors import MonaError


def main() -> int:
    parser = argparse.ArgumentParser(prog="mona part")
    parser.add_argument("name", choices=list(PARTS))
    parser.add_argument("data", type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    try:
        serve_part(given.name, given.data, host=given.host, port=given.port)
    except MonaError as error:
        print(f"mona {given.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
