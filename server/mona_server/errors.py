"""What can go wrong, as the people outside see it.

    MonaError
    ├── BadRequest (400)       a request or a command line that cannot be understood
    ├── NotAuthenticated (401)
    ├── Forbidden (403)
    ├── NotFound (404)
    ├── Conflict (409)
    ├── TooLarge (413)
    ├── Overloaded (429)       come back after ``retry_after_s``
    ├── DataDamaged (500)      a file or row that should be there is not, or differs
    └── Unavailable (503)

Each room may derive its own. An error says where, what, and what to do (``hint``); never a secret or a message value.
"""

from __future__ import annotations


class MonaError(Exception):
    """Base of all errors that this server raises on purpose."""

    status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class BadRequest(MonaError):
    """The request itself is wrong; sending it again will not help."""

    status = 400


class NotAuthenticated(MonaError):
    """No token, or one that is not valid (any more)."""

    status = 401


class Forbidden(MonaError):
    """The caller is known, but may not do this."""

    status = 403


class NotFound(MonaError):
    """The named thing does not exist, or not for this tenant."""

    status = 404


class Conflict(MonaError):
    """Somebody else was first, or the thing is in use."""

    status = 409


class TooLarge(MonaError):
    """More bytes or messages than a limit allows."""

    status = 413


class Overloaded(MonaError):
    """The server cannot take more now."""

    status = 429

    def __init__(self, message: str, *, retry_after_s: int = 1, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DataDamaged(MonaError):
    """Stored data is missing or differs from its checksum or count. Never served silently."""


class Unavailable(MonaError):
    """A part that is needed does not answer."""

    status = 503
