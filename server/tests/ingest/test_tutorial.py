"""The acceptance of the specification on real data: in any order, in any batching, each batch sent twice."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from mona_server.store import Accepted, Key
from tests.ingest.lab import Lab

CLASS = "LOAN_APPLICATION_TUTORIAL"


@pytest.mark.parametrize("seed", [1, 2])
def test_tutorial_counts(
    lab: Lab, inference_rows: list[dict[str, Any]], feedback_rows: list[dict[str, Any]], seed: int
) -> None:
    """39,032 contexts, 26,281 of them with ``loan_paid_back``, whatever the order and the batches."""
    random = Random(seed)
    lab.builders.configure({CLASS: {"loan_paid_back": "boolean", "offered_sum": "numeric", "city": "string"}})
    rows = [*inference_rows, *feedback_rows]
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
        accepted = Accepted("T", body, lab.later(), len(messages), key=Key.of("T", "export", f"k{start}", body))
        futures += [lab.store.inbox.submit(accepted), lab.store.inbox.submit(accepted)]
        start += size
    assert sum(future.result().number is None for future in futures) == len(futures) // 2
    lab.fold()
    lab.flush()
    facts = lab.facts(context_class=CLASS)
    assert len(facts) == 39_032
    assert sum("loan_paid_back" in fact for fact in facts.values()) == 26_281
