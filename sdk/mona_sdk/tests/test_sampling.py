"""Sampling: vectors, rates, named configurations (Q26)."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any, Callable

import pytest

from mona_sdk import Client, MonaSingleMessage, sampling
from mona_sdk.sampling import FixedRates, NamedRates, hash_share, keep
from mona_sdk.tests.conftest import a_message, wait_until
from mona_sdk.tests.servers import Answer, RecordingServer, always


@pytest.mark.parametrize(
    ("identity", "share"),
    [("a", 0.3363797), ("id-1", 0.8641962), ("ctx-42", 0.3930269), ("CONTEXT_INSTANCE_UNIQUE_ID", 0.6730933)],
)
def test_vectors(identity: str, share: float) -> None:
    """The hash of the original, so that both keep the same contexts."""
    assert hash_share(identity) == share
    assert keep(identity, share)
    assert not keep(identity, share - 1e-7)


def test_without_an_id_chance_decides() -> None:
    """About the rate of the messages are kept."""
    kept = sum(keep(None, 0.3) for _ in range(5000))
    assert 0.25 < kept / 5000 < 0.35


def test_rates_by_class(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Per class first, else the default; sampled out is True and not counted in the total."""
    client = make_client(default_sampling_rate=0, context_class_to_sampling_rate={"LOAN": 1})
    other = MonaSingleMessage(message={"a": 1}, contextClass="OTHER", contextId="x")
    assert client.export(other) is True
    result = client.export_batch([other, a_message(1), other])
    assert result == {"total": 1, "failed": 0, "sent": 1, "failure_reasons": {}, "skipped": 2}
    assert [message["arcClass"] for message in server.messages] == ["LOAN"]
    assert client.export_batch([other])["total"] == 0
    assert len(server.sends) == 1


def test_named_rates_come_from_the_server(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Fetched at first use, refreshed in the background, kept on failure."""
    configs: list[Any] = [
        {"config_name": "other"},
        {"config_name": "mine", "factors_map": {"LOAN": 0.0}, "default_factor": 1.0},
    ]
    server.routes["/get_sampling_factors"] = lambda _: Answer(200, {"response_data": configs})
    client = make_client(sampling_config_name="mine")
    assert "/get_sampling_factors" not in server.paths()
    assert client.export(a_message()) is True
    assert server.requests[-1].json == {"config_name": "mine"}
    assert client.export(MonaSingleMessage(message={"a": 1}, contextClass="OTHER")) is True
    assert [message["arcClass"] for message in server.messages] == ["OTHER"]
    assert server.sends[0].json["sampleConfigName"] == "mine"
    assert server.paths().count("/get_sampling_factors") == 1

    rates: Any = client._preparer._rates
    configs[1]["factors_map"] = {"LOAN": 1.0}
    rates._next_fetch = 0.0
    assert client.export(a_message()) is True
    wait_until(lambda: rates._rates.rate("LOAN") == 1.0)
    server.routes["/get_sampling_factors"] = always(500, b"")
    rates._next_fetch = 0.0
    client.export(a_message())
    wait_until(lambda: server.paths().count("/get_sampling_factors") == 3)
    wait_until(lambda: rates._next_fetch > time.monotonic())
    assert rates.rate("LOAN") == 1.0


def test_named_rates_under_threads() -> None:
    """150 clients' worth of rates, 16 threads, 300,000 calls: no error, and few fetches."""
    fetches: list[float] = []

    def fetch() -> Any:
        fetches.append(time.monotonic())
        return [{"config_name": "mine", "default_factor": 0.5}]

    all_rates = [NamedRates("mine", fetch, 0.05) for _ in range(150)]
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(125):
                for rates in all_rates:
                    assert rates.rate("LOAN") == 0.5
        except BaseException as problem:
            errors.append(problem)

    threads = [threading.Thread(target=work) for _ in range(16)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert 150 <= len(fetches) <= 150 * (2 + (time.monotonic() - started) / 0.05)


def test_named_sampling_does_not_keep_a_client_alive(
    server: RecordingServer,
) -> None:
    """A client that its program has dropped is collected."""
    server.routes["/get_sampling_factors"] = always(200, {"response_data": [{"config_name": "mine"}]})
    client = Client("key", "secret", server_url=server.url, sampling_config_name="mine")
    client.export(a_message())
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None


def test_a_rate_of_one_hashes_nothing(monkeypatch: pytest.MonkeyPatch, make_client: Callable[..., Client]) -> None:
    """Sampling costs nothing where it is off."""
    monkeypatch.setattr(sampling, "hash_share", lambda _: pytest.fail("hashed"))
    assert make_client().export(a_message())
    assert FixedRates(1.0, {"LOAN": 1.0}).keeps_all
