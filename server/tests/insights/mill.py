"""A real store in a temporary folder: configure it, send rows, fold them, run verses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mona_server.config import ContextClass, frozen, revisions
from mona_server.ingest.builders import ConfiguredBuilders
from mona_server.ingest.fold import Folder
from mona_server.insights.runs import Desk, RunOutcome, run_at
from mona_server.settings import Settings
from mona_server.store.inbox import Accepted
from mona_server.store.store import Store

DAY = 86_400
TENANT = "acme"


class Mill:
    """Messages in, insights out."""

    def __init__(self, data_dir: Path, name: str = "LOAN", **settings: Any) -> None:
        self.settings = Settings(data_dir=data_dir, **settings)
        self.store = Store.open(data_dir, self.settings)
        self.desk = Desk.of(self.store, self.settings)
        self.folder = Folder(self.store, ConfiguredBuilders(self.store.meta))
        self.name = name
        self.now_ms = 1_800_000_000_000

    def close(self) -> None:
        self.store.close()

    def configure(self, given: dict[str, Any]) -> str:
        """Save the object of the class; returns the id of the revision."""
        self.now_ms += 1000
        saved = revisions.save(
            self.store.meta, TENANT, {self.name: given}, author="me", commit_message="", now_ms=self.now_ms
        )
        return saved.revision.id

    @property
    def context_class(self) -> ContextClass:
        active = revisions.active(self.store.meta, TENANT)
        assert active is not None
        return frozen.classes(self.store.meta, active)[self.name]

    def send(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rows with ``id``, ``timestamp`` (ms) and values, as messages; folded when this returns."""
        messages = [
            {
                "arcClass": self.name,
                "contextId": str(row["id"]),
                "exportTimestamp": row["timestamp"],
                "message": {key: value for key, value in row.items() if key not in ("id", "timestamp")},
            }
            for row in rows
        ]
        for i in range(0, len(messages), 5_000):
            part = messages[i : i + 5_000]
            body = json.dumps({"userId": TENANT, "messages": part}).encode()
            self.store.inbox.append([Accepted(TENANT, body, self.now_ms, len(part))])
        while self.folder.step(self.now_ms):
            pass

    def run(self, verse_name: str, at_s: int, reason: str = "demand", **options: Any) -> RunOutcome:
        """Run a verse of the class at T."""
        verse = self.context_class.verse(verse_name)
        assert verse is not None
        at = datetime.fromtimestamp(at_s, UTC)
        return run_at(self.desk, TENANT, self.context_class, verse, at, reason, **({"now": at} | options))
