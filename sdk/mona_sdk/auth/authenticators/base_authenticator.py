"""What every authenticator can do."""

from __future__ import annotations

from typing import Optional

from mona_sdk import texts
from mona_sdk.settings import Addresses, ClientSettings

JSON_HEADERS = {"Content-Type": "application/json"}


class BaseAuthenticator:
    """Answers whether the client may speak, for whom, and with which token. This one speaks without any."""

    def __init__(self, settings: ClientSettings, addresses: Addresses) -> None:
        self.api_key = settings.api_key
        self.raise_auth_exceptions = settings.raise_authentication_exceptions
        self._settings = settings
        self._refusal = texts.NOT_AUTHENTICATED
        self._addresses = addresses

    def initial_auth(self) -> bool:
        """Get a first token if one is needed. True when the client is authenticated then."""
        return True

    def is_authenticated(self) -> bool:
        """Whether a call may be made now."""
        return True

    def ensure(self, deadline: Optional[float] = None) -> bool:  # noqa: ARG002
        """Renew a token that ends soon, until `deadline` (monotonic) at most; True when a call may be made now."""
        return self.is_authenticated()

    def renew(self, refused_token: Optional[str], deadline: Optional[float] = None) -> bool:  # noqa: ARG002
        """Replace a token that the server has refused; True when there is another one."""
        return False

    @property
    def is_unreachable(self) -> bool:
        """Whether there is no token because nobody answered, rather than because it was refused."""
        return False

    def refusal(self) -> str:
        """Why there is no token. What a renewal met is told once, to the call that needed it."""
        text, self._refusal = self._refusal, texts.NOT_AUTHENTICATED
        return text

    def get_user_id(self) -> Optional[str]:
        """The tenant in whose name the client speaks."""
        return self._settings.user_id

    def get_current_token(self) -> Optional[str]:
        """The token to send, or None."""
        return None

    def get_auth_header(self) -> dict[str, str]:
        """Headers for a call."""
        token = self.get_current_token()
        return {**JSON_HEADERS, "Authorization": f"Bearer {token}"} if token else dict(JSON_HEADERS)

    def is_author_required(self) -> bool:
        """Whether nobody is known who could be the author of a configuration."""
        return False

    def default_author(self) -> Optional[str]:
        """Who uploads a configuration when nobody is named."""
        return self.api_key

    def __repr__(self) -> str:
        return f"{type(self).__name__}(api_key={self.api_key!r})"
