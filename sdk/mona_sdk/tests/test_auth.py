"""Authentication: modes, renewal, the token store (Q14 to Q21)."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, Callable

import pytest

from mona_sdk import Client
from mona_sdk.auth import store
from mona_sdk.auth.utils import API_KEYS_TO_TOKEN_DATA
from mona_sdk.client_exceptions import MonaAuthenticationException
from mona_sdk.tests.conftest import a_message, ends_within, wait_until
from mona_sdk.tests.servers import (
    REFRESH_PATH,
    TOKEN_PATH,
    Answer,
    RecordingServer,
    accept_all,
    always,
    hang,
    make_token,
)

FAST = {"wait_time_for_authentication_retries": 0.01}


@pytest.mark.parametrize("arguments", [{}, {"user_id": "U"}])
@pytest.mark.parametrize("failure", ["refused", "down", "html", "text"])
def test_without_a_token_nothing_raises_and_all_is_false(
    server: RecordingServer, make_client: Callable[..., Client], failure: str, arguments: dict[str, Any]
) -> None:
    """Wrong credentials, no server, HTML: the constructor returns and every call gives something false."""
    handlers: dict[str, Any] = {
        "refused": lambda _: Answer(401, {"errors": ["nope"]}),
        "down": lambda _: None,
        "html": lambda _: Answer(200, b"<html>"),
        "text": lambda _: Answer(200, "fine"),
    }
    server.routes[TOKEN_PATH] = handlers[failure]
    client = make_client(num_of_retries_for_authentication=1, **FAST, **arguments)
    assert client.is_active() is False
    assert client.export(a_message()) is False
    result: Any = client.export_batch([a_message(1), a_message(2)])
    assert not result
    assert (result["failed"], result["total"], result["sent"]) == (2, 2, 0)
    assert client.get_config() == {}
    for call in (client.get_suggested_config, client.get_sampling_factors, client.get_config_history):
        service: Any = call()
        assert not service
        assert service["success"] is False
        assert service["error_message"] == "Mona's client is not authenticated"
    assert server.sends == []


@pytest.mark.parametrize(
    "way", ["argument", "MONA_SDK_RAISE_AUTHENTICATION_EXCEPTIONS", "RAISE_AUTHENTICATION_EXCEPTIONS"]
)
def test_the_flag_raises_the_servers_errors(
    server: RecordingServer, make_client: Callable[..., Client], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the constructor, with the exact text."""
    server.routes[TOKEN_PATH] = lambda _: Answer(401, {"errors": ["first", "second"]})
    arguments = {"raise_authentication_exceptions": True} if way == "argument" else {}
    if way != "argument":
        monkeypatch.setenv(way, "True")
    with pytest.raises(MonaAuthenticationException) as caught:
        make_client(**arguments)
    assert str(caught.value) == "Mona's client could not authenticate. errors: first, second"
    server.routes[TOKEN_PATH] = lambda _: Answer(200, b"<html>")
    with pytest.raises(MonaAuthenticationException) as caught:
        make_client(num_of_retries_for_authentication=2, **FAST, **arguments)
    assert str(caught.value) == (
        "Mona's client could not authenticate. errors: Could not connect to authentication server, Number of retries: 2"
    )


def test_prefixed_variables_win(make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument over prefixed name over the old name."""
    monkeypatch.setenv("RAISE_AUTHENTICATION_EXCEPTIONS", "true")
    monkeypatch.setenv("MONA_SDK_RAISE_AUTHENTICATION_EXCEPTIONS", "false")
    assert make_client().authenticator.raise_auth_exceptions is False
    assert make_client(raise_authentication_exceptions=True).authenticator.raise_auth_exceptions is True


def test_a_call_without_authentication_raises_with_the_flag(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """When the token is taken away later, too."""
    client = make_client(raise_authentication_exceptions=True)
    API_KEYS_TO_TOKEN_DATA.pop("key")
    for call in (lambda: client.export(a_message()), client.get_config):
        with pytest.raises(MonaAuthenticationException, match=r"^Mona's client is not authenticated$"):
            call()


def test_retries_wait_and_end(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """A JSON 429 or 5xx is retried like no answer; a refusal is final."""
    for status, tries in ((503, 4), (429, 4), (400, 1), (401, 1), (403, 1)):
        server.requests.clear()
        server.routes[TOKEN_PATH] = always(status, {"errors": ["x"]})
        assert not make_client(**FAST).is_active()
        assert len(server.requests) == tries


def test_one_token_serves_many_exports_and_clients(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """A 4-hour token, three exports, two clients: one token request."""
    server.expires_in = 4 * 3600
    for client in (make_client(), make_client()):
        for number in range(3):
            assert client.export(a_message(number))
    assert server.tokens_issued == 1


def test_a_second_client_with_a_wrong_secret_is_not_authenticated(make_client: Callable[..., Client]) -> None:
    """The key alone opens nothing, and the first client keeps its token."""
    first, second = make_client(), make_client("key", "wrong")
    assert first.is_active()
    assert not second.is_active()
    assert first.export(a_message())


def test_two_tenants_never_share_a_token(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """Tokens belong to (address, key, secret)."""
    with RecordingServer() as other:
        other.routes[TOKEN_PATH] = lambda _: Answer(200, {"accessToken": make_token("tenant-2"), "expiresIn": 86400})
        here, there = make_client(), make_client(server_url=other.url)
        assert here.export(a_message())
        assert there.export(a_message())
        assert server.sends[0].json["userId"] == "tenant-1"
        assert other.sends[0].json["userId"] == "tenant-2"
        assert server.sends[0].headers["authorization"] != other.sends[0].headers["authorization"]


@pytest.mark.parametrize("expiry", ["expiresIn", "expires", "both missing", "claims"])
def test_a_due_token_is_refreshed(server: RecordingServer, make_client: Callable[..., Client], expiry: str) -> None:
    """Half an hour before its end; whichever key tells the end."""
    life = timedelta(hours=2)
    answer: dict[str, Any] = {"accessToken": make_token(), "refreshToken": "r-1"}
    if expiry == "expiresIn":
        answer["expiresIn"] = life.total_seconds()
    elif expiry == "expires":
        answer["expires"] = format_datetime(datetime.now(timezone.utc) + life, usegmt=True)
    elif expiry == "claims":
        answer["accessToken"] = make_token(iat=1000, exp=1000 + life.total_seconds())
    server.routes[TOKEN_PATH] = lambda _: Answer(200, answer)
    client = make_client()
    auth: Any = client.authenticator
    state = auth._state
    hours = 24 - 0.5 if expiry == "both missing" else 1.5
    assert state.refresh_at - time.monotonic() == pytest.approx(hours * 3600, abs=60)
    assert client.export(a_message())
    state.refresh_at = time.monotonic() - 1
    assert client.export(a_message())
    refresh = next(request for request in server.requests if request.path == REFRESH_PATH)
    assert refresh.json == {"refreshToken": "r-1"}
    assert server.sends[1].headers["authorization"] != server.sends[0].headers["authorization"]


def test_a_token_shorter_than_the_margin_is_used_for_half_its_life(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of being renewed before every call."""
    server.expires_in = 600
    auth: Any = make_client().authenticator
    assert auth._state.refresh_at - time.monotonic() == pytest.approx(300, abs=60)
    monkeypatch.setenv("REFRESH_TOKEN_SAFETY_MARGIN", "0.05")
    auth = make_client("other", "secret").authenticator
    assert auth._state.refresh_at - time.monotonic() == pytest.approx(600 - 180, abs=60)


def test_a_jump_of_the_wall_clock_renews_nothing(
    server: RecordingServer, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lives are measured on the monotonic clock."""
    client = make_client()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert client.export(a_message())
    assert server.tokens_issued == 1


def test_a_refused_refresh_falls_back_to_a_full_request(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """Both answers of servers that refuse: a 401, and an object of nulls."""
    for refusal in (Answer(401, {"errors": ["expired"]}), Answer(200, {"accessToken": None, "refreshToken": None})):
        client = make_client("key", f"secret-{refusal.status}")
        server.routes[REFRESH_PATH] = always(refusal.status, refusal.body)
        auth: Any = client.authenticator
        auth._state.refresh_at = 0
        before = server.tokens_issued
        assert client.export(a_message())
        assert server.tokens_issued == before + 1


def test_a_failed_renewal_says_so(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """With the flag, the text of the refusal; without it, nothing raises."""
    client = make_client(raise_authentication_exceptions=True)
    refused = Answer(401, {"errors": ["expired"]})
    server.routes[REFRESH_PATH] = server.routes[TOKEN_PATH] = lambda _: refused
    auth: Any = client.authenticator
    auth._state.refresh_at = 0
    with pytest.raises(MonaAuthenticationException, match=r"^Could not refresh token: expired$"):
        client.export(a_message())


def test_a_token_refused_in_flight_costs_one_request(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """401 on a send renews once and repeats; no message is lost."""
    client = make_client()
    good = make_token(n=2)
    server.routes["/export"] = lambda request: (
        accept_all(request)
        if request.headers["authorization"] == f"Bearer {good}"
        else Answer(401, {"topLevelError": "x"})
    )
    assert client.export(a_message())
    assert server.paths() == [TOKEN_PATH, "/export", REFRESH_PATH, "/export"]
    keys = {request.headers["idempotency-key"] for request in server.sends}
    assert len(keys) == 1
    server.routes["/export"] = lambda _: Answer(401, {"topLevelError": "never"})
    assert client.export(a_message()) is False
    assert server.paths()[4:] == ["/export", REFRESH_PATH, "/export"]


def test_records_are_live(server: RecordingServer, make_client: Callable[..., Client]) -> None:
    """What a program changes in `API_KEYS_TO_TOKEN_DATA`, or takes out of it, holds from the next call on."""
    client = make_client()
    record = API_KEYS_TO_TOKEN_DATA["key"]
    assert set(record) >= {"accessToken", "refreshToken", "expires", "expiresIn", "isAuthenticated", "timeToRefresh"}
    record["accessToken"] = "changed"
    client.export(a_message())
    assert server.sends[-1].headers["authorization"] == "Bearer changed"
    record["timeToRefresh"] = datetime(2000, 1, 1)
    client.export(a_message())
    assert server.paths()[-2:] == [REFRESH_PATH, "/export"]
    API_KEYS_TO_TOKEN_DATA["key"]["isAuthenticated"] = False
    assert not client.is_active()
    API_KEYS_TO_TOKEN_DATA["key"]["isAuthenticated"] = True
    assert client.is_active()
    API_KEYS_TO_TOKEN_DATA.pop("key")
    assert not client.is_active()
    assert client.export(a_message()) is False


def test_a_hung_token_endpoint_blocks_only_its_own_key(make_client: Callable[..., Client]) -> None:
    """Each key has a lock of its own."""
    release = threading.Event()
    with RecordingServer() as hung:
        hung.routes[TOKEN_PATH] = hang(release)
        patient: Any = {"server_url": hung.url, "read_timeout": 60, **FAST}
        slow = threading.Thread(target=lambda: make_client("slow", "secret", **patient), daemon=True)
        slow.start()
        wait_until(lambda: hung.requests)
        assert make_client().export(a_message())
        assert slow.is_alive()
        assert len(hung.requests) == 1
        release.set()
        slow.join(60)


def test_a_client_that_found_nobody_asks_again_later(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """A program that starts before its server is not lost for ever, and does not ask at every call."""
    server.routes[TOKEN_PATH] = lambda _: None
    client = make_client(num_of_retries_for_authentication=0)
    server.routes[TOKEN_PATH] = server.issue_token
    assert client.export(a_message()) is False
    assert server.tokens_issued == 0
    auth: Any = client.authenticator
    auth._state.unreachable_at -= 31
    assert client.export(a_message()) is True
    assert server.sends[0].json["userId"] == "tenant-1"


def test_tokens_and_secrets_stay_out_of_sight(
    server: RecordingServer, make_client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in DEBUG logs, `repr`, exceptions, results or `stats()`."""
    caplog.set_level(logging.DEBUG)
    secret = "s3cr3t-value"
    client = make_client("key", secret, background=True)
    client.export(a_message())
    client.flush(5)
    server.routes["/export"] = lambda _: Answer(403, {"topLevelError": "no"})
    shown = [repr(client), repr(client.authenticator), repr(client._settings), str(client.stats())]
    sync = make_client("key", secret)
    shown.append(str(sync.export_batch([a_message(), object()])))  # type: ignore[list-item]
    server.routes[TOKEN_PATH] = lambda request: Answer(401, {"errors": [f"bad secret {request.json['secret']}"]})
    store.API_KEYS_TO_TOKEN_DATA.clear()
    with pytest.raises(MonaAuthenticationException) as caught:
        make_client("key", secret, raise_authentication_exceptions=True)
    shown.append(str(caught.value))
    shown.append(repr(make_client(access_token="tok3n-value", user_id="U")))
    everything = "\n".join([caplog.text, *shown])
    token = make_token(n=1)
    for hidden in (secret, token, token.split(".")[1], "Bearer", "refresh-1", "tok3n-value"):
        assert hidden not in everything


def test_a_silent_token_endpoint_does_not_hold_an_export(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """A token that is due is renewed within the deadline of the call, and used on when that fails, without asking at
    every call."""
    client = make_client(export_deadline=2, read_timeout=60)
    released = threading.Event()
    server.routes[REFRESH_PATH] = server.routes[TOKEN_PATH] = hang(released)
    auth: Any = client.authenticator
    auth._state.refresh_at = 0
    with ends_within(20):
        client.export(a_message(1))
    assert client.export(a_message(2)) is True
    assert server.paths().count(REFRESH_PATH) == 1
    released.set()


def test_an_export_into_the_queue_never_waits_for_a_token(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """The worker renews."""
    client = make_client(background=True, flush_interval=0.01, export_deadline=60, read_timeout=60)
    auth: Any = client.authenticator
    auth._state.refresh_at = 0
    released = threading.Event()
    server.routes[REFRESH_PATH] = hang(released)
    with ends_within(15):
        assert client.export(a_message())
    released.set()
    assert client.flush(10)
    assert len(server.messages) == 1


def test_an_outage_of_the_token_endpoint_loses_nothing_in_the_background(
    server: RecordingServer, make_client: Callable[..., Client]
) -> None:
    """The token has ended and nobody gives another: the message waits until somebody does."""
    client = make_client(
        background=True, flush_interval=0.01, num_of_retries_for_authentication=0, raise_authentication_exceptions=True
    )
    auth: Any = client.authenticator
    auth._state.refresh_at = auth._state.ends_at = 0
    server.routes[REFRESH_PATH] = server.routes[TOKEN_PATH] = lambda _: None
    assert client.export(a_message())
    wait_until(lambda: auth._state.unreachable_at is not None)
    assert client.stats()["dropped"] == 0
    server.routes[TOKEN_PATH] = server.issue_token
    auth._state.unreachable_at -= 60
    assert client.flush(10)
    assert len(server.messages) == 1
