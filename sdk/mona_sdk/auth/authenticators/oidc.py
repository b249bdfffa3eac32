"""Tokens from an OpenID Connect provider, by the client-credentials grant."""

from __future__ import annotations

from typing import Any

from mona_sdk.auth.authenticators.mona import MonaAuth
from mona_sdk.auth.globals import (
    ACCESS_TOKEN,
    EXPIRES_IN,
    OIDC_ACCESS_TOKEN_KEY,
    OIDC_EXPIRES_KEY,
    URLENCODED_HEADER,
)
from mona_sdk.delivery.http import Limits
from mona_sdk.patch_points import request


class OidcAuth(MonaAuth):
    """Sends a form to the provider; the tenant is the given user id."""

    def _token_request(self, limits: Limits) -> Any:
        form = {
            "client_id": self._settings.api_key or "",
            "client_secret": self._settings.secret or "",
            "grant_type": "client_credentials",
        }
        if self._settings.oidc_scope:
            form["scope"] = self._settings.oidc_scope
        return request("POST", self._addresses.token, headers=dict(URLENCODED_HEADER), data=form, timeout=limits)

    def _translate(self, answer: dict[str, Any]) -> dict[str, Any]:
        # No refresh token: this grant has none, a new token is asked for instead.
        return {ACCESS_TOKEN: answer.get(OIDC_ACCESS_TOKEN_KEY), EXPIRES_IN: answer.get(OIDC_EXPIRES_KEY)}
