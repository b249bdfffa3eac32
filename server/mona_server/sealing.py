"""Secrets that must be read back, sealed at rest with a key of the data directory.

One file, ``secret.key``, mode 0600, made at first use. A copy of the database without this file
gives nobody a webhook address, a signing key or a second factor away.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from functools import cached_property
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from mona_server.errors import DataDamaged

FILE = "secret.key"


class Sealer:
    """Seals and opens texts; authenticated, so a changed text does not open."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / FILE

    @cached_property
    def _fernet(self) -> Fernet:
        return Fernet(_read_or_make(self._file))

    def seal(self, text: str) -> str:
        """The sealed text, ASCII."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """The text that was sealed. Raises :class:`DataDamaged` when the key or the text is another one."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise DataDamaged(
                f"a stored secret does not open with {FILE}", hint=f"restore {FILE} from the backup of this data"
            ) from None

    def sign(self, text: str) -> str:
        """A signature of a text that nobody without the key can make, 64 hexadecimal digits; always the same."""
        return hmac.new(_read_or_make(self._file), f"signed\n{text}".encode(), hashlib.sha256).hexdigest()


def _read_or_make(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(Fernet.generate_key())
        out.flush()
        os.fsync(out.fileno())
    try:
        # A link appears whole or not at all, so that two processes starting together agree on one key.
        os.link(fresh, file)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return file.read_bytes()
