"""The main job, end to end: the SDK sends, the server merges, builds, searches, and the insight comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import urllib3

from mona_sdk import Client, MonaSingleMessage
from tests.support import PUBLISHED_VERSE, RunningServer, eventually

CLASS = "LOAN_APPLICATION_TUTORIAL"
AT = 1619654400
"""2021-04-29T00:00Z, the window end of the published insight."""
CONFIG = {
    CLASS: {
        "fields": {
            "offered_amount": {"type": "numeric"},
            "purpose": {"type": "string"},
            "stage": {"type": "string"},
            "loan_paid_back": {"type": "boolean"},
        },
        "stanzas": {"loan": {"verses": [PUBLISHED_VERSE]}},
    }
}


def client_for(server: RunningServer, token: dict[str, str]) -> Client:
    return Client(token["client_id"], token["secret"], server_url=server.url, raise_service_exceptions=True)


def send(client: Client, rows: list[dict[str, Any]]) -> None:
    for i in range(0, len(rows), 2000):
        result = client.export_batch(
            MonaSingleMessage(message=row, contextClass=CLASS, contextId=row["id"], exportTimestamp=row["timestamp"])
            for row in rows[i : i + 2000]
        )
        assert result["failed"] == 0, result["failure_reasons"]


def contexts(client: Client, segment: dict[str, Any]) -> int:
    answer = client.get_aggregated_data_of_a_specific_segment(
        CLASS,
        1600000000,
        1640000000,
        metrics=[{"field": "offered_amount", "types": ["count"]}],
        requested_segments=[segment],
    )
    assert answer["success"], answer
    return int(answer["data"]["aggregated_data"]["segments"][0]["size"])


def test_the_published_insight_comes_out_over_http(
    start_server: Callable[..., RunningServer],
    inference_rows: list[dict[str, Any]],
    feedback_rows: list[dict[str, Any]],
) -> None:
    """The tutorial's data and verse, sent and asked through the SDK, give the published signal to the last digit.

    Labels arrive later under the same ids, and do not become new contexts.
    """
    server = start_server()
    token = server.token()
    client = client_for(server, token)
    assert client.is_active()
    assert client.upload_config(CONFIG, "the oracle")["success"]
    send(client, inference_rows)
    send(client, feedback_rows)
    eventually(lambda: contexts(client, {}) == 39032, why="not every context became visible")
    eventually(lambda: contexts(client, {"loan_paid_back": [{"value": True}, {"value": False}]}) == 26281)

    run_now(server, token, AT)
    answer = client.get_insights(CLASS, 1, time_range_seconds=[AT - 1, AT + 1])
    assert answer["success"], answer
    (insight,) = [
        found for found in answer["data"]
        if found["main_signal"]["segment"] == {"purpose": [{"value": "Vacation costs"}]}
    ]  # fmt: skip
    signal = insight["main_signal"]
    published = {
        "value": 7763.624505928854,
        "benchmark": 8803.671052631578,
        "std": 8471.481976080446,
        "anomaly_level": 0.12277031924748652,
        "segment_ratio": 0.03511660394054663,
        "score": 3.602425108045929,
    }
    for key, value in published.items():
        assert signal[key] == pytest.approx(value, rel=1e-14, abs=0), key
    assert (signal["segment_size"], signal["is_desc"], signal["verse_name"]) == (861.0, True, "loan__AverageDrift")
    assert signal["signal_type"] == "KapiAverageDriftInSegment"
    assert insight["score"] == signal["score"]


def run_now(server: RunningServer, token: dict[str, str], at: int) -> None:
    """Ask for a run at a time and wait until it is done."""
    http = urllib3.PoolManager()
    credentials = {"clientId": token["client_id"], "secret": token["secret"]}
    bearer = http.request("POST", f"{server.url}/identity/resources/auth/v1/api-token", json=credentials).json()
    headers = {"Authorization": f"Bearer {bearer['accessToken']}", "X-Mona-Protocol": "2"}
    ask = {"context_class": CLASS, "timestamp": at}
    answer = http.request("POST", f"{server.url}/api/v1/runs", json=ask, headers=headers)
    assert answer.status == 202, answer.data
    job = f"{server.url}/api/v1/jobs/{answer.json()['job_id']}"

    def done() -> bool:
        state = http.request("GET", job, headers=headers).json()
        assert state["state"] != "failed", state
        return bool(state["state"] == "done")

    eventually(done, why="the run did not finish")
