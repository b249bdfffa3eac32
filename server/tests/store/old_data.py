"""Makes the data directory that ``test_old_data.py`` opens: run it with the release whose format is to be kept.

    python -m tests.store.old_data data/release-1.zip      # in server/, with that release installed

Everything that has a format is in it: rows that wait, documents, pending rows, files, idempotency keys, a job.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from mona_server.store import jobs
from tests.ingest.lab import Lab, numbered

FIELDS: dict[str, Any] = {"LOAN": {"a": "numeric", "s": "string", "label": "boolean", "t": "timestamp"}}


def fill(lab: Lab) -> None:
    """The same in every release."""
    lab.builders.configure(FIELDS)
    lab.send(list(numbered(20, s="x", t="2023-01-01")))
    lab.send([{"contextId": "lists", "message": {"s": ["x", "y"]}}], key="first key")
    lab.fold()
    lab.flush()
    lab.send([{"contextId": f"c{i}", "message": {"label": True}} for i in range(10)])
    lab.fold()
    lab.send([{"contextId": "waiting", "message": {"a": 1}}])
    jobs.create(lab.store.meta, "T", "backfill", {"context_class": "LOAN"}, lab.now_ms)


def main(target: str) -> None:
    folder = Path(tempfile.mkdtemp())
    lab = Lab(folder / "data")
    fill(lab)
    lab.close()
    shutil.make_archive(target.removesuffix(".zip"), "zip", folder / "data")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1])
