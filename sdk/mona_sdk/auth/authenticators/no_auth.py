"""No token at all; the server allows that only by a setting."""

from __future__ import annotations

from typing import Optional

from mona_sdk.auth.authenticators.base_authenticator import BaseAuthenticator


class NoAuth(BaseAuthenticator):
    """Speaks without a token, in the name of `user_id`."""

    def is_author_required(self) -> bool:
        """Nobody is known."""
        return True

    def default_author(self) -> Optional[str]:
        """Nobody is known."""
        return None
