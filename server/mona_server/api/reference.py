"""Writes ``docs/api.md`` and the role table of ``docs/security.md``: ``python -m mona_server.api.reference [docs]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mona_server import settings
from mona_server.api.app import create_app
from mona_server.api.identity.roles import table_markdown
from mona_server.api.openapi import document, markdown
from mona_server.store import Store

BEGIN, END = "<!-- roles: generated -->", "<!-- end of roles -->"


def api_markdown() -> str:
    """The text of ``docs/api.md``."""
    with tempfile.TemporaryDirectory() as folder:
        given = settings.load(Path(folder), environ={}, auth={"jwt_alg": "HS256"})
        with Store.open(given.data_dir, given) as store:
            return markdown(document(create_app(given, store)))


def with_role_table(text: str) -> str:
    """``docs/security.md`` with the role table of the code between its marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table_markdown()}\n{END}{tail}"


def main(docs: Path) -> None:
    (docs / "api.md").write_text(api_markdown(), encoding="utf-8")
    security = docs / "security.md"
    security.write_text(with_role_table(security.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
