"""Where tokens are kept: one record per token address, api key and secret, with a lock of its own.

`API_KEYS_TO_TOKEN_DATA` is the public window on it (api key → the most recent record). What a program changes in a
record, or takes out of the mapping, holds from the next call on.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Optional

from mona_sdk.auth.globals import IS_AUTHENTICATED

Record = dict[str, Any]
StrictKey = tuple[str, str, str]

API_KEYS_TO_TOKEN_DATA: dict[Optional[str], Record] = {}
_states: dict[StrictKey, TokenState] = {}
_guard = threading.Lock()  # for the two mappings only; never held during a network call


@dataclass
class TokenState:
    """The token of one (address, api key, secret). `lock` is held while this token is asked for.

    Times are of the monotonic clock: `refresh_at` when to renew, `ends_at` when the token is void, `unreachable_at`
    when nobody answered last. `refresh_stamp` is the wall time written in the record, to see whether it was changed.
    """

    api_key: Optional[str]
    lock: threading.Lock = field(default_factory=threading.Lock)
    record: Optional[Record] = None
    refresh_at: float = 0.0
    ends_at: float = 0.0
    refresh_stamp: Any = None
    unreachable_at: Optional[float] = None


def state_of(token_url: str, api_key: Optional[str], secret: Optional[str]) -> TokenState:
    """The state shared by all clients of this process with these credentials at this address."""
    import hashlib

    digest = hashlib.sha256(repr(secret).encode("utf-8", "surrogatepass")).hexdigest()
    key = (token_url, repr(api_key), digest)
    with _guard:
        if key not in _states:
            _states[key] = TokenState(api_key)
        return _states[key]


def record_of(state: TokenState) -> Optional[Record]:
    """The record in force, with what a program did to the public mapping."""
    if state.record is None:
        return None
    public = API_KEYS_TO_TOKEN_DATA.get(state.api_key)
    if public is None:
        with _guard:
            for other in _states.values():
                if other.api_key == state.api_key:
                    other.record = None
        return None
    if public is not state.record and not _belongs_to_another(state, public):
        state.record = public
    return state.record


def put(state: TokenState, record: Record, *, life_s: float, margin_s: float, now: Optional[float] = None) -> None:
    """Store a fresh record. It is renewed `margin_s` before its end, or after half of a life that is not longer."""
    now = time.monotonic() if now is None else now
    early = margin_s if life_s > margin_s else life_s / 2
    state.record = record
    state.refresh_at, state.ends_at = now + life_s - early, now + life_s
    state.refresh_stamp = record.get("timeToRefresh")
    state.unreachable_at = None
    API_KEYS_TO_TOKEN_DATA[state.api_key] = record


def is_authenticated(record: Optional[Record]) -> bool:
    """Whether a record holds an accepted token."""
    return bool(record and record.get(IS_AUTHENTICATED))


def _belongs_to_another(state: TokenState, public: Record) -> bool:
    with _guard:
        return any(other.record is public for other in _states.values() if other is not state)


def _renew_locks() -> None:
    global _guard
    _guard = threading.Lock()
    for state in _states.values():
        state.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # Another thread may have held a lock at the time of the fork; nobody would ever release it in the child.
    os.register_at_fork(after_in_child=_renew_locks)
