"""Chooses the authenticator."""

from __future__ import annotations

from mona_sdk.auth.authenticators.base_authenticator import BaseAuthenticator
from mona_sdk.auth.authenticators.manual_token import ManualTokenAuth
from mona_sdk.auth.authenticators.mona import MonaAuth
from mona_sdk.auth.authenticators.no_auth import NoAuth
from mona_sdk.auth.authenticators.oidc import OidcAuth
from mona_sdk.settings import Addresses, ClientSettings

AUTHENTICATORS: dict[str, type[BaseAuthenticator]] = {
    "MONA": MonaAuth,
    "OIDC": OidcAuth,
    "MANUAL_TOKEN": ManualTokenAuth,
    "NO_AUTH": NoAuth,
}


def get_authenticator(settings: ClientSettings, addresses: Addresses) -> BaseAuthenticator:
    """The authenticator of the mode in force."""
    return AUTHENTICATORS[settings.mode](settings, addresses)
