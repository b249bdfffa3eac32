"""Passwords: hashed with Argon2id, refused when they are short or easy to guess. Nothing is asked of the network."""

from __future__ import annotations

from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mona_server.errors import BadRequest

MIN_CHARACTERS = 12
MAX_CHARACTERS = 256
"""Longer ones would only make hashing expensive."""


@lru_cache(maxsize=1)
def _hasher() -> PasswordHasher:
    # RFC 9106, second recommended option: 64 MiB, 3 passes. About 50 ms, on a thread of its own.
    return PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)


def check_new(password: str, *, email: str = "", name: str = "") -> None:
    """Raises :class:`BadRequest` for a password that is too short, too long, or known to guessers."""
    if len(password) < MIN_CHARACTERS:
        raise BadRequest(f"the password must have at least {MIN_CHARACTERS} characters")
    if len(password) > MAX_CHARACTERS:
        raise BadRequest(f"the password must have at most {MAX_CHARACTERS} characters")
    from zxcvbn import zxcvbn  # 0.1 s and 10 MB of word lists; needed only here

    hints = [word for word in (email, email.partition("@")[0], name, "mona") if word]
    # Guessable in under 10^8 tries: lists of leaked passwords and their usual variations.
    if zxcvbn(password[:100], user_inputs=hints)["score"] < 3:
        raise BadRequest("the password is easy to guess", hint="several unrelated words are good")


def hash_password(password: str) -> str:
    """What is stored: Argon2id with its salt and parameters."""
    return _hasher().hash(password)


def matches(password: str, stored: str | None) -> bool:
    """Is it the password of the stored hash? Without a hash (unknown user) the same time goes by."""
    try:
        return _hasher().verify(stored or _nobodys_hash(), password[:MAX_CHARACTERS]) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _hasher().hash("nobody has this password")
