"""A token that the program brings; it belongs to one client and cannot be renewed."""

from __future__ import annotations

from typing import Optional

from mona_sdk.auth.authenticators.base_authenticator import BaseAuthenticator


class ManualTokenAuth(BaseAuthenticator):
    """Speaks with the token given as `access_token`."""

    def get_current_token(self) -> Optional[str]:
        """The given token."""
        return self._settings.access_token

    def default_author(self) -> str:
        """The text that the original writes."""
        return "manual_token_mode"
