"""The optional Prometheus collector (Q46)."""

from __future__ import annotations

from typing import Callable

import pytest

from mona_sdk import Client
from mona_sdk.metrics import ClientCollector
from mona_sdk.tests.conftest import a_message

prometheus_client = pytest.importorskip("prometheus_client")


def test_counters_and_gauges_are_exported(make_client: Callable[..., Client]) -> None:
    """What waits, what was sent, and what was lost by reason."""
    client = make_client(background=True, flush_interval=30, max_queue_messages=2)
    client.export_batch([a_message(n) for n in range(3)])
    registry = prometheus_client.CollectorRegistry()
    registry.register(ClientCollector(client, model="loan"))
    text = prometheus_client.generate_latest(registry).decode()
    assert 'mona_sdk_queued{model="loan"} 2.0' in text
    assert 'mona_sdk_lost_total{model="loan",reason="queue_full"} 1.0' in text
    assert 'mona_sdk_sent_total{model="loan"} 0.0' in text
    age = float(text.split('mona_sdk_oldest_queued_age{model="loan"} ')[1].splitlines()[0])
    assert age >= 0
