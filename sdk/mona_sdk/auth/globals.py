"""Names of the keys in token answers and token records, and defaults."""

from __future__ import annotations

MONA_ACCESS_TOKEN_KEY = "accessToken"  # noqa: S105 - a key name
MONA_REFRESH_TOKEN_KEY = "refreshToken"  # noqa: S105
MONA_EXPIRES_KEY = "expires"
MONA_EXPIRES_IN_KEY = "expiresIn"
OIDC_ACCESS_TOKEN_KEY = "access_token"  # noqa: S105
OIDC_EXPIRES_KEY = "expires_in"
ERRORS = "errors"
TIME_TO_REFRESH = "timeToRefresh"
IS_AUTHENTICATED = "isAuthenticated"
ACCESS_TOKEN = MONA_ACCESS_TOKEN_KEY
REFRESH_TOKEN_KEY = MONA_REFRESH_TOKEN_KEY
EXPIRES = MONA_EXPIRES_KEY
EXPIRES_IN = MONA_EXPIRES_IN_KEY
TOKEN_EXPIRED_DATE_FORMAT = "%a, %d %b %Y %H:%M:%S GMT"  # noqa: S105
BASIC_HEADER = {"Content-Type": "application/json"}
URLENCODED_HEADER = {"Content-Type": "application/x-www-form-urlencoded"}

NUM_OF_RETRIES_FOR_AUTHENTICATION = 3
WAIT_TIME_FOR_AUTHENTICATION_RETRIES_SEC = 2
REFRESH_TOKEN_SAFETY_MARGIN = 0.5
