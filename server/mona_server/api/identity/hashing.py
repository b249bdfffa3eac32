"""Random secrets and their hashes.

Everything here has at least 256 random bits, so that one round of SHA-256 is enough at rest; passwords,
which people choose, go through Argon2id instead (``passwords.py``).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets


def new_secret() -> str:
    """256 random bits as text, safe in addresses."""
    return secrets.token_urlsafe(32)


def new_id(kind: str) -> str:
    """A new public id such as ``tok_5f…``."""
    return f"{kind}_{secrets.token_hex(12)}"


def digest(secret: str) -> str:
    """What is stored of a secret: SHA-256, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(secret: str, stored_digest: str) -> bool:
    """Does ``secret`` belong to the stored digest? Takes the same time wherever they differ."""
    return hmac.compare_digest(digest(secret), stored_digest)
