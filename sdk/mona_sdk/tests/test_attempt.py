"""The policy of sending: retries, splitting, compression, redirects, reading of answers (Q4, Q5, Q11, Q12, Q24)."""

from __future__ import annotations

import gzip
import json
import random
import time
import zlib
from email.utils import formatdate
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.delivery import attempt, http, policy
from mona_sdk.delivery.attempt import read_answer
from mona_sdk.tests.conftest import a_message, ends_within, wait_until
from mona_sdk.tests.servers import Answer, RecordingServer, Request, accept_all, always


def test_redirects_of_post_are_not_followed(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """301, 302 and 303 are an error with the place in the text, without its query."""
    for status in (301, 302, 303):
        server.routes["/export"] = always(status, b"", {"Location": "http://elsewhere/x?token=hidden"})
        reason = make_client().export_batch([a_message()])["failure_reasons"]["0"]
        assert "http://elsewhere/x" in reason
        assert str(status) in reason
        assert "hidden" not in reason
    assert server.paths().count("/export") == 3


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_on_the_same_host_keep_the_body(
    server: RecordingServer, make_client: Callable[..., Client], status: int
) -> None:
    """Elsewhere they are not followed, and a loop ends."""
    server.routes["/export"] = always(status, b"", {"Location": "/moved"})
    server.routes["/moved"] = accept_all
    client = make_client(max_retries=0)
    assert client.export(a_message())
    assert server.requests[-1].path == "/moved"
    assert server.requests[-1].json["messages"]
    with RecordingServer() as other:
        server.routes["/export"] = always(status, b"", {"Location": f"{other.url}/export"})
        assert client.export(a_message()) is False
        assert other.requests == []
    server.routes["/export"] = always(status, b"", {"Location": "/export"})
    server.requests.clear()
    assert client.export(a_message()) is False
    assert len(server.requests) == http.MAX_REDIRECTS


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_under_the_same_key(
    server: RecordingServer, make_client: Callable[..., Client], status: int
) -> None:
    """Two refusals, then success; one key, counted attempts, one message."""
    answers = iter([always(status, b"<html>"), always(status, {"topLevelError": "later"}), accept_all])
    server.routes["/export"] = lambda request: next(answers)(request)
    client = make_client()
    assert client.export(a_message())
    assert len({request.headers["idempotency-key"] for request in server.sends}) == 1
    assert [request.headers["x-mona-attempt"] for request in server.sends] == ["1", "2", "3"]
    assert client.stats()["retried"] == 2


@pytest.mark.parametrize("status", [400, 403, 404, 405, 422])
def test_what_will_not_pass_is_not_tried_again(
    server: RecordingServer, make_client: Callable[..., Client], status: int
) -> None:
    """One request; the server's text is the reason."""
    server.routes["/export"] = always(status, {"topLevelError": "told"})
    assert "told" in make_client().export_batch([a_message()])["failure_reasons"]["0"]
    assert len(server.sends) == 1


def test_retry_after_is_honoured(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Seconds and dates; longer than the deadline means no retry; also for a key that is still in work (409)."""
    moments: list[float] = []

    def later(request: Request) -> Any:
        moments.append(time.monotonic())
        return Answer(409, {}, {"Retry-After": "1"}) if len(moments) == 1 else accept_all(request)

    server.routes["/export"] = later
    assert make_client(export_deadline=60).export(a_message())
    assert moments[1] - moments[0] >= 1
    server.routes["/export"] = always(429, {}, {"Retry-After": "90"})
    server.requests.clear()
    with ends_within(15):
        assert make_client(export_deadline=60).export(a_message()) is False
    assert len(server.sends) == 1
    now = 1_700_000_000.0
    assert policy.retry_after({"Retry-After": formatdate(now + 5, usegmt=True)}, now) == 5
    assert policy.retry_after({"Retry-After": formatdate(now - 5, usegmt=True)}, now) == 0
    assert policy.retry_after({"Retry-After": "9999999"}, now) == policy.LONGEST_RETRY_AFTER_S
    for odd in ("soon", "", "nan", None, 5):
        assert policy.retry_after({"Retry-After": odd}, now) is None
    assert policy.retry_after(object(), now) is None


def test_the_deadline_limits_the_whole_call(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """However many retries are allowed."""
    server.routes["/export"] = always(503, b"")
    client = make_client(export_deadline=1.0, max_retries=1000)
    with ends_within(10):
        assert client.export(a_message()) is False
    assert client.stats()["retried"] > 0


def test_clients_come_back_spread_over_time() -> None:
    """100 clients after an outage: their next tries spread over 5 seconds and more."""
    chance = random.Random(1).random
    waits = [policy.backoff(6, chance) for _ in range(100)]
    assert max(waits) - min(waits) >= 5
    assert all(0 <= policy.backoff(n) <= 30 for n in range(100))


def test_413_halves_down_to_the_message_that_is_too_large(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """The one that is too large fails alone; halves have keys of their own, derived from the first."""

    def picky(request: Request) -> Any:
        identities = [message["contextId"] for message in request.json["messages"]]
        return Answer(413, {"topLevelError": "too large"}) if "id-5" in identities else accept_all(request)

    server.routes["/export"] = picky
    result = make_client().export_batch([a_message(n) for n in range(8)])
    assert (result["sent"], result["failed"], list(result["failure_reasons"])) == (7, 1, ["5"])
    keys = [request.headers["idempotency-key"] for request in server.sends]
    root = keys[0]
    assert keys[:3] == [root, f"{root}.0", f"{root}.1"]
    assert f"{root}.1.0.1" in keys


def test_compression_starts_when_the_server_has_announced_itself(make_client: Callable[..., Client]) -> None:
    """Nothing is compressed for a stranger; small bodies never; "gzip" and "off" are obeyed."""
    batch = [a_message(n, **{f"feature_{i}": n * i / 7 for i in range(10)}) for n in range(100)]
    with RecordingServer(announce=True) as server:
        client = make_client(server_url=server.url)
        client.export_batch(batch)
        client.export_batch(batch)
        client.export(a_message())
        assert [request.headers.get("content-encoding") for request in server.sends[:3]] in (
            [None, "gzip", None],
            [None, "zstd", None],
        )
        off = make_client(server_url=server.url, compression="off")
        off.export_batch(batch)
        off.export_batch(batch)
        assert "content-encoding" not in server.sends[-1].headers
    with RecordingServer() as stranger:
        client = make_client(server_url=stranger.url)
        for _ in range(2):
            client.export_batch(batch)
        assert all("content-encoding" not in request.headers for request in stranger.sends)
        make_client(server_url=stranger.url, compression="gzip").export_batch(batch)
        assert stranger.sends[-1].headers["content-encoding"] == "gzip"
        assert len(stranger.messages) == 300


def test_an_encoding_that_is_refused_is_not_used_again(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """415 sends the same batch plain, and all later ones."""
    server.routes["/export"] = lambda request: (
        Answer(415, {"topLevelError": "x"}) if "content-encoding" in request.headers else accept_all(request)
    )
    client = make_client(compression="gzip")
    batch = [a_message(n, text="x" * 100) for n in range(30)]
    assert client.export_batch(batch)["sent"] == 30
    assert client.export_batch(batch)["sent"] == 30
    assert ["content-encoding" in request.headers for request in server.sends] == [True, False, False]


@pytest.mark.parametrize(("fields", "ratio"), [(10, 4.5), (40, 3.3)])
def test_compression_ratios(fields: int, ratio: float) -> None:
    """On batches of messages with numbers and short texts."""
    chance = random.Random(0)
    messages = [
        {
            "arcClass": "LOAN",
            "contextId": f"id-{n}",
            "exportTimestamp": 1700000000 + n,
            "message": {
                f"feature_{i}": round(chance.gauss(100, 30), 1) if i % 2 else chance.choice(["red", "green", "blue"])
                for i in range(fields)
            },
        }
        for n in range(500)
    ]
    payload = json.dumps({"messages": messages}, separators=(",", ":")).encode()
    packed = attempt.compress(payload, "gzip")
    assert gzip.decompress(packed) == payload
    assert zlib.decompress(packed, 31) == payload
    assert len(payload) / len(packed) >= ratio


def test_answers_are_read_without_trust() -> None:
    """`.ok` and `.json()` are enough, and whatever else an answer holds is checked."""

    class Odd:
        ok = False

        def __init__(self, body: Any, **more: Any) -> None:
            self._body = body
            self.__dict__.update(more)

        def json(self) -> Any:
            if isinstance(self._body, Exception):
                raise self._body
            return self._body

    assert read_answer(Odd({"failed": 1, "failure_reasons": "text"}), 0).kind == "partial"
    assert read_answer(Odd({"failed": 2, "failure_reasons": {"x": "y", "1": 5}}), 0).reasons == {1: "5"}
    assert read_answer(Odd(ValueError("no JSON")), 0).kind == "refused"
    assert read_answer(Odd([1]), 0).kind == "refused"
    assert read_answer(Odd({}, status_code="503"), 0).kind == "refused"
    assert read_answer(Odd({}, status_code=503, headers={"Retry-After": "2"}), 0).after == 2
    assert read_answer(Odd({}, status_code=409), 0).kind == "refused"


def test_the_shim_takes_what_requests_takes(server: RecordingServer) -> None:
    """Bodies, forms, JSON, and time limits in each form."""
    server.routes["/x"] = lambda request: Answer(200, {"got": request.body.decode()}, {"X-Some": "header"})
    url = f"{server.url}/x"
    assert http.request("POST", url, data=b"raw", timeout=2).json() == {"got": "raw"}
    assert http.request("POST", url, data="text", timeout=(1, 2)).json() == {"got": "text"}
    assert http.request("POST", url, data={"a": "b c"}).json() == {"got": "a=b+c"}
    answer = http.request("POST", url, json={"a": 1})
    assert json.loads(answer.json()["got"]) == {"a": 1}
    assert (answer.ok, answer.status_code, answer.headers["x-some"]) == (True, 200, "header")
    assert "got" in answer.text
    with pytest.raises(http.RequestTimeout):
        http.request("POST", url, timeout=http.Limits(1, 1, time.monotonic() - 1))
    with pytest.raises(http.exceptions.ConnectionError):
        http.request("POST", "http://127.0.0.1:1/")
    wait_until(lambda: len(server.requests) == 4)
