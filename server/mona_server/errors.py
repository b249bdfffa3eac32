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

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECK_DISK = "check the disk and the permissions; if the system made the disk read-only, mount it anew and restart Mona"
"""Files that were open when a disk failed stay unwritable, so nothing but a restart helps then."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNWRITABLE = {errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


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


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turns the system's errors of a disk that is full or takes no writes into ours, which name ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Overloaded("the disk is full", retry_after_s=30, hint="free space on the data volume") from error
        if error.errno in _UNWRITABLE:
            raise Unavailable(f"{path} cannot be written ({error.strerror})", hint=CHECK_DISK) from error
        raise
