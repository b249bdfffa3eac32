"""Access tokens: signed, so that a request is judged without asking for a password.

Keys are made at first start and kept sealed in ``meta.db``; RS256 by default, so that others can verify with
``/.well-known/jwks.json``, HS256 by setting.
"""

from __future__ import annotations

import json
from typing import Any, cast

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey, RSAKey
from joserfc.jws import extract_compact
from sqlalchemy import Engine, insert, select

from mona_server.api.identity.hashing import new_id
from mona_server.errors import NotAuthenticated
from mona_server.sealing import Sealer
from mona_server.store.tables_identity import signing_keys


class Signer:
    """Signs and verifies with the keys of this server."""

    def __init__(self, meta: Engine, sealer: Sealer, alg: str, *, now_ms: int) -> None:
        keys = _stored(meta, sealer)
        if not any(known == alg for known, _ in keys):
            _make(meta, sealer, alg, now_ms=now_ms)
            keys = _stored(meta, sealer)
        self._alg = alg
        self._key = next(key for known, key in keys if known == alg)
        self._keys = {str(key.kid): (known, key) for known, key in keys}

    def issue(self, claims: dict[str, Any]) -> str:
        """A compact signed token. ``exp`` and ``iat`` are Unix seconds."""
        return jwt.encode({"alg": self._alg, "kid": self._key.kid}, claims, self._key)

    def issued(self, token: str) -> bool:
        """Does the token name a key of this server? Says nothing about its signature."""
        try:
            return str(_header(token).get("kid")) in self._keys
        except (JoseError, ValueError):
            return False

    def verify(self, token: str, *, now_ms: int) -> dict[str, Any]:
        """The claims of a token that this server signed and that has not ended. Raises :class:`NotAuthenticated`."""
        try:
            # The algorithm comes from the stored key, never from the token: a public key is no HS256 secret.
            header = _header(token)
            known = self._keys.get(str(header.get("kid")))
            if known is None:
                raise NotAuthenticated("The token was not issued by this server")
            claims = jwt.decode(token, known[1], algorithms=[known[0]]).claims
        except (JoseError, ValueError):
            raise NotAuthenticated("The token is not valid") from None
        ends = claims.get("exp")
        if not isinstance(ends, int | float) or ends * 1000 <= now_ms:
            raise NotAuthenticated("The token has expired")
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public keys; empty under HS256, which has none."""
        public = [key for known, key in self._keys.values() if known == "RS256"]
        return cast("dict[str, Any]", KeySet(list(public)).as_dict(private=False)) if public else {"keys": []}


def _header(token: str) -> dict[str, Any]:
    return dict(extract_compact(token.encode()).headers())


def _stored(meta: Engine, sealer: Sealer) -> list[tuple[str, RSAKey | OctKey]]:
    """(algorithm, key), newest first."""
    with meta.connect() as db:
        rows = db.execute(select(signing_keys).order_by(signing_keys.c.created_ms.desc(), signing_keys.c.kid)).all()
    return [(row.alg, _import(row.alg, sealer.open(row.sealed))) for row in rows]


def _import(alg: str, text: str) -> RSAKey | OctKey:
    data = json.loads(text)
    return RSAKey.import_key(data) if alg == "RS256" else OctKey.import_key(data)


def _make(meta: Engine, sealer: Sealer, alg: str, *, now_ms: int) -> None:
    kid = new_id("key")
    key: RSAKey | OctKey
    if alg == "RS256":
        key = RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": alg}, private=True)
    else:
        key = OctKey.generate_key(256, {"kid": kid, "use": "sig", "alg": alg}, private=True)
    text = json.dumps(key.as_dict(private=True))
    with meta.begin() as db:
        db.execute(insert(signing_keys).values(kid=kid, alg=alg, sealed=sealer.seal(text), created_ms=now_ms))
