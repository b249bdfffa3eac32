"""Results and exceptions of sending, settings, addresses, counters (Q13, Q31 to Q37, Q44)."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable

import pytest

from mona_sdk import Client, MonaSingleMessage
from mona_sdk.client_exceptions import MonaExportException
from mona_sdk.delivery import http
from mona_sdk.tests.conftest import a_message
from mona_sdk.tests.servers import Answer, RecordingServer, accept_all, always

PARTIAL = always(400, {"total": 2, "failed": 1, "sent": 1, "failure_reasons": {"1": "contextId must be a string"}})
WAYS = ["argument", "MONA_SDK_RAISE_EXPORT_EXCEPTIONS", "RAISE_EXPORT_EXCEPTIONS"]


@pytest.fixture(params=WAYS)
def raising(
    request: pytest.FixtureRequest, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Client]:
    """Makes clients that raise export exceptions, told so in each of the three ways."""
    if request.param == "argument":
        return lambda **arguments: make_client(raise_export_exceptions=True, **arguments)
    monkeypatch.setenv(request.param, "TRUE")
    return make_client


def test_a_good_batch(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """A plain, true dict; nothing to send is total 0 without a request."""
    client = make_client()
    result = client.export_batch(a_message(n) for n in range(3))
    assert result == {"total": 3, "failed": 0, "sent": 3, "failure_reasons": {}}
    assert type(result) is dict
    assert client.send_events_batch([a_message()]) == {"total": 1, "failed": 0, "sent": 1, "failure_reasons": {}}
    assert client.send_event(a_message()) is True
    count = len(server.sends)
    assert client.export_batch([]) == {"total": 0, "failed": 0, "sent": 0, "failure_reasons": {}}
    assert len(server.sends) == count


def test_the_servers_refusals(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Reasons stand under their place, found by number and by text; the dict is true, as in the original."""
    server.routes["/export"] = PARTIAL
    client = make_client()
    result: Any = client.export_batch([a_message(1), a_message(2)])
    assert result == {"total": 2, "failed": 1, "sent": 1, "failure_reasons": {"1": "contextId must be a string"}}
    reasons: Any = result["failure_reasons"]
    assert reasons[1] == reasons["1"] == reasons.get(1)
    assert 1 in reasons
    assert 0 not in reasons
    server.routes["/export"] = always(400, {"total": 1, "failed": 1, "sent": 0, "failure_reasons": {"0": "bad"}})
    assert client.export(a_message()) is False


def test_places_count_in_the_callers_list(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """What was skipped or refused here does not shift the server's places."""
    server.routes["/export"] = PARTIAL
    events: Any = [None, a_message(1), a_message(2, a=None), a_message(3)]
    result = make_client(filter_none_fields_on_export=True).export_batch(events)
    assert result["failure_reasons"] == {
        "0": "Messages exported to Mona must be MonaSingleMessage.",
        "3": "contextId must be a string",
    }
    assert (result["total"], result["failed"], result["sent"], result["skipped"]) == (3, 2, 1, 1)


def test_the_servers_count_is_taken_without_reasons(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """`{"failed": n, "failure_reasons": {}}` of a refusing answer is believed."""
    server.routes["/export"] = always(400, {"failed": 2, "failure_reasons": {}})
    result = make_client().export_batch([a_message(n) for n in range(3)])
    assert (result["total"], result["failed"], result["sent"]) == (3, 2, 1)
    server.routes["/export"] = always(400, {"failed": 0})
    assert make_client().export(a_message()) is True


def test_bad_input_is_a_false_dict(make_client: Callable[..., Client]) -> None:
    """Both `if not result` and `result["failed"]` work after it."""
    client = make_client()
    bad: Any
    for bad in (5, None, "text", b"bytes", [5], [a_message(x=object())]):
        result: Any = client.export_batch(bad)
        assert not result
        assert (result["total"], result["failed"], result["sent"]) == (1, 1, 0)
        assert result["failure_reasons"]
    assert client.export(5) is False  # type: ignore[arg-type]


def test_no_connection_is_a_false_dict(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """All failed, with the reason under each place."""
    client = make_client(max_retries=0)
    server.close()
    result: Any = client.export_batch([a_message(1), a_message(2)])
    assert not result
    assert (result["total"], result["failed"]) == (2, 2)
    assert set(result["failure_reasons"]) == {"0", "1"}
    assert result["failure_reasons"]["0"].startswith("Failed to send the batch to Mona's servers")
    assert client.export(a_message()) is False


def test_exceptions_only_with_the_flag(server: RecordingServer, raising: Callable[..., Client]) -> None:
    """Every exact text, whichever way the flag is set."""
    client = raising(max_retries=0)
    bad: Any
    for bad, text in (
        (5, "export_batch must get an iterable of MonaSingleMessage."),
        ([5], "Messages exported to Mona must be MonaSingleMessage."),
        (
            [a_message(a={"b": object()})],
            "All fields in MonaSingleMessage must be JSON serializable. message.a.b: object has no JSON form",
        ),
    ):
        with pytest.raises(MonaExportException) as caught:
            client.export_batch(bad)
        assert str(caught.value) == text
    with pytest.raises(MonaExportException, match=r"^Messages (exported to Mona|to export) must be"):
        client.export(5)  # type: ignore[arg-type]
    server.routes["/export"] = PARTIAL
    with pytest.raises(MonaExportException) as caught:
        client.export_batch([a_message(1), a_message(2)])
    assert str(caught.value) == (
        "Some messages didn't pass validation: "
        "{'total': 2, 'failed': 1, 'sent': 1, 'failure_reasons': {'1': 'contextId must be a string'}}"
    )
    server.routes["/export"] = always(400, {"failed": 1, "failure_reasons": {"0": "bad"}})
    with pytest.raises(MonaExportException, match=r"^Some messages didn't pass validation: "):
        client.export(a_message())
    server.routes["/export"] = always(500, b"oops")
    with pytest.raises(MonaExportException, match=r"^Some messages didn't pass validation: .*HTTP 500"):
        client.export(a_message())
    server.close()
    with pytest.raises(MonaExportException, match=r"^Cannot connect to rest-api$"):
        client.export(a_message())


def test_without_the_flag_failures_are_logged(
    server: RecordingServer, make_client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """By reason, without content, and not more than once a minute."""
    server.routes["/export"] = always(400, {"failed": 1, "failure_reasons": {"0": "bad id"}})
    client = make_client()
    with caplog.at_level(logging.DEBUG, "mona-logger"):
        for _ in range(3):
            client.export(a_message(secret_value="hidden"))
    assert caplog.text.count("bad id") == 1
    assert "hidden" not in caplog.text
    with caplog.at_level(logging.DEBUG, "mona-logger"):
        make_client(should_log_failed_messages=True).export(a_message(secret_value="shown"))
    assert "shown" in caplog.text


def test_on_error_gets_reason_and_messages(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """And whatever it raises stays away from the caller."""
    told: list[tuple[str, list[Any]]] = []

    def hook(reason: str, messages: list[Any]) -> None:
        told.append((reason, messages))
        raise RuntimeError("in the hook")

    server.routes["/export"] = PARTIAL
    client = make_client(on_error=hook)
    assert client.export_batch([a_message(1), a_message(2), 5])["failed"] == 2  # type: ignore[list-item]
    assert sorted(reason for reason, _ in told) == [
        "Messages exported to Mona must be MonaSingleMessage.",
        "contextId must be a string",
    ]
    messages = dict(told)["contextId must be a string"]
    assert messages == [
        {"contextClass": "LOAN", "contextId": "id-2", "exportTimestamp": 1700000000, "message": {"amount": 2}}
    ]


def test_default_action_and_sampling_name(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """They stand in the body; a message's own action beside it."""
    client = make_client()
    event = MonaSingleMessage(message={"a": 1}, contextClass="C", contextId="i", action="NEW", sampleConfigName="x")
    client.export_batch([event, a_message()], default_action="ADD")
    assert server.sends[0].json["defaultAction"] == "ADD"
    assert [message.get("action") for message in server.messages] == ["NEW", None]
    assert server.messages[0]["sampleConfigName"] == "x"


def test_context_ids_of_any_kind_are_left_to_the_server(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """A number or a text beyond ASCII raises nothing, sampling on or off."""
    for client in (make_client(), make_client(default_sampling_rate=0.999999)):
        for identity in (5, "ключ-1", "a\ud800"):
            event = MonaSingleMessage(message={"a": 1}, contextClass="C", contextId=identity)  # type: ignore[arg-type]
            assert client.export(event) is True
    assert [message["contextId"] for message in server.messages][:2] == [5, "ключ-1"]


def test_counters_are_exact_under_threads(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """8 threads, good and refused messages: every one is counted once, and everything arrives."""
    server.keep_requests = False
    stored: set[str] = set()

    def judge(request: Any) -> Answer:
        stored.update(message["contextId"] for message in request.json["messages"])
        return accept_all(request)

    server.routes["/export"] = judge
    client = make_client()

    def work(thread: int) -> None:
        for number in range(250):
            assert client.export(a_message(thread * 1000 + number)) is True
            if number % 10 == 0:
                assert client.export(a_message(bad=object())) is False

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = client.stats()
    assert (stats["sent"], stats["failed"], stats["requests"]) == (2000, 200, 2000)
    assert len(stored) == 2000
    assert stats["connections"] <= 8
    assert stats["bytes_sent"] > 2000 * 100
    assert stats["last_success"] is not None
    assert "JSON serializable" in str(stats["last_error"])


def test_stats_has_all_keys(make_client: Callable[..., Client]) -> None:
    """As documented, the guard for unsent data among them."""
    assert set(make_client().stats()) == {
        "queued",
        "sent",
        "failed",
        "dropped",
        "retried",
        "spooled",
        "spool_bytes",
        "skipped",
        "coerced",
        "truncated",
        "requests",
        "bytes_sent",
        "connections",
        "last_error",
        "last_success",
        "lost",
        "bytes_on_disk",
        "oldest_queued_age",
    }


def test_synchronous_mode_is_the_default_and_has_no_thread(make_client: Callable[..., Client]) -> None:
    """As serverless platforms need it: nothing runs between calls, and `flush` has nothing to do."""
    client = make_client()
    client.export_batch([a_message(n) for n in range(10)])
    assert client.flush() is True
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("mona-")] == []


def test_a_closed_client_sends_nothing(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Everything is refused with a reason; `close` may be called again."""
    with make_client() as client:
        assert client.export(a_message())
    assert client.close() is True
    assert client.is_active() is False
    assert client.flush() is False
    result = client.export_batch([a_message()])
    assert result["failure_reasons"] == {"0": "the client is closed"}
    assert client.get_config()["error_message"] == "the client is closed"
    assert len(server.sends) == 1


def test_large_batches_are_split(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """No body is above `max_request_bytes`, and the reasons keep their places."""
    client = make_client(max_request_bytes=4096)
    result = client.export_batch([a_message(n, text="x" * 200) for n in range(100)])
    assert result["sent"] == 100
    assert len(server.sends) > 5
    assert max(len(request.body) for request in server.sends) <= 4096
    server.routes["/export"] = lambda request: Answer(
        400, {"failed": 1, "failure_reasons": {"0": request.json["messages"][0]["contextId"]}}
    )
    reasons = client.export_batch([a_message(n, text="x" * 200) for n in range(100)])["failure_reasons"]
    assert len(reasons) > 5
    assert all(reason == f"id-{place}" for place, reason in reasons.items())


def test_connections_are_kept(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Many calls, two connections at most; a thread of its own has one of its own."""
    client = make_client()
    for number in range(300):
        assert client.export(a_message(number))
    assert server.connections <= 2
    assert client.stats()["connections"] <= 1


def test_idle_connections_are_dropped(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 30 seconds without a call the next one opens a fresh connection."""
    client = make_client()
    assert client.export(a_message())
    before = server.connections
    monkeypatch.setattr(http.this_thread, "last_call", http.this_thread.last_call - 31)
    assert client.export(a_message())
    assert server.connections == before + 1
