"""``GET /metrics``: what Prometheus reads. Label values are bounded: never one series per segment value.

Prometheus signs in by itself: ``oauth2`` with ``/oauth/token`` and an API token of an Admin.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.responses import Response

from mona_server.api.answers import SENDING_PATHS, SERVICE_PATHS, family
from mona_server.api.edge import Edge, edge_of
from mona_server.api.shapes import UserManager
from mona_server.insights import listing
from mona_server.store import doctor

router = APIRouter(include_in_schema=False)
MAX_CLASSES = 500
"""Classes beyond so many are left out and counted, so that no scrape is endless."""
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class HttpMetrics:
    """Requests by route and status, and how long they took."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        names = ("route", "code")
        self._requests = Counter("mona_http_requests", "Requests answered.", names, registry=self.registry)
        self._seconds = Histogram(
            "mona_http_request_seconds",
            "Time to the end of the answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one request. Paths with ids count by their family."""
        route = path if path in SENDING_PATHS or path in SERVICE_PATHS else family(method, path)
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class StoreMetrics(Collector):
    """What one tenant's store holds at this moment; storage and queues are those of the server."""

    def __init__(self, edge: Edge, tenant: str) -> None:
        self._edge = edge
        self._tenant = tenant

    def collect(self) -> Iterator[Metric]:
        edge, now_ms = self._edge, self._edge.clock()
        classes = edge.store.classes(self._tenant)
        dropped = GaugeMetricFamily("mona_metrics_dropped", "Classes that are left out here.")
        dropped.add_metric((), max(len(classes) - MAX_CLASSES, 0))
        yield dropped
        contexts = GaugeMetricFamily("mona_contexts", "Contexts now.", labels=("class",))
        for info in classes[:MAX_CLASSES]:
            contexts.add_metric((info.name,), info.contexts)
        yield contexts
        opened = GaugeMetricFamily("mona_insights_open", "Open insights.", labels=("class", "urgency"))
        for name, one in sorted(listing.open_counts(edge.store, self._tenant).items())[:MAX_CLASSES]:
            opened.add_metric((name, "high"), one["urgent"])
            opened.add_metric((name, "normal"), one["open"] - one["urgent"])
        yield opened
        backlog = edge.store.inbox.backlog()
        lag = GaugeMetricFamily("mona_ingest_lag_seconds", "Age of the oldest message that waits for the fold.")
        oldest = backlog.oldest_arrival_ms
        lag.add_metric((), 0 if oldest is None else max(now_ms - oldest, 0) / 1000)
        yield lag
        for unit, name in (("bytes", "mona_storage_bytes"), ("rows", "mona_queue_depth"), ("jobs", "mona_jobs")):
            gauge = GaugeMetricFamily(name, f"Readings of the doctor in {unit}.", labels=("purpose",))
            for reading in doctor.examine(edge.store, edge.settings, now_ms, tenant=self._tenant):
                if reading.unit == unit:
                    gauge.add_metric((reading.id,), reading.value)
            yield gauge


@router.get("/metrics")
def metrics(request: Request, caller: UserManager) -> Response:
    """All metrics in the format that the scraper asks for."""
    edge = edge_of(request)
    registry = CollectorRegistry()
    registry.register(StoreMetrics(edge, caller.tenant))
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    http: HttpMetrics = request.app.state.http_metrics
    both = _Both([*registry.collect(), *http.registry.collect()])
    return Response(encode(both), media_type=media_type)


class _Both(CollectorRegistry):
    """Metrics that were collected already."""

    def __init__(self, collected: list[Metric]) -> None:
        super().__init__(auto_describe=False)
        self._collected = collected

    def collect(self) -> Iterator[Metric]:
        return iter(self._collected)
