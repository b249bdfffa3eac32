"""Messages are seen by queries within 5 seconds of their acknowledgement (ingest.md 6): by design, not by luck."""

from __future__ import annotations

import time
from collections.abc import Callable

from mona_server.ingest import fold_process
from mona_server.settings import Ingest
from mona_server.store import Store
from tests.support import RunningServer, eventually
from tests.system.test_main_job import CLASS, CONFIG, client_for, contexts, send

PROMISE_S = 5.0
GENEROUS_S = 60.0
"""What a busy machine is given for what takes half a second (benchmarks/visible.py)."""
ROWS = [
    {"id": f"c{i}", "timestamp": 1611930299, "offered_amount": i, "purpose": "x", "stage": "inference"}
    for i in range(50)
]


def test_the_fold_looks_for_messages_often_enough() -> None:
    """What the fold may wait for before it looks, and after an error, leaves most of the 5 s for the work itself."""
    assert Ingest().fold_idle_s + fold_process._RETRY_S <= PROMISE_S / 2


def test_rows_are_seen_before_they_are_written_to_files(start_server: Callable[..., RunningServer]) -> None:
    """With default settings; the files follow a minute later, and here not at all."""
    server = start_server(MONA_SERVER_INGEST_FLUSH_INTERVAL_S="86400")
    client = client_for(server, server.token())
    assert client.upload_config(CONFIG, "visible")["success"]
    send(client, ROWS)
    acknowledged = time.monotonic()
    eventually(lambda: contexts(client, {}) == len(ROWS), why="the rows were not seen")
    assert time.monotonic() - acknowledged < GENEROUS_S
    send(client, [{"id": row["id"], "timestamp": row["timestamp"], "loan_paid_back": True} for row in ROWS])
    eventually(lambda: contexts(client, {"loan_paid_back": [{"value": True}]}) == len(ROWS), why="labels were not seen")
    with Store.open(server.data) as store:
        snapshot = store.snapshot("default", CLASS)
        assert not snapshot.files
        folded, arrived = (
            store.state.connection.execute("SELECT min(at_ms) FROM revisions").fetchone()[0],
            int(snapshot.pending["MONA_ARRIVAL_TIMESTAMP"].min()),
        )
    # What the server itself wrote down: when the messages arrived, and when the fold took them.
    assert 0 <= folded - arrived < GENEROUS_S * 1000
