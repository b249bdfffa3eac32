"""What Prometheus reads: bounded labels, one tenant's classes, its own token."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import NOW_MS, Api


def read(api: Api, tenant: str = "default") -> dict[tuple[str, ...], float]:
    text = api.get("/metrics", token=api.token(tenant=tenant)).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics(api: Api) -> None:
    """Contexts, lag, storage and requests are counted; a path with an id counts by its family."""
    api.send("LOAN", [{"id": f"c{i}", "at": NOW_MS // 1000, "amount": i} for i in range(3)])
    api.post("/export", b"{")
    for i in range(20):
        api.get(f"/api/v1/jobs/{i}")
    told = read(api)
    assert told["mona_contexts", "LOAN"] == 3
    assert told["mona_ingest_lag_seconds",] == 0
    assert told["mona_http_requests_total", "200", "/export"] == 1
    assert told["mona_http_requests_total", "400", "/export"] == 1
    assert told["mona_http_requests_total", "404", "v1"] == 20
    assert told["mona_storage_bytes", "bytes_inbox"] > 0
    api.post("/export", {"messages": [{"arcClass": "LOAN", "message": {"amount": 1}}]})
    api.clock.now_ms += 5_000
    assert read(api)["mona_ingest_lag_seconds",] == 5


def test_metrics_are_of_one_tenant_and_need_a_right(api: Api) -> None:
    """Another tenant sees no class of this one; a token without the right is refused."""
    api.send("LOAN", [{"id": "a", "at": NOW_MS // 1000, "amount": 1}])
    assert ("mona_contexts", "LOAN") not in read(api, "acme")
    assert api.get("/metrics", token=api.token("Exporter")).status_code == 403
    assert api.get("/metrics", token={}).status_code == 401
