"""The sending paths: every row of the answer table, tokens, limits, compression, idempotency."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zstandard

from mona_server.errors import Overloaded
from tests.api.conftest import Api

PATHS = ("/export", "/sendEvent", "/monaExport", "/monaSendEvent")


def message(context_class: str = "LOAN", **other: Any) -> dict[str, Any]:
    return {"arcClass": context_class, "contextId": "a", "message": {"amount": 1}} | other


def batch(*messages: Any, **other: Any) -> dict[str, Any]:
    return {"userId": "default", "messages": list(messages)} | other


def stored(api: Api, tenant: str = "default") -> list[bytes]:
    return [row.body for row in api.store.inbox.read(tenant, 0)]


@pytest.mark.parametrize("path", PATHS)
def test_accepted_batch_is_on_disk(api: Api, path: str) -> None:
    """A good batch is answered 200 with its counts, and the inbox holds exactly its bytes."""
    body = json.dumps(batch(message(), message())).encode()
    answer = api.post(path, body)
    assert answer.status_code == 200
    assert answer.json() == {"total": 2, "failed": 0, "sent": 2, "failure_reasons": {}}
    assert answer.headers["accept-encoding"] == "gzip, zstd"
    assert answer.headers["x-mona-server"]
    assert stored(api) == [body]


def test_bad_messages_fail_alone(api: Api) -> None:
    """Refused messages are told by index with a reason; the others of the batch are stored."""
    answer = api.post("/export", batch(message(), {"arcClass": "LOAN", "message": []}, message(""), 7))
    assert answer.status_code == 400
    told = answer.json()
    assert (told["total"], told["failed"], told["sent"]) == (4, 3, 1)
    assert set(told["failure_reasons"]) == {"1", "2", "3"}
    assert len(stored(api)) == 1


def test_at_most_a_thousand_reasons(api: Api) -> None:
    """More refusals are counted, not listed."""
    told = api.post("/export", batch(*[message("") for _ in range(1_500)])).json()
    assert (told["failed"], len(told["failure_reasons"]), told["failure_reasons_truncated"]) == (1500, 1000, True)


def test_array_form(api: Api) -> None:
    """Each element is its own batch; indices count through all messages."""
    body = [batch(message()), batch(message(), message("")), batch()]
    told = api.post("/export", body).json()
    assert told == {
        "total": 3,
        "failed": 1,
        "sent": 2,
        "failure_reasons": {"2": "contextClass must be a non-empty string"},
    }


@pytest.mark.parametrize(
    "body", [b"", b"{", b"7", b"{}", b'{"messages": 7}', b'{"userId": 7, "messages": []}', b"\xff"]
)
def test_what_is_no_envelope(api: Api, body: bytes) -> None:
    """Not JSON or the wrong top level: 400 with a topLevelError and nothing stored."""
    answer = api.post("/export", body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["topLevelError"], str)
    assert stored(api) == []


@pytest.mark.parametrize("path", PATHS)
def test_without_a_good_token(api: Api, path: str) -> None:
    """No, a malformed, a foreign or an ended token: 401 with a topLevelError."""
    ended = api.token()
    for token in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eA=="}, {"Authorization": "Bearer "}):
        answer = api.post(path, batch(message()), token=token)
        assert (answer.status_code, set(answer.json())) == (401, {"topLevelError", "request_id"})
    api.clock.now_ms += 24 * 3_600_000
    assert api.post(path, batch(message()), token=ended).status_code == 401
    assert stored(api) == []


def test_tenant_and_role_are_checked(api: Api) -> None:
    """Another tenant in the body, or a role that may not send: 403 that names the reason."""
    for body in (batch(message(), userId="other"), [batch(), batch(message(), userId="other")]):
        answer = api.post("/export", body)
        assert answer.status_code == 403
        assert "user id" in answer.json()["topLevelError"]
    answer = api.post("/export", batch(message()), token=api.token("Viewer"))
    assert answer.status_code == 403
    assert "mona.messages.send" in answer.json()["topLevelError"]
    assert api.post("/export", batch(message(), userId=None), token=api.token("Exporter")).status_code == 200
    assert stored(api, "other") == []


def test_tenants_do_not_share_an_inbox(api: Api) -> None:
    """What one tenant sends is stored for it alone."""
    api.post("/export", batch(message(), userId="acme"), token=api.token(tenant="acme"))
    assert len(stored(api, "acme")) == 1
    assert stored(api) == []


def test_no_auth_mode(make_api: Callable[..., Api]) -> None:
    """Where it is switched on, the body's userId names the tenant; without one it is the default tenant."""
    api = make_api(auth={"allow_no_auth": True})
    for path in PATHS:
        assert api.post(path, batch(message(), userId="acme"), token={}).status_code == 200
        assert api.post(path, batch(message(), userId=None), token={}).status_code == 200
    assert len(stored(api, "acme")) == len(stored(api)) == 4
    for bad in ("../etc", "a/b", "x" * 200, "."):
        assert api.post("/monaExport", batch(message(), userId=bad), token={}).status_code == 400
    assert api.post("/monaExport", [batch(userId="a"), batch(userId="b")], token={}).status_code == 400


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_compressed_bodies(api: Api, encoding: str) -> None:
    """A compressed body counts as what it holds."""
    body = json.dumps(batch(message())).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zstandard.compress(body)
    assert api.post("/export", packed, Content_Encoding=encoding).status_code == 200
    assert stored(api) == [body]


def test_damaged_or_unknown_compression(api: Api) -> None:
    """Damaged compression is 400, an unknown encoding 415."""
    packed = gzip.compress(json.dumps(batch(message())).encode())
    for bad in (packed[:-9], b"\x1f\x8b" + b"x" * 50, b"plain"):
        assert api.post("/export", bad, Content_Encoding="gzip").status_code == 400
    assert api.post("/export", b"xx", Content_Encoding="zstd").status_code == 400
    assert api.post("/export", b"xx", Content_Encoding="br").status_code == 415


def test_compression_bombs(make_api: Callable[..., Api]) -> None:
    """A small body that expands beyond the ratio or the limit is refused with the limits, before its memory is used."""
    api = make_api(limits={"max_body_bytes": 16 * 2**20})
    zeros = b"0" * (20 * 2**20)
    for packed, encoding in (
        (gzip.compress(zeros), "gzip"),
        (gzip.compress(b"1" * 2**20, 9) * 30, "gzip"),
        (zstandard.compress(zeros), "zstd"),
        (gzip.compress(b"[" * 2**20), "gzip"),
    ):
        answer = api.post("/export", packed, Content_Encoding=encoding)
        assert answer.status_code == 413
        assert (answer.json()["max_bytes"], answer.json()["max_messages"]) == (16 * 2**20, 100_000)


def test_too_large(make_api: Callable[..., Api]) -> None:
    """Too many bytes or too many messages: 413 with both limits, announced or chunked."""
    api = make_api(limits={"max_body_bytes": 16 * 2**20, "max_messages": 10})
    large = b" " * (16 * 2**20 + 1)
    assert api.post("/export", large).status_code == 413

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield large[: 2**20]

    chunked = api.client.post("/export", content=pieces(), headers=api.token())
    assert chunked.status_code == 413
    answer = api.post("/export", batch(*[message()] * 11))
    assert answer.status_code == 413
    assert answer.json()["max_messages"] == 10


def test_deep_huge_and_doubled(api: Api) -> None:
    """Nesting bombs, integers of a megabyte and doubled keys are answered quickly and never crash."""
    deep = b'{"messages": [{"arcClass": "A", "message": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}]}"
    number = b'{"messages": [{"arcClass": "A", "message": {"a": ' + b"9" * 1_000_000 + b"}}]}"
    doubled = b'{"messages": [{"arcClass": "A", "arcClass": "B", "message": {"a": 1, "a": 2}}], "messages": []}'
    assert api.post("/export", deep).status_code == 400
    assert api.post("/export", number).status_code == 400
    assert api.post("/export", doubled).json()["total"] == 0


def test_repeated_key_is_answered_from_memory(api: Api) -> None:
    """Same key and body, compressed or not: the first answer again, marked, and nothing is stored twice."""
    good = json.dumps(batch(message())).encode()
    mixed = json.dumps(batch(message(), message(""))).encode()
    for body, status in ((good, 200), (mixed, 400)):
        first = api.post("/export", body, Idempotency_Key=f"k{status}")
        again = api.post("/export", gzip.compress(body), Idempotency_Key=f"k{status}", Content_Encoding="gzip")
        assert first.status_code == again.status_code == status
        assert first.json() == again.json()
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
    assert stored(api) == [good, mixed]


def test_one_key_from_many_at_once(api: Api) -> None:
    """Twenty requests with one key at the same moment store one body; all get the same answer."""
    body = json.dumps(batch(message(), message(""))).encode()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: api.post("/export", body, Idempotency_Key="k"), range(20)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert stored(api) == [body]


def test_key_with_another_body(api: Api) -> None:
    """Same key, other body: 422; another suffix or another tenant is another key."""
    api.post("/export", batch(message()), Idempotency_Key="k")
    other = batch(message(contextId="b"))
    assert api.post("/export", other, Idempotency_Key="k").status_code == 422
    assert api.post("/export", other, Idempotency_Key="k.0").status_code == 200
    acme = api.token(tenant="acme")
    assert api.post("/export", batch(message(), userId="acme"), token=acme, Idempotency_Key="k").status_code == 200
    for bad in ("", "x" * 129, "a\tb"):
        assert api.post("/export", other, Idempotency_Key=bad).status_code == 400


def test_refused_request_keeps_its_key_free(api: Api) -> None:
    """401 and 400 for the whole body do not use the key up."""
    body = json.dumps(batch(message())).encode()
    assert api.post("/export", body, token={}, Idempotency_Key="k").status_code == 401
    assert api.post("/export", b"{", Idempotency_Key="k").status_code == 400
    assert api.post("/export", body, Idempotency_Key="k").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/export", batch(message()), 429),
        ("/sendEvent", batch(message()), 429),
        ("/export", [batch(message())], 503),
        ("/monaExport", batch(message()), 503),
    ],
)
def test_overload(api: Api, monkeypatch: pytest.MonkeyPatch, path: str, body: Any, status: int) -> None:
    """When the backlog is full the caller is told when to come again; the agent's forms get the 503 it understands."""

    def full(_accepted: Any) -> Any:
        raise Overloaded("more is waiting to be folded than allowed", retry_after_s=17)

    monkeypatch.setattr(api.store.inbox, "submit", full)
    answer = api.post(path, body)
    assert answer.status_code == status
    assert answer.headers["retry-after"] == "17"
    assert answer.json()["retry_after"] == 17


def incompressible(form: bytes) -> bytes:
    """A body whose first compressed block does not fit into one piece of the network."""
    return form + b"".join(hashlib.sha256(str(n).encode()).hexdigest().encode() for n in range(8_000))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'[{"messages": []}]', 503),
        (b' \n\t [{"messages": []}]', 503),
        (b'{"messages": []}', 429),
        (b"", 429),
        (b" " * 2**20 + b"[", 429),  # looking has an end
        (incompressible(b"["), 503),
        (incompressible(b"{"), 429),
    ],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_overload_before_the_body_is_read(
    api: Api, monkeypatch: pytest.MonkeyPatch, body: bytes, status: int, encoding: str
) -> None:
    """No room for the body: its first character tells the agent's form, and only its beginning is taken."""
    sent = {"identity": body, "gzip": gzip.compress(body), "zstd": zstandard.compress(body)}[encoding]
    taken = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal taken
        for place in range(0, len(sent), 16_384):
            taken += 1
            yield sent[place : place + 16_384]

    def no_room(*_: Any, **__: Any) -> Any:
        raise Overloaded("The server is reading as much as it can", retry_after_s=1)

    monkeypatch.setattr(api.edge.budget, "reserve", no_room)
    headers = api.token() | {"Content-Encoding": encoding}
    answer = api.client.post("/export", content=pieces(), headers=headers)
    assert answer.status_code == status
    assert answer.json()["retry_after"] == 1
    assert taken <= 16


def test_of_strangers_not_even_the_beginning_is_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overloaded while the token is looked at: 429 at once, the body stays unread."""

    def busy(*_: Any, **__: Any) -> Any:
        raise Overloaded("Too many failed attempts", retry_after_s=3)

    async def pieces() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"[]"

    read: list[int] = []
    monkeypatch.setattr(api.edge.access, "bearer", busy)
    answer = api.client.post("/export", content=pieces(), headers={"Authorization": "Bearer x"})
    assert (answer.status_code, read) == (429, [])


def test_internal_fault(api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A bug of ours is 500 with the request id, and neither answer nor log shows the message."""

    def broken(_accepted: Any) -> Any:
        raise RuntimeError("value s3cr3t-value in it")

    monkeypatch.setattr(api.store.inbox, "submit", broken)
    answer = api.post("/export", batch(message(message={"name": "s3cr3t-value"})))
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    output = capsys.readouterr()
    assert "request crashed" in output.out + output.err
    assert "s3cr3t-value" not in output.out + output.err + answer.text


def test_empty_batch(api: Api) -> None:
    """No messages: accepted, nothing happens."""
    assert api.post("/export", batch()).json() == {"total": 0, "failed": 0, "sent": 0, "failure_reasons": {}}
    assert stored(api) == []


def test_zlib_without_gzip_header_is_refused(api: Api) -> None:
    """Only what the encoding says is read."""
    assert api.post("/export", zlib.compress(b"{}"), Content_Encoding="gzip").status_code == 400
