"""One batch to one outcome: the policy of every sending, synchronous or not.

A batch is tried until it is accepted, refused, or patience ends. What an answer means is decided in `read_answer`,
what follows from it in `Endpoint.deliver`:

    accepted, partly refused, refused   → the outcome
    too large                           → two halves, each a batch of its own
    token refused                       → renew once, again
    later, or no answer                 → wait, again
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Callable, NamedTuple, Optional

from mona_sdk import texts
from mona_sdk._version import __version__
from mona_sdk.auth.authenticators.base_authenticator import BaseAuthenticator
from mona_sdk.delivery import http, policy
from mona_sdk.encode import body
from mona_sdk.patch_points import request
from mona_sdk.settings import ClientSettings
from mona_sdk.stats import Stats

PROTOCOL_HEADERS = {
    "X-Mona-Protocol": "2",
    "User-Agent": f"mona-sdk/{__version__} python/{sys.version_info[0]}.{sys.version_info[1]}",
}
COMPRESS_ABOVE = 1024
NO_REASONS: Mapping[int, str] = MappingProxyType({})
# Level 1 finds most of what JSON repeats, at a third of the time of level 6.
GZIP_LEVEL = 1


class Batch(NamedTuple):
    """Messages that travel together. `key` is the same on every try, so the server stores them once."""

    raws: list[bytes]
    tail: bytes
    key: str

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches; their keys follow from this one's, so a repeated split is recognised too."""
        middle = len(self.raws) // 2
        return (
            Batch(self.raws[:middle], self.tail, f"{self.key}.0"),
            Batch(self.raws[middle:], self.tail, f"{self.key}.1"),
        )


class Outcome(NamedTuple):
    """What became of a batch of `total` messages.

    `failed` counts those not stored, `reasons` says why by place. `unavailable`: nobody took the batch, it may be
    delivered later under the same key; `no_connection`: there was no answer at all.
    """

    total: int
    failed: int = 0
    reasons: Mapping[int, str] = NO_REASONS
    unavailable: bool = False
    no_connection: bool = False
    not_authenticated: bool = False

    @classmethod
    def all_failed(cls, total: int, reason: str, **kind: bool) -> Outcome:
        """Nothing stored, for one reason."""
        return cls(total, total, dict.fromkeys(range(total), reason), **kind)

    def and_then(self, other: Outcome) -> Outcome:
        """Both halves as one."""
        reasons = {**self.reasons, **{self.total + place: reason for place, reason in other.reasons.items()}}
        return Outcome(
            self.total + other.total,
            self.failed + other.failed,
            reasons,
            no_connection=self.no_connection or other.no_connection,
            not_authenticated=self.not_authenticated or other.not_authenticated,
        )


def new_key() -> str:
    """A random UUID. By hand, because the module `uuid` takes an eighth of our import time."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


class Patience(NamedTuple):
    """How long a sender keeps trying. `sleep(seconds)` is False when it was interrupted.

    `deadline` is a monotonic time or None. With `outlast_outage`, tries that met no server at all do not count.
    """

    max_retries: int
    deadline: Optional[float] = None
    sleep: Callable[[float], bool] = _sleep
    outlast_outage: bool = False

    def wait(self, seconds: float) -> bool:
        """Sleep if the deadline leaves room for it and one more try."""
        if self.deadline is not None and time.monotonic() + seconds >= self.deadline:
            return False
        return self.sleep(seconds)


class Answer(NamedTuple):
    """What an answer means. `kind` is accepted, partial, refused, too_large, unauthorized, bad_encoding or later."""

    kind: str
    reason: str = ""
    failed: int = 0
    reasons: Mapping[int, str] = NO_REASONS
    after: Optional[float] = None
    no_connection: bool = False


def read_answer(response: Any, now: float) -> Answer:
    """The meaning of an answer to a batch; `now` is Unix seconds.

    Only `.ok` and `.json()` are relied upon; everything else of `response` may be a mock.
    """
    if response.ok:
        return Answer("accepted")
    status = getattr(response, "status_code", None)
    headers = getattr(response, "headers", None)
    content = _json(response)
    failed = content.get("failed")
    reason = _reason(content, status, headers)
    after = policy.retry_after(headers, now)
    if policy.may_retry(status) or (status == 409 and after is not None):
        return Answer("later", reason, after=after)
    if status == 401:
        return Answer("unauthorized", reason)
    if status == 413:
        return Answer("too_large", reason)
    if status == 415:
        return Answer("bad_encoding", reason)
    if isinstance(failed, int):
        return Answer("partial" if failed else "accepted", reason, failed, _places(content.get("failure_reasons")))
    return Answer("refused", reason)


def _json(response: Any) -> dict[str, Any]:
    try:
        content = response.json()
    except (ValueError, TypeError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _reason(content: dict[str, Any], status: object, headers: object) -> str:
    told = content.get("topLevelError") or content.get("error_message")
    detail = f" (HTTP {status})" if isinstance(status, int) else ""
    if isinstance(told, str) and told:
        return f"{texts.BATCH_FAILED}{detail}: {told}"
    if isinstance(status, int) and 300 <= status < 400 and isinstance(headers, Mapping):
        location = str(headers.get("location", "")).partition("?")[0]
        return f"{texts.BATCH_FAILED}{detail}: redirected to {location}, which is not followed"
    return f"{texts.BATCH_FAILED}{detail}"


def _places(reasons: object) -> Mapping[int, str]:
    if not isinstance(reasons, dict):
        return NO_REASONS
    return {int(place): str(reason) for place, reason in reasons.items() if str(place).isdigit()}


class Endpoint:
    """Where a client sends, and in whose name. Shared by all threads of a client."""

    def __init__(self, settings: ClientSettings, url: str, auth: BaseAuthenticator) -> None:
        self.auth = auth
        self.url = url
        self._connect_s, self._read_s = settings.connect_timeout, settings.read_timeout
        self._compression = settings.compression
        self._encoding: Optional[str] = "gzip" if settings.compression == "gzip" else None

    def deliver(self, batch: Batch, patience: Patience, stats: Stats) -> Outcome:
        """Try until there is an outcome. Never raises for what a server or a network does."""
        total = len(batch.raws)
        tries = counted = 0
        renewed = False
        while True:
            token: Optional[str] = None
            if self.auth.ensure(patience.deadline):
                token = self.auth.get_current_token()
                answer = self._attempt(batch, token, tries, patience, stats)
            elif self.auth.is_unreachable:
                answer = Answer("later", texts.NOT_AUTHENTICATED, no_connection=True)
            else:
                return Outcome.all_failed(total, self.auth.refusal(), not_authenticated=True)
            tries += 1
            if answer.kind == "accepted":
                return Outcome(total)
            if answer.kind == "partial":
                return Outcome(total, min(answer.failed, total), answer.reasons)
            if answer.kind == "too_large" and total > 1:
                first, second = batch.halves()
                return self.deliver(first, patience, stats).and_then(self.deliver(second, patience, stats))
            if answer.kind == "unauthorized" and not renewed:
                renewed = True
                if self.auth.renew(token, patience.deadline):
                    continue
            if answer.kind == "bad_encoding" and self._encoding:
                self._encoding, self._compression = None, "off"
                continue
            if answer.kind != "later":
                return Outcome.all_failed(total, answer.reason)
            counted += not (patience.outlast_outage and answer.no_connection)
            delay = answer.after if answer.after is not None else policy.backoff(tries - 1)
            if counted > patience.max_retries or not patience.wait(delay):
                return Outcome.all_failed(total, answer.reason, unavailable=True, no_connection=answer.no_connection)
            stats.add(retried=1)

    def _attempt(self, batch: Batch, token: Optional[str], tries: int, patience: Patience, stats: Stats) -> Answer:
        payload = body(batch.raws, batch.tail)
        headers = {
            **PROTOCOL_HEADERS,
            "Content-Type": "application/json",
            "Idempotency-Key": batch.key,
            "X-Mona-Sent-At": str(int(time.time() * 1000)),
            "X-Mona-Attempt": str(tries + 1),
        }
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if self._encoding and len(payload) > COMPRESS_ABOVE:
            payload = compress(payload, self._encoding)
            headers["Content-Encoding"] = self._encoding
        deadline = time.monotonic() + self._connect_s + 3 * self._read_s
        if patience.deadline is not None:
            deadline = min(deadline, patience.deadline)
        opened = http.connections_opened()
        try:
            limits = http.Limits(self._connect_s, self._read_s, deadline)
            response = request("POST", self.url, data=payload, headers=headers, timeout=limits)
            self._learn(getattr(response, "headers", None))
            return read_answer(response, time.time())
        except OSError as problem:
            # requests' exceptions are OSErrors too, where a program has put that library in its place.
            return Answer("later", f"{texts.BATCH_FAILED}: {_kind(problem)}", no_connection=True)
        except Exception as problem:  # noqa: BLE001 - a patched carrier may raise anything, a bad address ValueError
            return Answer("refused", f"{texts.BATCH_FAILED}: {_kind(problem)}")
        finally:
            stats.add(requests=1, bytes_sent=len(payload), connections=http.connections_opened() - opened)

    def _learn(self, headers: object) -> None:
        if self._encoding or self._compression != "auto" or not isinstance(headers, Mapping):
            return
        if headers.get("X-Mona-Server"):
            offered = str(headers.get("Accept-Encoding", ""))
            self._encoding = "zstd" if "zstd" in offered and _zstandard() is not None else "gzip"


def compress(payload: bytes, encoding: str) -> bytes:
    """A body in an encoding that the server takes: gzip or zstd."""
    if encoding == "zstd":
        compressed: bytes = _zstandard().ZstdCompressor(level=1).compress(payload)
        return compressed
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    return packer.compress(payload) + packer.flush()


def _zstandard() -> Any:
    """The library of the extra `zstd`, or None; asked for when a server has offered that encoding."""
    try:
        import zstandard
    except ImportError:
        return None
    return zstandard


def _kind(problem: BaseException) -> str:
    """Our own texts carry no secrets; of a foreign exception only the name is safe to show."""
    if isinstance(problem, (http.RequestFailed, http.BadRequest)):
        return str(problem)
    return type(problem).__name__
