"""Tokens from a server, renewed in time: api key and secret in, access token out."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Optional

from mona_sdk import texts
from mona_sdk.auth import store
from mona_sdk.auth.authenticators.base_authenticator import JSON_HEADERS, BaseAuthenticator
from mona_sdk.auth.globals import (
    ACCESS_TOKEN,
    ERRORS,
    EXPIRES,
    EXPIRES_IN,
    IS_AUTHENTICATED,
    REFRESH_TOKEN_KEY,
    TIME_TO_REFRESH,
)
from mona_sdk.auth.utils import error_text, get_auth_response_with_retries, handle_authentications_error
from mona_sdk.delivery.http import Limits
from mona_sdk.log import get_logger
from mona_sdk.patch_points import decode_token, request
from mona_sdk.settings import Addresses, ClientSettings

# How long a life is assumed where a token does not tell; 401 renews it earlier.
UNKNOWN_LIFE_S = 24 * 3600.0
# A client that found nobody at its start may ask again, but not at every call.
ASK_AGAIN_S = 30.0


class MonaAuth(BaseAuthenticator):
    """Asks the token endpoint with api key and secret, and refreshes with the refresh token."""

    def __init__(self, settings: ClientSettings, addresses: Addresses) -> None:
        super().__init__(settings, addresses)
        self._state = store.state_of(addresses.token, settings.api_key, settings.secret)

    def initial_auth(self) -> bool:
        """Ask for a token unless a client with the same credentials has a good one."""
        if not self._locked(lambda: store.is_authenticated(self._record()) or self._ask_new()):
            return self._complain()
        return True

    def is_authenticated(self) -> bool:
        """Whether there is an accepted token."""
        return store.is_authenticated(self._record())

    def ensure(self, deadline: Optional[float] = None) -> bool:
        """Renew the token when its time has come. A token that still holds serves while another thread renews."""
        state, now = self._state, time.monotonic()
        record = state.record
        if (
            record is not None
            and now < state.refresh_at
            and record.get(TIME_TO_REFRESH) is state.refresh_stamp
            and store.API_KEYS_TO_TOKEN_DATA.get(state.api_key) is record
        ):
            return bool(record.get(IS_AUTHENTICATED))  # the usual case, at every export
        if not self.is_authenticated():
            asked = state.unreachable_at
            if asked is None or now - asked < ASK_AGAIN_S:
                return False
            return self._locked(lambda: self.is_authenticated() or self._ask_new(deadline), deadline)
        if self._due(now):
            limit = deadline if now >= state.ends_at else now
            self._locked(lambda: not self._due(time.monotonic()) or self._renew(deadline), limit)
        return self.is_authenticated()

    def renew(self, refused_token: Optional[str], deadline: Optional[float] = None) -> bool:
        """Another token than the refused one: by refresh, else by a full request."""
        return self._locked(lambda: self.get_current_token() != refused_token or self._renew(deadline), deadline)

    @property
    def is_unreachable(self) -> bool:
        """Whether the last token request met nobody."""
        return self._state.unreachable_at is not None

    def get_user_id(self) -> Optional[str]:
        """The user id given, else the claim `tenantId` of the token."""
        if self._settings.user_id:
            return self._settings.user_id
        token = self.get_current_token()
        tenant = decode_token(token).get("tenantId") if token else None
        return str(tenant) if tenant is not None else None

    def get_current_token(self) -> Optional[str]:
        """The access token in force."""
        record = self._record()
        return record.get(ACCESS_TOKEN) if record and record.get(IS_AUTHENTICATED) else None

    def _record(self) -> Optional[store.Record]:
        return store.record_of(self._state)

    def _locked(self, action: Callable[[], bool], deadline: Optional[float] = None) -> bool:
        """`action()` while holding the lock of these credentials; whether a token is there if it cannot be had until
        `deadline`, or within the time that the holder may take."""
        if deadline is None:
            one = self._settings.connect_timeout + self._settings.read_timeout
            wait = self._settings.wait_time_for_authentication_retries
            limit = (self._settings.num_of_retries_for_authentication + 1) * (one + wait)
        else:
            limit = max(0.0, deadline - time.monotonic())
        lock = self._state.lock
        if not lock.acquire(timeout=limit):
            return self.is_authenticated()
        try:
            return action()
        finally:
            lock.release()

    def _due(self, now: float) -> bool:
        record = self._record()
        if record is None:
            return False
        stamp = record.get(TIME_TO_REFRESH)
        if stamp is self._state.refresh_stamp or not isinstance(stamp, datetime):
            return now >= self._state.refresh_at
        return stamp <= datetime.now(stamp.tzinfo)

    def _renew(self, deadline: Optional[float]) -> bool:
        refreshed: Any = None
        record = self._record() or {}
        if self._settings.should_use_refresh_tokens and record.get(REFRESH_TOKEN_KEY):
            refreshed = self._send(self._refresh_request, deadline)
            if self._keep(refreshed):
                return True
        fresh = self._send(self._token_request, deadline)
        if self._keep(fresh):
            return True
        now = time.monotonic()
        if getattr(fresh, "unreachable", False) is True and now < self._state.ends_at:
            get_logger().warning("the token could not be renewed; it is used until it ends")
            self._state.refresh_at = min(self._state.ends_at, now + ASK_AGAIN_S)
            return False
        self._refuse(fresh)
        body = error_text(_read(refreshed if refreshed is not None else fresh))
        self._refusal = texts.COULD_NOT_REFRESH + self._redacted(body)
        get_logger().error(self._refusal)
        return False

    def _ask_new(self, deadline: Optional[float] = None) -> bool:
        response = self._send(self._token_request, deadline)
        if self._keep(response):
            return True
        self._refuse(response)
        return False

    def _send(self, ask: Callable[[Limits], Any], deadline: Optional[float]) -> Any:
        """Ask with the retries of the settings; only once where a call with a deadline waits for it."""
        settings = self._settings

        def generate() -> Any:
            return ask(Limits(settings.connect_timeout, settings.read_timeout, deadline))

        return get_auth_response_with_retries(
            generate,
            num_of_retries=settings.num_of_retries_for_authentication if deadline is None else 0,
            auth_wait_time_sec=settings.wait_time_for_authentication_retries,
        )

    def _token_request(self, limits: Limits) -> Any:
        body = {"clientId": self._settings.api_key, "secret": self._settings.secret}
        return request("POST", self._addresses.token, headers=dict(JSON_HEADERS), json=body, timeout=limits)

    def _refresh_request(self, limits: Limits) -> Any:
        body = {"refreshToken": (self._record() or {}).get(REFRESH_TOKEN_KEY)}
        return request("POST", self._addresses.refresh, headers=dict(JSON_HEADERS), json=body, timeout=limits)

    def _keep(self, response: Any) -> bool:
        answer = self._translate(_read(response))
        token = answer.get(ACCESS_TOKEN)
        if not response.ok or not isinstance(token, str) or not token:
            return False
        life = _life(answer, token)
        margin = self._settings.refresh_token_safety_margin * 3600
        early = margin if life > margin else life / 2
        record = {
            ACCESS_TOKEN: token,
            REFRESH_TOKEN_KEY: answer.get(REFRESH_TOKEN_KEY),
            EXPIRES: answer.get(EXPIRES),
            EXPIRES_IN: answer.get(EXPIRES_IN),
            IS_AUTHENTICATED: True,
            TIME_TO_REFRESH: datetime.now(timezone.utc) + timedelta(seconds=life - early),
        }
        store.put(self._state, record, life_s=life, margin_s=margin)
        return True

    def _translate(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer

    def _refuse(self, response: Any) -> None:
        answer = _read(response)
        errors = answer.get(ERRORS) or [answer.get("message") or answer.get("error") or "no token in the answer"]
        record = {IS_AUTHENTICATED: False, ERRORS: errors}
        store.put(self._state, record, life_s=0, margin_s=0)
        if getattr(response, "unreachable", False) is True:
            self._state.unreachable_at = time.monotonic()

    def _complain(self) -> bool:
        text = texts.COULD_NOT_AUTHENTICATE + self._redacted(error_text(self._record()))
        return handle_authentications_error(text, self._settings.raise_authentication_exceptions)

    def _redacted(self, text: str) -> str:
        secret = self._settings.secret
        return text.replace(str(secret), "***") if secret else text


def _read(response: Any) -> dict[str, Any]:
    """The JSON object in an answer; empty when it is none."""
    try:
        answer = response.json()
    except (ValueError, AttributeError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _life(answer: dict[str, Any], token: str) -> float:
    """Seconds that a token lives: `expiresIn`, else `expires` (an HTTP date), else its own claims, else a day."""
    seconds = answer.get(EXPIRES_IN)
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0:
        return float(seconds)
    expires = answer.get(EXPIRES)
    if isinstance(expires, str):
        from email.utils import parsedate_to_datetime

        try:
            end = parsedate_to_datetime(expires)
        except (ValueError, TypeError):
            pass
        else:
            end = end if end.tzinfo else end.replace(tzinfo=timezone.utc)
            return max(0.0, (end - datetime.now(timezone.utc)).total_seconds())
    claims = decode_token(token)
    if isinstance(claims.get("exp"), (int, float)) and isinstance(claims.get("iat"), (int, float)):
        return max(0.0, float(claims["exp"] - claims["iat"]))
    return UNKNOWN_LIFE_S
