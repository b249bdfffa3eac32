"""The acceptance of the specification on real data: in any order, in any batching, each batch sent twice."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mona_server.store import Accepted, Key
from mona_server.store.relation import facts_query
from tests.ingest.lab import Lab
from tests.support import read_gzip_lists

CLASS = "LOAN_APPLICATION_TUTORIAL"


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_tutorial_counts(
    lab: Lab,
    reference: Path,
    inference_rows: list[dict[str, Any]],
    feedback_rows: list[dict[str, Any]],
    seed: int,
) -> None:
    """39,032 contexts, 26,281 of them with ``loan_paid_back``, whatever the order and the batches; 48,824 with training."""
    random = Random(seed)
    lab.builders.configure({CLASS: {"loan_paid_back": "boolean", "offered_sum": "numeric", "city": "string"}})
    send(lab, [*inference_rows, *feedback_rows], random)
    assert counts(lab) == (39_032, 26_281, 39_032)
    training = read_gzip_lists(reference / "data/mona-tutorial/training")
    send(lab, training, random)
    assert counts(lab)[0] == 48_824


def send(lab: Lab, given: list[dict[str, Any]], random: Random) -> None:
    """In any order, in any batching, each batch twice under one key."""
    rows = list(given)
    random.shuffle(rows)
    futures = []
    start = 0
    while start < len(rows):
        size = random.choice([1, 7, 100, 1000, 5000])
        messages = [
            {"arcClass": CLASS, "contextId": row["id"], "exportTimestamp": row["timestamp"], "message": row}
            for row in rows[start : start + size]
        ]
        body = json.dumps({"userId": "T", "messages": messages}).encode()
        accepted = Accepted(
            "T", body, lab.later(), len(messages), key=Key.of("T", "export", f"k{random.random()}", body)
        )
        futures += [lab.store.inbox.submit(accepted), lab.store.inbox.submit(accepted)]
        start += size
    assert sum(future.result().number is None for future in futures) == len(futures) // 2


def counts(lab: Lab) -> tuple[int, int, int]:
    """Contexts, contexts with a label, and distinct ids, after a fold and a flush."""
    lab.fold()
    lab.flush()
    snapshot = lab.store.snapshot("T", CLASS)
    facts = facts_query(lab.duck, snapshot, ("MONA_ID", "MONA_SIGN", "loan_paid_back"))
    (row,) = lab.duck.execute(
        f"SELECT sum(MONA_SIGN), sum(MONA_SIGN) FILTER (WHERE loan_paid_back IS NOT NULL), count(DISTINCT MONA_ID)"
        f" FROM ({facts})"
    ).fetchall()
    return row[0], row[1], row[2]
