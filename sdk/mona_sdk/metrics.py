"""The counters of clients as Prometheus metrics; needs `prometheus-client`, which this package does not require.

from prometheus_client import REGISTRY
REGISTRY.register(ClientCollector(client))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mona_sdk.client import Client
from mona_sdk.stats import COUNTERS

GAUGES = {
    "queued": "Messages that wait in memory or are under way",
    "bytes_on_disk": "Bytes that wait in the spool",
    "oldest_queued_age": "Seconds that the oldest queued message has waited",
}


class ClientCollector:
    """Reads `client.stats()` at every scrape. `mona_sdk_oldest_queued_age` growing means that data does not leave."""

    def __init__(self, client: Client, **labels: str) -> None:
        self._client, self._labels = client, labels

    def collect(self) -> Iterator[Any]:
        """The metric families, as a Prometheus registry asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        stats: Any = self._client.stats()
        names, values = list(self._labels), list(self._labels.values())
        for name in COUNTERS:
            counter = CounterMetricFamily(f"mona_sdk_{name}", f"Counter {name} of the client's stats", labels=names)
            counter.add_metric(values, stats[name])
            yield counter
        lost = CounterMetricFamily("mona_sdk_lost", "Messages that will never arrive", labels=[*names, "reason"])
        for reason, count in stats["lost"].items():
            lost.add_metric([*values, reason], count)
        yield lost
        for name, text in GAUGES.items():
            gauge = GaugeMetricFamily(f"mona_sdk_{name}", text, labels=names)
            gauge.add_metric(values, stats[name])
            yield gauge
